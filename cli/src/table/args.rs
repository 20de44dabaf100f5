// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The arguments of `adit table`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::device::Device;

/// The syntax of entries.
pub(crate) const SYNTAX: &str = "\
Entries of the tables of a NIC's P4 program, over P4Runtime

An entry is written TABLE FIELD=MATCH ... ACTION(NAME=VALUE, ...) [priority=N] \
[idle-timeout=SECONDS] [metadata=TEXT], the default action of a table TABLE default ACTION(...).

An entry of a table with an action profile has the action member(N) or group(N) or, with a \
selector and without members and groups, a set of actions among which flows are distributed: action(ACTION(NAME=VALUE, ...), weight=W, \
watch=PORT) .... Members and groups are written PROFILE member=N \
ACTION(NAME=VALUE, ...) and PROFILE group=N member(N, weight=W, watch=PORT) ...: each \
receives flows in proportion to its weight, and none while its port is down.

A name can be abbreviated to an unambiguous suffix; names of parameters can be omitted.

Matches are VALUE (exact, optional, and as a whole of the others), VALUE/LENGTH (lpm, ternary), \
VALUE&&&MASK (ternary), LOW..HIGH (range), and * or no match for any value. Values are numbers \
(16, 0x10, 0b10000), Ethernet, IPv4 and IPv6 addresses.

    adit table add routes dst=10.0.0.0/8 'forward(mac=02:00:00:00:00:0a, port=3)'";

/// A command for tables.
#[derive(Debug, Subcommand)]
pub(crate) enum TableCommand {
    /// List the tables and action profiles, or the entries of those given
    List(Which),
    /// Add entries to tables
    Add {
        #[command(flatten)]
        entries: Entries,
        /// Replace entries that exist already
        #[arg(long)]
        replace: bool,
    },
    /// Modify entries and default actions
    Set(Entries),
    /// Delete entries, the last first; their actions are ignored. A default action is reset to
    /// the program's
    Delete(Entries),
    /// Print entries in the form that `add --from` reads
    Dump(Which),
}

/// The tables to read.
#[derive(Debug, Args)]
pub(crate) struct Which {
    /// Their names, or those of action profiles
    pub(super) tables: Vec<String>,
    #[command(flatten)]
    pub(super) device: Device,
}

/// The entries to write.
#[derive(Debug, Args)]
pub(crate) struct Entries {
    /// One entry: its table, matches and action
    #[arg(required_unless_present = "from", conflicts_with = "from")]
    pub(super) entry: Vec<String>,
    /// Read entries from a file, one per line (`-`: standard input); `#` begins a comment
    #[arg(long, value_name = "FILE")]
    pub(super) from: Option<PathBuf>,
    /// Write all entries or none
    #[arg(long)]
    pub(super) atomic: bool,
    #[command(flatten)]
    pub(super) device: Device,
}
