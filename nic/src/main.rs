// SPDX-License-Identifier: Apache-2.0 OR MIT
//! adit-nic: the NIC model as a process next to stock QEMU.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use adit_function::layout::RegisterLayout;
use adit_keeper::{Keeper, Worker};
use adit_nic::cli::NicArgs;
use adit_nic::control::{AdiLimits, MAX_QUEUES};
use adit_nic::logging;
use adit_nic::pci::{PciId, RequesterId, DEFAULT_ID};
use adit_nic::service::{serve, serve_for_keeper, Options};
use adit_uapi::regs::adi::{MAX_ADIS, MAX_QUEUE_PAIRS};
use adit_vfio_user::StopHandle;
use anyhow::Context;
use clap::{CommandFactory, Parser};

/// The default maximum number of concurrent ADIs.
const DEFAULT_ADIS: u32 = 10_240;

/// An emulated IDPF NIC for QEMU, as a vfio-user device.
///
/// Plug it in with
///   -device '{"driver":"vfio-user-pci","socket":{"path":"SOCKET","type":"unix"},
///             "x-no-posted-writes":true}'
/// The guest's memory must be shared: -object memory-backend-memfd,share=on.
#[derive(Parser)]
#[command(name = "adit-nic", version, verbatim_doc_comment)]
struct Cli {
    /// Path of the UNIX socket to create for QEMU.
    #[arg(long, value_name = "PATH")]
    socket: PathBuf,

    /// QEMU's QMP socket, for lookups of the guest's IOMMU tables. ADIs need it:
    /// their DMA carries PASIDs, which the device itself translates.
    #[arg(long, value_name = "PATH")]
    qmp: Option<PathBuf>,

    /// PCI address of the function in the guest, such as 00:05.0. Default: looked up by its ids.
    #[arg(long, value_name = "BB:DD.F", requires = "qmp")]
    requester_id: Option<RequesterId>,

    /// Maximum number of concurrent ADIs, 0 for none. Needs --qmp. [default: 10240]
    #[arg(long, value_name = "N", value_parser = up_to(0, MAX_ADIS))]
    adis: Option<u32>,

    /// Queue pairs of all ADIs together, at least one for each. [default: 16384]
    #[arg(long, value_name = "N", value_parser = up_to(0, MAX_QUEUE_PAIRS))]
    adi_queues: Option<u32>,

    #[command(flatten)]
    nic: NicArgs,

    /// Vendor and device id, four hexadecimal digits each.
    #[arg(long, value_name = "VVVV:DDDD", default_value_t = DEFAULT_ID)]
    pci_id: PciId,

    /// Register layout of BAR0: pf, or vf, which has no space for ADIs. Drivers that bind by class
    /// code, such as idpf, detect it.
    #[arg(long, value_name = "pf|vf", default_value_t = RegisterLayout::Pf)]
    layout: RegisterLayout,

    /// Number of RX queues (and of TX queues) of each port.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = up_to(1, MAX_QUEUES.into()))]
    queues: u32,

    /// Run the device in a second process, and keep the socket, the client's connection and the
    /// wires in this one. If the device's process dies, it is restarted: the driver sees a reset,
    /// and recovers. SIGHUP replaces it by a new one of the same program file, which may have been
    /// exchanged: the driver notices nothing, and if the new one fails, the old one goes on.
    #[arg(long)]
    keeper: bool,

    /// Run the device for the keeper whose socket is the standard input.
    #[arg(long, hide = true)]
    worker: bool,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let started = logging::start().map_err(anyhow::Error::from);
    match started.and_then(|()| run(cli)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("adit-nic: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<()> {
    let adis = adi_limits(&cli);
    let options = Options {
        nic: cli.nic.setup(),
        socket: cli.socket,
        qmp: cli.qmp,
        requester: cli.requester_id,
        adis,
        pci_id: cli.pci_id,
        layout: cli.layout,
        queues: u16::try_from(cli.queues)?, // at most MAX_QUEUES
    };
    if cli.keeper && !cli.worker {
        options.nic.check_keepable()?;
        let keeper = Keeper::of_this_program("--worker").context("this program's file")?;
        return Ok(keeper.run()?);
    }
    let stop = Arc::new(StopHandle::new()?);
    stop_on_signals(&stop)?;
    if cli.worker {
        return serve_for_keeper(&options, Worker::begin()?, &stop);
    }
    serve(&options, &stop)
}

/// Parses a number from `min` to `max`.
fn up_to(min: u32, max: u32) -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(i64::from(min)..=i64::from(max))
}

/// The maximum number of ADIs. There are none if the register layout has no space for them; nor
/// without QMP: the location of the IOMMU's tables is unknown then. Exits if they were requested
/// nevertheless.
fn adi_limits(cli: &Cli) -> AdiLimits {
    let positive = |n: Option<u32>| n.is_some_and(|n| n > 0);
    let requested = [
        ("--adis", positive(cli.adis)),
        ("--adi-queues", positive(cli.adi_queues)),
    ];
    if let Some((option, _)) = requested.into_iter().find(|(_, set)| *set) {
        if !cli.layout.has_adis() {
            let text = format!(
                "{option} is for ADIs, and the {} register layout has no space for them: use \
                 --layout pf, or leave out {option}",
                cli.layout
            );
            let kind = clap::error::ErrorKind::ArgumentConflict;
            Cli::command().error(kind, text).exit();
        }
        if cli.qmp.is_none() {
            let text =
                format!("{option} needs --qmp: ADIs' DMA is translated by the guest's IOMMU");
            let kind = clap::error::ErrorKind::MissingRequiredArgument;
            Cli::command().error(kind, text).exit();
        }
    }
    if cli.qmp.is_none() || !cli.layout.has_adis() {
        return AdiLimits::default();
    }
    let pairs = cli.adi_queues.unwrap_or(MAX_QUEUE_PAIRS);
    AdiLimits {
        adis: cli.adis.unwrap_or(DEFAULT_ADIS.min(pairs)),
        pairs,
    }
}

/// Stops the process cleanly on SIGINT and SIGTERM, so that sockets and TAP devices are removed.
fn stop_on_signals(stop: &Arc<StopHandle>) -> anyhow::Result<()> {
    let mut signals = signal_hook::iterator::Signals::new([
        signal_hook::consts::SIGINT,
        signal_hook::consts::SIGTERM,
    ])?;
    let stop = stop.clone();
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            if signals.forever().next().is_some() {
                stop.stop();
            }
        })?;
    Ok(())
}
