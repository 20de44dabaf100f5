// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The arguments of `adit adi`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;

use super::record::MacAddress;
use crate::registry::Name;

/// A command for ADIs. An ADI is identified by its name, its
/// device (`adit.adi.3`, or a UUID), its port (`pci/0000:00:05.0/3`) or its sfnum, as `adit adi
/// list` shows them.
#[derive(Debug, Subcommand)]
pub(crate) enum AdiCommand {
    /// Create an ADI: a devlink port of flavour pcisf, configured and active
    Create(Create),
    /// List the ADIs, and the orphaned names and CDI specifications of others
    List,
    /// Show one ADI
    Show {
        /// The ADI
        adi: String,
    },
    /// Destroy an ADI that is not open
    Destroy {
        /// The ADIs
        #[arg(required_unless_present = "all")]
        adi: Vec<String>,
        /// All ADIs
        #[arg(long, conflicts_with = "adi")]
        all: bool,
    },
    /// Destroy an ADI that is not open, and create it again with the same settings
    Reset {
        /// The ADI
        adi: String,
    },
    /// Remove names and CDI specifications of ADIs that no longer exist
    Prune {
        /// A folder of CDI specifications, besides /etc/cdi and /var/run/cdi
        #[arg(long, value_name = "FOLDER")]
        cdi_dir: Option<PathBuf>,
    },
    /// Fail unless a node belongs to the ADI of a CDI specification (its hook calls this)
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
    /// Print the properties that udev imports for the node of a VFIO group (60-adit.rules calls
    /// this)
    #[command(hide = true)]
    Udev {
        /// The group's number
        group: String,
    },
    /// Print an ADI's counters
    Stats {
        /// The ADIs; all of them if none is named
        adi: Vec<String>,
    },
    /// Print ADIs as they are added, changed and removed, until interrupted
    Watch {
        /// Seconds between two polls
        #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
        interval: Duration,
        /// Stop after this many polls
        #[arg(long)]
        count: Option<u64>,
    },
}

/// The maximum number of queue pairs of an ADI; a device may have fewer, which the driver reports.
const MAX_QUEUES: i64 = 64;

/// The settings of a new ADI.
#[derive(Debug, clap::Args)]
pub(crate) struct Create {
    /// Its name, here and in CDI [default: adi and its sfnum]
    #[arg(long)]
    pub(crate) name: Option<Name>,
    /// Queue pairs, each with a vector
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=MAX_QUEUES))]
    pub(crate) queues: u32,
    /// Its Ethernet address [default: assigned by the device]
    #[arg(long)]
    pub(crate) mac: Option<MacAddress>,
    /// The sub-function number, which is unique on a device [default: the lowest free one]
    #[arg(long)]
    pub(crate) sfnum: Option<u32>,
    /// The function to create it on, as devlink writes it (`pci/0000:00:05.0`) [default: the only
    /// one bound to the adit driver]
    #[arg(long)]
    pub(crate) device: Option<String>,
    /// Write a CDI specification, for `podman run --device adit.dev/adi=NAME`, which assigns it to
    /// a container
    #[arg(long)]
    pub(crate) cdi: bool,
    /// The folder of CDI specifications
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
