// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `adit counter`: arrays of counters, and the direct counters of entries.

use adit_p4runtime::proto::v1::{entity::Entity, CounterEntry, Index};
use anyhow::{ensure, Result};
use clap::Args;
use serde::Serialize;

use super::catalog::find;
use super::device::Device;
use super::list;
use crate::output::{print_all, Format, Row};

/// The counters to print.
#[derive(Debug, Args)]
pub(crate) struct CounterCommand {
    /// An array of counters, or a table with direct counters [default: all of them]
    name: Option<String>,
    /// One counter of the array
    #[arg(requires = "name")]
    index: Option<i64>,
    /// Include counters that are zero
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    device: Device,
}

/// A counter.
#[derive(Serialize)]
struct CounterRow {
    counter: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    entry: Option<String>,
    packets: i64,
    bytes: i64,
}

impl Row for CounterRow {
    const HEAD: &'static [&'static str] = &["COUNTER", "OF", "PACKETS", "BYTES"];

    fn cells(&self) -> Vec<String> {
        let of = self.entry.clone();
        let of = of.or_else(|| self.index.map(|n| n.to_string()));
        vec![
            self.counter.clone(),
            of.unwrap_or_default(),
            self.packets.to_string(),
            self.bytes.to_string(),
        ]
    }
}

pub(super) fn run(command: &CounterCommand, format: Format) -> Result<()> {
    let (mut client, catalog) = command.device.connect()?;
    let counting = catalog.tables.iter().filter(|t| t.has_counter);
    let (arrays, tables): (Vec<_>, Vec<_>) = match &command.name {
        None => (catalog.counters.iter().collect(), counting.collect()),
        Some(name) => match find(counting, "table", "the program", name) {
            Ok(table) => (vec![], vec![table]),
            Err(_) => {
                let all = catalog.counters.iter();
                (vec![find(all, "counter", "the program", name)?], vec![])
            }
        },
    };
    let is_wanted = |packets: i64, bytes: i64| {
        command.all || command.index.is_some() || packets != 0 || bytes != 0
    };
    let mut rows = Vec::new();
    for array in arrays {
        if let Some(index) = command.index {
            ensure!(
                (0..array.size).contains(&index),
                "`{}` has {} counters, from 0: there is no {index}",
                array.alias,
                array.size
            );
        }
        let wanted = CounterEntry {
            counter_id: array.id,
            index: command.index.map(|index| Index { index }),
            data: None,
        };
        client.read(vec![Entity::CounterEntry(wanted)], |entity| {
            if let Entity::CounterEntry(found) = entity {
                let data = found.data.unwrap_or_default();
                if is_wanted(data.packet_count, data.byte_count) {
                    rows.push(CounterRow {
                        counter: array.alias.clone(),
                        index: found.index.map(|i| i.index),
                        entry: None,
                        packets: data.packet_count,
                        bytes: data.byte_count,
                    });
                }
            }
            anyhow::Ok(())
        })?;
    }
    for table in tables {
        ensure!(
            command.index.is_none(),
            "`{}` is a table: its entries' counters have no index",
            table.alias
        );
        list::entries(&mut client, table, false, |mut entry| {
            let data = entry.counter_data.unwrap_or_default();
            if is_wanted(data.packet_count, data.byte_count) {
                entry.action = None;
                rows.push(CounterRow {
                    counter: table.alias.clone(),
                    index: None,
                    entry: Some(table.line(&entry)),
                    packets: data.packet_count,
                    bytes: data.byte_count,
                });
            }
            Ok(())
        })?;
    }
    print_all(&rows, format)
}
