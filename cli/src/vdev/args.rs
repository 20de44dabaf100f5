// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The arguments of `adit vdev`.

use std::path::PathBuf;

use adit_function::mac::MacAddr;
use adit_function::pci::PciId;
use adit_vdcm::control::message::DEFAULT_SOCKET;
use adit_vdcm::protocol;
use clap::{Args, Subcommand, ValueEnum};

/// The help of the commands for devices.
const ABOUT: &str = "\
Virtual PCI functions that adit-vdcm composes out of ADIs, for VMs and containers

A device is served over vfio-user at a socket of its own. `create` prints the option for QEMU:

    adit vdev create --name web --adi web
    qemu-system-x86_64 … -object memory-backend-memfd,id=m0,size=1G,share=on \\
        -machine memory-backend=m0 -device '…'";

/// A command for composed devices.
#[derive(Debug, Args)]
#[command(long_about = ABOUT)]
pub(crate) struct VdevCommand {
    /// The daemon's control socket
    #[arg(
        long,
        global = true,
        value_name = "PATH",
        env = "ADIT_VDCM",
        default_value = DEFAULT_SOCKET
    )]
    pub(crate) control: PathBuf,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// The commands for devices.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Compose a device; print its socket and the option for QEMU
    Create(Create),
    /// List the devices
    List,
    /// Show one device and its ADIs
    Show {
        /// The device
        device: String,
    },
    /// Destroy devices; their clients are disconnected
    Destroy {
        /// The devices
        #[arg(required_unless_present = "all")]
        device: Vec<String>,
        /// All devices
        #[arg(long, conflicts_with = "device")]
        all: bool,
    },
    /// Print a device's counters
    Stats {
        /// The devices; all of them if none is named
        device: Vec<String>,
    },
    /// Print what happened to a device: requests of its driver, resets, memory, clients
    Trace(Trace),
    /// Replace the ADI, or the group, of a virtual port of a device that has no client
    Swap {
        /// The device
        device: String,
        /// The number of the virtual port, from 0
        port: u16,
        /// The ADI that takes the place; several are a group, its leader first. ADIs that the device has
        /// can be among them, to replace the others
        #[arg(required = true)]
        adi: Vec<String>,
    },
    /// Suspend a device and save its state to a file; the memory of its client is not part of it
    Save {
        /// The device
        device: String,
        /// The file; - for standard output
        file: PathBuf,
    },
    /// Compose a device with a saved state; it continues once its client has set its interrupts
    Restore(Restore),
    /// Let a suspended device continue
    Resume {
        /// The device
        device: String,
    },
    /// List the ADIs that devices can be composed of
    Adis,
    /// Show the state of the daemon
    Status,
}

/// A device that is to be composed.
#[derive(Debug, Args)]
pub(crate) struct Create {
    /// Its name [default: vdev and a number]
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// An ADI; repeat it for a device with several, each with a virtual port [default: the daemon
    /// creates one, if it has the NIC]
    #[arg(long)]
    pub(crate) adi: Vec<String>,
    /// ADIs of each virtual port, which has the queues of all; with --adi as many for each port
    /// [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=16))]
    pub(crate) group: Option<u16>,
    /// RX queues of each virtual port [default: as many as the ADI has]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) queues: Option<u16>,
    /// MAC address of the first virtual port; the others have the following addresses [default:
    /// those of the ADIs]
    #[arg(long)]
    pub(crate) mac: Option<MacAddr>,
    /// VLAN whose tags the NIC inserts and strips, 0 for none [default: that of the ADIs]
    #[arg(long, value_name = "ID", value_parser = clap::value_parser!(u16).range(..=4094))]
    pub(crate) vlan: Option<u16>,
    /// Port of the NIC, for an ADI that the daemon creates
    #[arg(long, value_name = "N", default_value_t = 0, conflicts_with = "adi")]
    pub(crate) port: u16,
    /// Vendor and device id, four hexadecimal digits each [default: those of the layout]
    #[arg(long, value_name = "VVVV:DDDD")]
    pub(crate) pci_id: Option<PciId>,
    /// Register layout
    #[arg(long, value_enum, default_value_t)]
    pub(crate) layout: Layout,
    /// Path of its socket [default: its name and .sock, in the daemon's folder]
    #[arg(long, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
    /// A limit of its client, such as messages_per_second=500 (repeatable); `show` has their names
    #[arg(long, value_name = "NAME=N", value_parser = limit)]
    pub(crate) limit: Vec<(String, u64)>,
}

/// A device that is to be composed with a saved state.
#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// The file with the state; - for standard input
    pub(crate) file: PathBuf,
    /// Its name [default: vdev and a number]
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// An ADI, with the address and the queues of the one that was saved; repeat it for a device with
    /// several [default: the daemon creates one, if it has the NIC]
    #[arg(long)]
    pub(crate) adi: Vec<String>,
    /// ADIs of each virtual port, as for `create`; they have as many queues together as those that were
    /// saved [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=16))]
    pub(crate) group: Option<u16>,
    /// VLAN whose tags the NIC inserts and strips, 0 for none [default: that of the ADIs]
    #[arg(long, value_name = "ID", value_parser = clap::value_parser!(u16).range(..=4094))]
    pub(crate) vlan: Option<u16>,
    /// Port of the NIC, for an ADI that the daemon creates
    #[arg(long, value_name = "N", default_value_t = 0, conflicts_with = "adi")]
    pub(crate) port: u16,
    /// Path of its socket [default: its name and .sock, in the daemon's folder]
    #[arg(long, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
    /// A limit of its client, such as messages_per_second=500 (repeatable); `show` has their names
    #[arg(long, value_name = "NAME=N", value_parser = limit)]
    pub(crate) limit: Vec<(String, u64)>,
}

/// A register layout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Layout {
    /// That of an IDPF VF, to which idpf and DPDK bind by class code
    #[default]
    Vf,
    /// That of a composed device of Intel's (8086:0dd5)
    Siov,
}

impl From<Layout> for protocol::Layout {
    fn from(layout: Layout) -> Self {
        match layout {
            Layout::Vf => Self::Vf,
            Layout::Siov => Self::Siov,
        }
    }
}

/// The arguments of `trace`.
#[derive(Debug, Args)]
pub(crate) struct Trace {
    /// The device
    pub(crate) device: String,
    /// Continue with new entries, until interrupted
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Only entries with larger numbers
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) after: u64,
}

fn limit(text: &str) -> Result<(String, u64), String> {
    let (name, value) = text
        .split_once('=')
        .ok_or("a limit is NAME=N, as in windows=4096")?;
    let value = value
        .parse()
        .map_err(|_| format!("`{value}` is not a number"))?;
    Ok((name.to_owned(), value))
}
