// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Files of services.

use std::collections::BTreeSet;
use std::path::PathBuf;

use adit_node::manifest::{Manifest, Note};
use adit_node::model::{Name, Services};
use anyhow::{bail, Context, Result};

use super::args::Files;
use crate::files::read_text;

/// The most mistakes that are printed.
const MAX_SHOWN: usize = 20;

/// The contents of files.
pub(super) struct Read {
    pub(super) services: Services,
    /// Services that the files have and a data path does not, such as headless ones.
    pub(super) skipped: BTreeSet<Name>,
    /// Fields that have no effect.
    pub(super) notes: Vec<Note>,
}

/// Reads files.
pub(super) fn read(files: &Files) -> Result<Read> {
    let mut manifest = Manifest::default();
    for path in all(&files.paths)? {
        let text = read_text(&path)?;
        manifest.read(&path.display().to_string(), &text, &files.namespace);
    }
    let skipped = manifest.skipped().clone();
    let (services, notes) = manifest.finish().map_err(|mistakes| {
        let mut lines: Vec<_> = mistakes.iter().map(|it| format!("  {it}")).collect();
        if lines.len() > MAX_SHOWN {
            let more = lines.len() - MAX_SHOWN;
            lines.truncate(MAX_SHOWN);
            lines.push(format!("  and {more} more"));
        }
        anyhow::anyhow!("nothing was changed:\n{}", lines.join("\n"))
    })?;
    Ok(Read {
        services,
        skipped,
        notes,
    })
}

/// Prints what has no effect.
pub(super) fn print(notes: impl IntoIterator<Item = impl std::fmt::Display>) {
    notes.into_iter().for_each(|note| eprintln!("adit: {note}"));
}

/// The files, with those of folders, by name.
fn all(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut all = Vec::new();
    for path in paths {
        if !path.is_dir() {
            all.push(path.clone());
            continue;
        }
        let context = || format!("reading {}", path.display());
        let mut found = Vec::new();
        for entry in path.read_dir().with_context(context)? {
            let file = entry.with_context(context)?.path();
            let is_hidden = file
                .file_name()
                .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
            let extension = file.extension().and_then(|it| it.to_str());
            let is_known = matches!(extension, Some("yaml" | "yml" | "json"));
            if is_known && !is_hidden && file.is_file() {
                found.push(file);
            }
        }
        found.sort();
        all.extend(found);
    }
    Ok(all)
}

/// The folders in which changes of the files are seen.
pub(super) fn folders(files: &Files) -> Result<Vec<PathBuf>> {
    let folders = files.paths.iter().map(|path| {
        if path.as_os_str() == "-" {
            bail!("standard input cannot be watched: a file or a folder is wanted");
        }
        Ok(match (path.is_dir(), path.parent()) {
            (true, _) => path.clone(),
            (false, Some(parent)) if !parent.as_os_str().is_empty() => parent.to_owned(),
            (false, _) => PathBuf::from("."),
        })
    });
    folders.collect()
}
