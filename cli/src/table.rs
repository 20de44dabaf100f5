// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `adit table` and `adit counter`: the entries and counters of a NIC's program, over P4Runtime.

mod call;
pub(crate) mod catalog;
mod counter;
mod entry;
mod list;
mod matching;
mod one_shot;
mod profile;
pub(crate) mod value;
pub(crate) mod write;

use std::path::PathBuf;

use adit_p4runtime::client::{Client, ClientTls, Target};
use anyhow::{ensure, Context, Result};
use clap::{Args, Subcommand};

use crate::args::Format;
use catalog::Catalog;

pub(crate) use counter::CounterCommand;

/// The syntax of entries.
pub(crate) const SYNTAX: &str = "\
Entries of the tables of a NIC's P4 program, over P4Runtime

An entry is written TABLE FIELD=MATCH ... ACTION(NAME=VALUE, ...) [priority=N] \
[idle-timeout=SECONDS] [metadata=TEXT], the default action of a table TABLE default ACTION(...).

A table with an action profile has member(N) or group(N) for its action, or with a selector, but \
not beside these, actions among which flows are shared: action(ACTION(NAME=VALUE, ...), weight=W, \
watch=PORT) .... Members and groups are written PROFILE member=N \
ACTION(NAME=VALUE, ...) and PROFILE group=N member(N, weight=W, watch=PORT) ...: each gets as many \
flows as its weight says, and none while its port is down.

Of names, as much of the end will do as says which is meant; names of parameters can be left out.

Matches are VALUE (exact, optional, and as a whole of the others), VALUE/LENGTH (lpm, ternary), \
VALUE&&&MASK (ternary), LOW..HIGH (range), and * or nothing at all for anything. Values are numbers \
(16, 0x10, 0b10000), Ethernet, IPv4 and IPv6 addresses.

    adit table add routes dst=10.0.0.0/8 'forward(mac=02:00:00:00:00:0a, port=3)'";

/// A command for tables.
#[derive(Debug, Subcommand)]
pub(crate) enum TableCommand {
    /// List the tables and action profiles, or the entries of those that are named
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
    /// Delete entries, the last first; their actions do not matter. A default action is reset to
    /// the program's
    Delete(Entries),
    /// Print entries in the form that `add --from` reads
    Dump(Which),
}

/// A device, and the way to connect to it.
#[derive(Debug, Args)]
pub(crate) struct Device {
    /// The address of its P4Runtime server: HOST:PORT or unix:PATH
    #[arg(
        long,
        value_name = "ADDR",
        env = "ADIT_P4RT",
        default_value = "127.0.0.1:9559"
    )]
    p4rt: String,
    /// The device's number
    #[arg(long, value_name = "N", default_value_t = 1)]
    device: u64,
    /// The role to write in; a dedicated one does not displace a controller
    #[arg(long, default_value = "adit")]
    role: String,
    /// Use TLS: the CA certificates, as PEM, that servers' certificates are verified with
    #[arg(long, value_name = "FILE")]
    tls_ca: Option<PathBuf>,
    /// The client's certificate
    #[arg(long, value_name = "FILE", requires_all = ["tls_key", "tls_ca"])]
    tls_cert: Option<PathBuf>,
    /// The key of the client's certificate
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
}

/// The tables to read.
#[derive(Debug, Args)]
pub(crate) struct Which {
    /// Their names, or those of action profiles
    tables: Vec<String>,
    #[command(flatten)]
    device: Device,
}

/// The entries to write.
#[derive(Debug, Args)]
pub(crate) struct Entries {
    /// One entry: its table, matches and action
    #[arg(required_unless_present = "from", conflicts_with = "from")]
    entry: Vec<String>,
    /// Read entries from a file, one per line (`-`: standard input); `#` begins a comment
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Write all or nothing
    #[arg(long)]
    atomic: bool,
    #[command(flatten)]
    device: Device,
}

impl Device {
    /// Connects a client, and reads the catalog of the device's program.
    fn connect(&self) -> Result<(Client, Catalog)> {
        let mut client = self.client()?;
        let catalog = Catalog::new(&client.p4info()?);
        Ok((client, catalog))
    }

    /// Connects a client.
    pub(crate) fn client(&self) -> Result<Client> {
        let read = |path: &PathBuf| {
            std::fs::read(path).with_context(|| format!("reading {}", path.display()))
        };
        let is_unix = self.p4rt.starts_with("unix:");
        ensure!(
            !is_unix || self.tls_ca.is_none(),
            "a UNIX socket has no TLS: leave --tls-ca out"
        );
        let identity = match (&self.tls_cert, &self.tls_key) {
            (Some(certificate), Some(key)) => Some((read(certificate)?, read(key)?)),
            _ => None,
        };
        let tls = match &self.tls_ca {
            Some(ca) => Some(ClientTls {
                servers: read(ca)?,
                identity,
            }),
            None => None,
        };
        let client = Client::connect(Target {
            address: self.p4rt.clone(),
            device_id: self.device,
            role: self.role.clone(),
            tls,
        })?;
        Ok(client)
    }
}

pub(crate) fn run(command: &TableCommand, format: Format) -> Result<()> {
    match command {
        TableCommand::List(which) => list::list(which, format),
        TableCommand::Dump(which) => list::dump(which, format),
        TableCommand::Add { entries, replace } => {
            write::write(entries, write::How::Add { replace: *replace }, format)
        }
        TableCommand::Set(entries) => write::write(entries, write::How::Set, format),
        TableCommand::Delete(entries) => write::write(entries, write::How::Delete, format),
    }
}

pub(crate) fn run_counter(command: &CounterCommand, format: Format) -> Result<()> {
    counter::run(command, format)
}
