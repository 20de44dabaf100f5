// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What can be said on the command line; help, completions and the manual page come from here.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::adi::MacAddress;
use crate::p4::P4Command;
use crate::registry::Name;
use crate::table::{CounterCommand, TableCommand};
use crate::traffic_args::{Ping, Pktgen};

/// Slices of a NIC (ADIs) for containers and virtual machines
#[derive(Debug, Parser)]
#[command(name = "adit", version, max_term_width = 100)]
pub(crate) struct Args {
    /// Tables for people, JSON for programs
    #[arg(short, long, global = true, value_enum, default_value_t)]
    pub(crate) output: Format,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// How answers are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Columns, or lines of `name: value`
    #[default]
    Table,
    /// One JSON value (`watch`: one a line)
    Json,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Assignable Device Interfaces
    #[command(subcommand)]
    Adi(AdiCommand),
    /// P4 programs: check, compile, look at their tables, run over packets, give to a NIC
    #[command(subcommand)]
    P4(P4Command),
    /// Entries of the tables of a NIC's P4 program, over P4Runtime
    #[command(subcommand, long_about = crate::table::SYNTAX)]
    Table(TableCommand),
    /// Counters of a NIC's P4 program, over P4Runtime
    Counter(CounterCommand),
    /// Answer ARP and ICMP echo requests on an ADI, and send them
    Ping(Ping),
    /// Send and receive frames on an ADI as fast as it goes, from and to pcap files if wanted
    Pktgen(Pktgen),
    /// Print completions for a shell
    Completions {
        /// Which shell
        shell: Shell,
    },
    /// Print the manual page, in roff
    Man,
}

/// What to do with ADIs. One is named by what `adit adi list` shows of it: the name it was given,
/// its device (`adit.adi.3`, or a UUID), its port (`pci/0000:00:05.0/3`) or its sfnum.
#[derive(Debug, Subcommand)]
pub(crate) enum AdiCommand {
    /// Make an ADI: a devlink port of flavour pcisf, configured and active
    Create(Create),
    /// List the ADIs, and what is left of others
    List,
    /// Show one ADI
    Show {
        /// Which one
        adi: String,
    },
    /// Destroy an ADI that nobody has open
    Destroy {
        /// Which ones
        #[arg(required_unless_present = "all")]
        adi: Vec<String>,
        /// All of them
        #[arg(long, conflicts_with = "adi")]
        all: bool,
    },
    /// Destroy an ADI that nobody has open, and make it again with the same settings
    Reset {
        /// Which one
        adi: String,
    },
    /// Remove names and CDI specifications of ADIs that are gone
    Prune {
        /// A folder of CDI specifications, besides /etc/cdi and /var/run/cdi
        #[arg(long, value_name = "FOLDER")]
        cdi_dir: Option<PathBuf>,
    },
    /// Fail unless the ADI of a CDI specification is behind its node (its hook calls this)
    #[command(hide = true)]
    CdiCheck {
        /// The ADI's name
        #[arg(long)]
        name: String,
        /// Its device
        #[arg(long)]
        device: String,
        /// Its instance
        #[arg(long)]
        instance: String,
        /// Its VFIO group
        #[arg(long)]
        node: PathBuf,
    },
    /// Print what udev imports for the node of a VFIO group (60-adit.rules calls this)
    #[command(hide = true)]
    Udev {
        /// The group's number
        group: String,
    },
    /// Print an ADI's counters
    Stats {
        /// Which ones; all of them if none is named
        adi: Vec<String>,
    },
    /// Print ADIs as they come, change and go, until interrupted
    Watch {
        /// Seconds between two looks
        #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
        interval: Duration,
        /// Stop after this many looks
        #[arg(long)]
        count: Option<u64>,
    },
}

/// Queue pairs of an ADI, at most; a device may have less, which the driver says.
const MAX_QUEUES: i64 = 64;

/// How an ADI is to be.
#[derive(Debug, clap::Args)]
pub(crate) struct Create {
    /// What to call it, here and in CDI [default: adi and its sfnum]
    #[arg(long)]
    pub(crate) name: Option<Name>,
    /// Queue pairs, each with a vector
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=MAX_QUEUES))]
    pub(crate) queues: u32,
    /// Its Ethernet address [default: the device chooses]
    #[arg(long)]
    pub(crate) mac: Option<MacAddress>,
    /// The sub-function number, which is unique on a device [default: the lowest that is free]
    #[arg(long)]
    pub(crate) sfnum: Option<u32>,
    /// The function to cut it from, as devlink writes it (`pci/0000:00:05.0`) [default: the only
    /// one that the adit driver has]
    #[arg(long)]
    pub(crate) device: Option<String>,
    /// Write a CDI specification, with which `podman run --device adit.dev/adi=NAME` gives it to a
    /// container
    #[arg(long)]
    pub(crate) cdi: bool,
    /// Where CDI specifications are
    #[arg(long, value_name = "FOLDER", default_value = crate::cdi::FOLDER)]
    pub(crate) cdi_dir: PathBuf,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if !(0.1..=86_400.0).contains(&seconds) {
        return Err("from 0.1 to 86400".into());
    }
    Ok(Duration::from_secs_f64(seconds))
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
