// SPDX-License-Identifier: Apache-2.0 OR MIT
//! adit-nic: the NIC model as a process next to stock QEMU.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use adit_function::layout::RegisterLayout;
use adit_nic::control::{AdiLimits, MAX_QUEUES};
use adit_nic::device::{serve, Options};
use adit_nic::logging;
use adit_nic::mac::MacAddr;
use adit_nic::p4rt::P4Rt;
use adit_nic::pci::{PciId, RequesterId, DEFAULT_ID};
use adit_nic::wire::WireSpec;
use adit_p4_frontend::architectures::Architecture;
use adit_p4runtime::server::Address;
use adit_uapi::regs::adi::{MAX_ADIS, MAX_QUEUE_PAIRS};
use adit_vfio_user::StopHandle;
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

    /// Backend of a port: tap:NAME, unix:LOCAL[,REMOTE], pcap:IN,OUT (either may be -), or none.
    /// Repeat it for each further port.
    #[arg(long = "wire", value_name = "WIRE")]
    wires: Vec<WireSpec>,

    /// MAC address of the first port; the other ports have the following addresses.
    #[arg(long, value_name = "MAC", default_value = "02:ad:17:00:00:01")]
    mac: MacAddr,

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

    /// The P4 program for PNA that processes frames. Default: forwarding by address.
    #[arg(long, value_name = "FILE")]
    p4: Option<PathBuf>,

    /// Define a macro for the program (repeatable).
    #[arg(long, value_name = "NAME[=VALUE]", requires = "p4")]
    p4_define: Vec<String>,

    /// The program's architecture: pna (three blocks, version 0.7), pna-dpdk (four blocks), pna-tc,
    /// v1model. Default: that of the program's main.
    #[arg(long, value_name = "NAME", requires = "p4")]
    p4_arch: Option<Architecture>,

    /// Serve P4Runtime at HOST:PORT or unix:PATH; without a value, at 127.0.0.1:9559.
    #[arg(long, value_name = "ADDR", num_args = 0..=1, default_missing_value = "127.0.0.1:9559")]
    p4rt: Option<Address>,

    /// P4Runtime device id.
    #[arg(long, value_name = "N", default_value_t = 1, requires = "p4rt",
          value_parser = clap::value_parser!(u64).range(1..))]
    p4rt_device: u64,

    /// Certificate for P4Runtime over TLS, as PEM.
    #[arg(long, value_name = "FILE", requires = "p4rt_key")]
    p4rt_cert: Option<PathBuf>,

    /// Key of the certificate, as PEM.
    #[arg(long, value_name = "FILE", requires = "p4rt_cert")]
    p4rt_key: Option<PathBuf>,

    /// CA certificates, as PEM: accept only clients whose certificates one of them has signed.
    #[arg(long, value_name = "FILE", requires = "p4rt_cert")]
    p4rt_client_ca: Option<PathBuf>,

    /// Serve Prometheus metrics over HTTP at this address, such as 127.0.0.1:9100.
    #[arg(long, value_name = "ADDR")]
    metrics: Option<std::net::SocketAddr>,
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
    let stop = Arc::new(StopHandle::new()?);
    stop_on_signals(&stop)?;
    let wires = if cli.wires.is_empty() {
        vec![WireSpec::None]
    } else {
        cli.wires
    };
    serve(
        Options {
            socket: cli.socket,
            qmp: cli.qmp,
            requester: cli.requester_id,
            adis,
            wires,
            mac: cli.mac,
            pci_id: cli.pci_id,
            layout: cli.layout,
            queues: u16::try_from(cli.queues)?, // at most MAX_QUEUES
            p4: cli.p4,
            p4_options: adit_p4_frontend::Options {
                defines: cli.p4_define.iter().map(|text| define(text)).collect(),
                architecture: cli.p4_arch.unwrap_or_default(),
                ..adit_p4_frontend::Options::default()
            },
            p4rt: cli.p4rt.map(|address| P4Rt {
                address,
                device_id: cli.p4rt_device,
                certificate: cli.p4rt_cert,
                key: cli.p4rt_key,
                clients: cli.p4rt_client_ca,
            }),
            metrics: cli.metrics,
        },
        &stop,
    )
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

/// Parses a macro definition as C compilers do: without a value it is 1.
fn define(text: &str) -> (String, String) {
    let (name, value) = text.split_once('=').unwrap_or((text, "1"));
    (name.to_owned(), value.to_owned())
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
