// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Writes of entries in batches, from the command line or a file. All entries are parsed before any
//! is sent, so that an error in a file changes nothing.

use std::path::Path;

use adit_p4runtime::client::{Client, ClientError, UpdateError};
use adit_p4runtime::proto::v1::{entity::Entity, update::Type, Update};
use adit_p4runtime::server::Pipeline;
use anyhow::{bail, ensure, Result};
use serde::Serialize;

use super::args::Entries;
use super::call::Wants;
use super::catalog::Catalog;
use super::entry::read;
use crate::files::read_text;
use crate::output::{print_json, Format};

/// The number of updates in a batch: few enough for an error of each to fit into gRPC's headers.
const BATCH: usize = 100;
/// The maximum number of errors that are reported.
const MAX_SHOWN: usize = 20;

/// The gRPC status code for entities that exist already.
const ALREADY_EXISTS: i32 = 6;

/// An operation on entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    Add { replace: bool },
    Set,
    Delete,
}

/// An entry with its place in a file.
struct Given {
    /// Its line in a file.
    line: Option<usize>,
    entry: Entity,
}

/// The result of a write.
#[derive(Serialize)]
struct Done {
    updates: usize,
    replaced: usize,
}

/// Parses all entries, and reports the errors in them.
fn given(entries: &Entries, catalog: &Catalog, wants: Wants) -> Result<Vec<Given>> {
    match &entries.from {
        Some(path) => from_file(path, catalog, wants),
        None => {
            let entry = read(catalog, &entries.entry.join(" "), wants)?;
            Ok(vec![Given { line: None, entry }])
        }
    }
}

/// Parses the entries of a file.
fn from_file(path: &Path, catalog: &Catalog, wants: Wants) -> Result<Vec<Given>> {
    let text = read_text(path)?;
    let (mut list, mut mistakes) = (Vec::new(), Vec::new());
    for (n, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        match read(catalog, line, wants) {
            Ok(entry) => list.push(Given {
                line: Some(n + 1),
                entry,
            }),
            Err(error) => mistakes.push(format!("line {}: {error:#}", n + 1)),
        }
    }
    if !mistakes.is_empty() {
        bail!(
            "{}: nothing was changed\n{}",
            path.display(),
            joined(&mistakes)
        );
    }
    Ok(list)
}

fn joined(mistakes: &[String]) -> String {
    let mut lines: Vec<_> = mistakes
        .iter()
        .take(MAX_SHOWN)
        .map(|m| format!("  {m}"))
        .collect();
    if let Some(more) = mistakes
        .len()
        .checked_sub(MAX_SHOWN)
        .filter(|more| *more > 0)
    {
        lines.push(format!("  and {more} more"));
    }
    lines.join("\n")
}

/// Returns the update for an entry.
fn update(entry: &Entity, how: How) -> Update {
    let kind = match how {
        // The default action always exists.
        _ if matches!(entry, Entity::TableEntry(e) if e.is_default_action) => Type::Modify,
        How::Add { .. } => Type::Insert,
        How::Set => Type::Modify,
        How::Delete => Type::Delete,
    };
    Update {
        r#type: kind as i32,
        entity: Some(adit_p4runtime::proto::v1::Entity {
            entity: Some(entry.clone()),
        }),
    }
}

/// Sends a batch and returns the failed updates.
fn send(
    client: &mut Client,
    batch: &[&Given],
    how: How,
    all_or_nothing: bool,
) -> Result<Vec<UpdateError>> {
    let updates = batch.iter().map(|g| update(&g.entry, how)).collect();
    match client.write(updates, all_or_nothing) {
        Ok(()) => Ok(Vec::new()),
        Err(ClientError::Updates(errors)) => Ok(errors),
        Err(error) => Err(error.into()),
    }
}

pub(super) fn write(entries: &Entries, how: How, format: Format) -> Result<()> {
    let replace = matches!(how, How::Add { replace: true });
    ensure!(
        !(replace && entries.atomic),
        "--atomic and --replace exclude each other: what is there is found out entry by entry"
    );
    let (mut client, catalog) = entries.device.connect()?;
    let wants = match how {
        How::Delete => Wants::Key,
        _ => Wants::Action,
    };
    let mut list = given(entries, &catalog, wants)?;
    if how == How::Delete {
        // Entries that refer to others are deleted first: in a dump they come last.
        list.reverse();
    }
    let all: Vec<&Given> = list.iter().collect();
    let size = if entries.atomic { all.len() } else { BATCH };
    let (mut mistakes, mut replaced) = (Vec::new(), 0);
    for batch in all.chunks(size.max(1)) {
        let mut errors = send(&mut client, batch, how, entries.atomic)?;
        let mut batch = batch.to_vec();
        if replace {
            let is_there = |e: &UpdateError| e.code as i32 == ALREADY_EXISTS;
            let (there, others): (Vec<_>, Vec<_>) = errors.into_iter().partition(is_there);
            report(&mut mistakes, &catalog, &batch, &others);
            let again = there.iter().filter_map(|e| batch.get(e.index).copied());
            batch = again.collect();
            errors = match batch.is_empty() {
                true => Vec::new(),
                false => send(&mut client, &batch, How::Set, false)?,
            };
            replaced += batch.len() - errors.len().min(batch.len());
        }
        report(&mut mistakes, &catalog, &batch, &errors);
    }
    if !mistakes.is_empty() {
        bail!(
            "{} of {} entries failed{}\n{}",
            mistakes.len(),
            list.len(),
            if entries.atomic {
                ", nothing was changed"
            } else {
                ""
            },
            joined(&mistakes)
        );
    }
    if format == Format::Json {
        let updates = list.len();
        return print_json(&Done { updates, replaced });
    }
    Ok(())
}

/// Writes the entries of a file to a pipeline in this process.
pub(crate) fn load(path: &Path, catalog: &Catalog, pipeline: &Pipeline) -> Result<()> {
    let list = from_file(path, catalog, Wants::Action)?;
    let how = How::Add { replace: false };
    let updates: Vec<_> = list.iter().map(|g| update(&g.entry, how)).collect();
    let errors = pipeline.write(&updates, 0);
    let mut mistakes = Vec::new();
    let list: Vec<_> = list.iter().collect();
    report(&mut mistakes, catalog, &list, &errors);
    ensure!(
        mistakes.is_empty(),
        "{}: {} of {} entries failed\n{}",
        path.display(),
        mistakes.len(),
        list.len(),
        joined(&mistakes)
    );
    Ok(())
}

/// Formats errors with the entries as they were written.
fn report(mistakes: &mut Vec<String>, catalog: &Catalog, batch: &[&Given], errors: &[UpdateError]) {
    for error in errors {
        let Some(given) = batch.get(error.index) else {
            continue;
        };
        let line = given
            .line
            .map(|n| format!("line {n}: "))
            .unwrap_or_default();
        let key = catalog.key(&given.entry);
        let why = match error.message.is_empty() {
            true => error.code.description(),
            false => &error.message,
        };
        mistakes.push(format!("{line}{key}: {why} ({:?})", error.code));
    }
}
