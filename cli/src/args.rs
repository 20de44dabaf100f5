// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The arguments of the command line, of which each command defines its own; help, completions and
//! the manual page are generated from them.

use clap::{Parser, Subcommand};
use clap_complete::Shell;

use crate::adi::AdiCommand;
use crate::output::Format;
use crate::p4::P4Command;
use crate::table::{CounterCommand, TableCommand};
use crate::traffic_args::{Ping, Pktgen};

/// Slices of a NIC (ADIs) for containers and virtual machines
#[derive(Debug, Parser)]
#[command(name = "adit", version, max_term_width = 100)]
pub(crate) struct Args {
    /// Output as tables or as JSON
    #[arg(short, long, global = true, value_enum, default_value_t)]
    pub(crate) output: Format,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// A command.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Assignable Device Interfaces
    #[command(subcommand)]
    Adi(AdiCommand),
    /// P4 programs: check, compile, list tables, run on packets, load into a NIC
    #[command(subcommand)]
    P4(P4Command),
    /// Entries of the tables of a NIC's P4 program, over P4Runtime
    #[command(subcommand, long_about = crate::table::SYNTAX)]
    Table(TableCommand),
    /// Counters of a NIC's P4 program, over P4Runtime
    Counter(CounterCommand),
    /// Send ARP and ICMP echo requests on an ADI, and reply to them
    Ping(Ping),
    /// Send and receive frames on an ADI as fast as possible, optionally from and to pcap files
    Pktgen(Pktgen),
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page, in roff
    Man,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definitions_are_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn bad_words_are_refused() {
        let parse = |words: &str| Args::try_parse_from(words.split(' '));
        assert!(parse("adit adi create --queues 2 --mac 02:00:00:00:00:0a --cdi").is_ok());
        for bad in [
            "adit adi create --queues 0",
            "adit adi create --queues 65",
            "adit ping --ip 10.99.0.3 -c 0 10.99.0.1",
            "adit adi create --mac 02:00:00:00:00",
            "adit adi create --mac 03:00:00:00:00:01",
            "adit adi create --name a/b",
            "adit adi destroy",
            "adit adi destroy a --all",
            "adit adi watch --interval 0",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
