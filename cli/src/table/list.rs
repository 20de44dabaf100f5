// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Output of tables and their entries, for users, programs and files.

use std::collections::BTreeMap;
use std::io::{BufWriter, Write};

use adit_p4runtime::client::Client;
use adit_p4runtime::proto::v1::{entity::Entity, table_action, CounterData, TableEntry};
use anyhow::Result;
use serde::Serialize;

use super::args::Which;
use super::catalog::{Action, Holder, Profile, Table};
use crate::output::{print_all, print_json, Format, Row};

/// A table.
#[derive(Serialize)]
struct TableRow {
    table: String,
    entries: u64,
    size: i64,
    keys: Vec<String>,
    actions: Vec<String>,
    default: String,
}

impl Row for TableRow {
    const HEAD: &'static [&'static str] =
        &["TABLE", "ENTRIES", "SIZE", "KEYS", "DEFAULT", "ACTIONS"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.table.clone(),
            self.entries.to_string(),
            self.size.to_string(),
            self.keys.join("\n"),
            self.default.clone(),
            self.actions.join("\n"),
        ]
    }
}

/// An entry.
#[derive(Serialize)]
struct EntryRow {
    table: String,
    is_default: bool,
    r#match: BTreeMap<String, String>,
    #[serde(skip)]
    matches: String,
    action: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    idle_timeout_ns: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    packets: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<i64>,
    /// The entry in the form that `table add` reads.
    entry: String,
}

impl Row for EntryRow {
    const HEAD: &'static [&'static str] =
        &["TABLE", "PRIORITY", "MATCH", "ACTION", "PACKETS", "BYTES"];

    fn cells(&self) -> Vec<String> {
        let number = |n: Option<i64>| n.map_or_else(|| "-".to_owned(), |n| n.to_string());
        vec![
            self.table.clone(),
            number(self.priority.map(i64::from)),
            self.matches.clone(),
            self.action.clone(),
            number(self.packets),
            number(self.bytes),
        ]
    }
}

impl EntryRow {
    fn new(table: &Table, entry: &TableEntry) -> EntryRow {
        let matches = table.shown_matches(entry);
        let words: Vec<_> = matches.iter().map(|(f, is)| format!("{f}={is}")).collect();
        EntryRow {
            table: table.alias.clone(),
            is_default: entry.is_default_action,
            matches: match (entry.is_default_action, words.is_empty()) {
                (true, _) => "default".to_owned(),
                (_, true) => "*".to_owned(),
                _ => words.join(" "),
            },
            r#match: matches.into_iter().collect(),
            action: table.shown_action(entry.action.as_ref()),
            priority: (entry.priority != 0).then_some(entry.priority),
            idle_timeout_ns: (entry.idle_timeout_ns != 0).then_some(entry.idle_timeout_ns),
            packets: entry.counter_data.map(|c| c.packet_count),
            bytes: entry.counter_data.map(|c| c.byte_count),
            entry: table.line(entry),
        }
    }
}

impl EntryRow {
    fn of_profile(profile: &Profile, entity: &Entity) -> Option<EntryRow> {
        let ((kind, id), shown) = profile.shown(entity)?;
        let key = profile.key(entity)?;
        Some(EntryRow {
            table: profile.alias.clone(),
            is_default: false,
            r#match: BTreeMap::from([(kind.to_owned(), id.to_string())]),
            matches: format!("{kind}={id}"),
            entry: format!("{key} {shown}").trim_end().to_owned(),
            action: shown,
            priority: None,
            idle_timeout_ns: None,
            packets: None,
            bytes: None,
        })
    }
}

/// Passes the members and groups of an action profile to `each`.
fn members(
    client: &mut Client,
    profile: &Profile,
    mut each: impl FnMut(EntryRow) -> Result<()>,
) -> Result<()> {
    // One kind after the other, since groups refer to members.
    for wanted in profile.wanted() {
        client.read(vec![wanted], |entity| {
            EntryRow::of_profile(profile, &entity).map_or(Ok(()), &mut each)
        })?;
    }
    Ok(())
}

/// Passes the entries of a table, or its default action, to `each`.
pub(super) fn entries(
    client: &mut Client,
    table: &Table,
    is_default: bool,
    mut each: impl FnMut(TableEntry) -> Result<()>,
) -> Result<()> {
    let wanted = TableEntry {
        table_id: table.id,
        is_default_action: is_default,
        counter_data: (table.has_counter && !is_default).then(CounterData::default),
        ..TableEntry::default()
    };
    client.read(vec![Entity::TableEntry(wanted)], |entity| match entity {
        Entity::TableEntry(entry) => each(entry),
        _ => Ok(()),
    })
}

/// Returns a row for each table and action profile.
fn overview(client: &mut Client, holders: &[Holder<'_>]) -> Result<Vec<TableRow>> {
    let signatures = |actions: &[Action]| actions.iter().map(Action::signature).collect();
    let mut rows = Vec::new();
    for holder in holders {
        let (mut count, mut default) = (0, "-".to_owned());
        rows.push(match holder {
            Holder::Table(table) => {
                entries(client, table, false, |_| {
                    count += 1;
                    Ok(())
                })?;
                entries(client, table, true, |entry| {
                    default = table.shown_action(entry.action.as_ref());
                    Ok(())
                })?;
                let keys = table.fields.iter();
                let keys = keys.map(|f| format!("{}: {}<{}>", f.name, f.kind_name(), f.width));
                TableRow {
                    table: table.alias.clone(),
                    entries: count,
                    size: table.size,
                    keys: keys.collect(),
                    actions: signatures(&table.actions),
                    default,
                }
            }
            Holder::Profile(profile) => {
                members(client, profile, |_| {
                    count += 1;
                    Ok(())
                })?;
                let kinds = ["member", "group"].iter();
                let kinds = kinds.take(1 + usize::from(profile.has_groups));
                TableRow {
                    table: profile.alias.clone(),
                    entries: count,
                    size: profile.size,
                    keys: kinds.map(|kind| (*kind).to_owned()).collect(),
                    actions: signatures(&profile.actions),
                    default,
                }
            }
        });
    }
    Ok(rows)
}

pub(super) fn list(which: &Which, format: Format) -> Result<()> {
    let (mut client, catalog) = which.device.connect()?;
    let mut chosen = catalog.chosen(&which.tables)?;
    if which.tables.is_empty() {
        chosen.sort_by_key(|holder| matches!(holder, Holder::Profile(_)));
        return print_all(&overview(&mut client, &chosen)?, format);
    }
    let mut rows = Vec::new();
    for holder in chosen {
        match holder {
            Holder::Table(table) => {
                for is_default in [false, true] {
                    entries(&mut client, table, is_default, |entry| {
                        rows.push(EntryRow::new(table, &entry));
                        Ok(())
                    })?;
                }
            }
            Holder::Profile(profile) => members(&mut client, profile, |row| {
                rows.push(row);
                Ok(())
            })?,
        }
    }
    print_all(&rows, format)
}

/// Returns whether a default action is the program's own.
fn is_initial(table: &Table, entry: &TableEntry) -> bool {
    let action = entry.action.as_ref().and_then(|a| a.r#type.as_ref());
    let (Some(initial), Some(table_action::Type::Action(action))) =
        (&table.initial_default, action)
    else {
        return action.is_none();
    };
    let given = action.params.iter().map(|p| (p.param_id, &p.value));
    let of_program = initial.arguments.iter().map(|a| (a.param_id, &a.value));
    let is_bare = entry.metadata.is_empty();
    is_bare && initial.action_id == action.action_id && given.eq(of_program)
}

pub(super) fn dump(which: &Which, format: Format) -> Result<()> {
    let (mut client, catalog) = which.device.connect()?;
    let chosen = catalog.chosen(&which.tables)?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    let mut rows = Vec::new();
    for holder in chosen {
        let table = match holder {
            Holder::Table(table) => table,
            Holder::Profile(profile) => {
                members(&mut client, profile, |row| {
                    if format == Format::Json {
                        rows.push(row);
                        return Ok(());
                    }
                    writeln!(out, "{}", row.entry).map_err(anyhow::Error::from)
                })?;
                continue;
            }
        };
        let mut each = |entry: TableEntry| {
            if format == Format::Json {
                rows.push(EntryRow::new(table, &entry));
                return Ok(());
            }
            // A const entry cannot be added.
            let comment = if entry.is_const { "# const: " } else { "" };
            writeln!(out, "{comment}{}", table.line(&entry)).map_err(anyhow::Error::from)
        };
        entries(&mut client, table, false, &mut each)?;
        if table.has_const_default {
            continue;
        }
        entries(&mut client, table, true, |entry| {
            match is_initial(table, &entry) {
                true => Ok(()),
                false => each(entry),
            }
        })?;
    }
    out.flush()?;
    match format {
        Format::Json => print_json(&rows),
        Format::Table => Ok(()),
    }
}
