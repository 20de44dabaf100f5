// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `adit httpd`: serves files over HTTP on an ADI, or on sockets of the kernel.

use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use adit_adi::{Adi, Config as AdiConfig};
use adit_httpd::adi::Pace;
use adit_httpd::{kernel, Limits, Report, Shared, Site, Workers};
use adit_netstack::{join_solicited, Address, AdiPort, Config};
use anyhow::{ensure, Context, Result};
use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;

use crate::output::{counted, print_json, Format};
use crate::traffic_args::{seconds, AdiArg};

/// The length of an Ethernet header in bytes, which a buffer has in addition to the packet.
const ETHERNET: usize = 14;
/// The minimum MTU: that of IPv6 (RFC 8200, section 5).
const MIN_MTU: u16 = 1280;

#[derive(Debug, clap::Args)]
pub(crate) struct Httpd {
    #[command(flatten)]
    adi: AdiArg,
    /// Own address with the length of its network's prefix, such as 10.99.0.3/24 or fd99::3/64
    /// (repeatable)
    #[arg(long, value_name = "ADDRESS/LEN", required_unless_present = "listen")]
    address: Vec<Address>,
    /// Default gateway, at most one of each address family
    #[arg(long, value_name = "ADDRESS")]
    gateway: Vec<IpAddr>,
    /// Serve on kernel sockets at this address instead of an ADI
    #[arg(long, value_name = "ADDRESS:PORT", conflicts_with_all = ["adi", "address", "gateway", "port", "mtu", "ring"])]
    listen: Option<SocketAddr>,
    /// The folder whose files are served; they are indexed at the start
    #[arg(long, value_name = "DIR")]
    root: PathBuf,
    /// TCP port
    #[arg(long, default_value_t = 80, value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
    /// The server's name in the answers of /echo [default: the ADI's device, or the address]
    #[arg(long)]
    name: Option<String>,
    /// MiB of files to keep in memory, the smallest first; others are read for each response
    #[arg(long, default_value_t = 64, value_name = "MIB")]
    cache: u64,
    /// Queue pairs, each with a thread; 0 for all of the ADI
    #[arg(short, long, default_value_t = 0)]
    queues: u16,
    /// Frames that each queue can hold
    #[arg(long, default_value_t = 256)]
    ring: u16,
    /// Bytes of an IP packet [default: the maximum of the ADI, but at most 1500]
    #[arg(long, value_parser = clap::value_parser!(u16).range(i64::from(MIN_MTU)..))]
    mtu: Option<u16>,
    /// Connections of each thread; more are refused
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    max_connections: u32,
    /// Connections of each client address and thread, on an ADI; 0 for no limit
    #[arg(long, default_value_t = 0)]
    max_per_client: u32,
    /// The time between two requests of a connection, in seconds
    #[arg(long, default_value = "60", value_name = "S", value_parser = seconds)]
    idle_timeout: Duration,
    /// The time that the head of a request may take, in seconds
    #[arg(long, default_value = "10", value_name = "S", value_parser = seconds)]
    head_timeout: Duration,
    /// Bytes of a request's body: more are refused
    #[arg(long, default_value_t = 65_536, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(..=1 << 20))]
    max_body: u32,
    /// The time to poll without work before sleeping until an interrupt, while that saves CPU time, in
    /// microseconds [default: the cost of a sleep, measured at the start]
    #[arg(long, value_name = "US")]
    spin: Option<u64>,
    /// The time that connections have to end after SIGTERM, in seconds
    #[arg(long, default_value = "10", value_name = "S", value_parser = seconds)]
    grace: Duration,
    /// Serve the counters as JSON at /stats
    #[arg(long)]
    stats: bool,
}

pub(crate) fn run(args: &Httpd, format: Format) -> Result<ExitCode> {
    let cache = args.cache.saturating_mul(1 << 20);
    let site = Site::open(&args.root, cache)?;
    let device = match args.listen {
        Some(_) => None,
        None => Some(args.adi.resolve()?),
    };
    let listen = args.listen.map(|address| address.to_string());
    let name = args.name.clone().or(device.clone()).or(listen);
    let name = name.unwrap_or_default();
    let limits = Limits {
        body: args.max_body as usize,
        idle: args.idle_timeout,
        head_time: args.head_timeout,
        ..Limits::default()
    };
    let workers = Workers::new(&name, site.size());
    let mut shared = Shared::new(name, site, limits);
    if args.stats {
        let workers = workers.clone();
        shared = shared.with_reports(move || workers.report());
    }
    let shared = Arc::new(shared);
    watch_signals(Arc::clone(&shared), workers.clone(), format)?;
    let result = match &device {
        Some(device) => on_adi(args, device, &shared, &workers),
        None => on_sockets(args, &shared, &workers),
    };
    report(&workers.report(), format)?;
    result.map(|()| ExitCode::SUCCESS)
}

fn pace(args: &Httpd) -> Pace {
    Pace {
        spin: args.spin.map(Duration::from_micros),
        grace: args.grace,
    }
}

fn on_adi(args: &Httpd, device: &str, shared: &Arc<Shared>, workers: &Workers) -> Result<()> {
    let adi = Adi::open(device)?;
    let max = adi.info().max_mtu.get();
    let mtu = args.mtu.unwrap_or(max.min(1500));
    ensure!(
        (MIN_MTU..=max).contains(&mtu),
        "the MTU is {mtu}: this ADI takes {MIN_MTU} to {max}"
    );
    let pairs = adi.start(&AdiConfig {
        pairs: args.queues,
        ring_len: args.ring,
        buffer_len: (u32::from(mtu) + ETHERNET as u32)
            .next_multiple_of(64)
            .max(2048),
        spare_buffers: 64 + u32::from(args.ring),
        lazy_reports: true,
        ..AdiConfig::default()
    })?;
    join_solicited(&adi, &args.address)?;
    let config = Config {
        mac: adi.info().mac,
        addresses: args.address.clone(),
        gateways: args.gateway.clone(),
        port: args.port,
        limits: adit_netstack::Limits {
            connections: args.max_connections as usize,
            per_client: args.max_per_client as usize,
            ..adit_netstack::Limits::default()
        },
    };
    let count = pairs.len();
    let ports = pairs.into_iter().map(|pair| AdiPort::new(pair, mtu.into()));
    let addresses: Vec<_> = args
        .address
        .iter()
        .map(|it| SocketAddr::new(it.ip(), args.port))
        .collect();
    announce(args, shared, &addresses, device, count)?;
    let served = adit_httpd::adi::serve(ports.collect(), &config, pace(args), shared, workers);
    served.map_err(|error| match adi.fault() {
        Ok(fault) if fault.reason.get() != 0 => {
            let (reason, address) = (fault.reason.get(), fault.address.get());
            anyhow::Error::from(error).context(format!(
                "a queue of the ADI was stopped: reason {reason}, address {address:#x}"
            ))
        }
        _ => error.into(),
    })
}

fn on_sockets(args: &Httpd, shared: &Arc<Shared>, workers: &Workers) -> Result<()> {
    let address = args.listen.context("no address to listen at")?;
    let first = kernel::listen(address).with_context(|| format!("cannot listen at {address}"))?;
    let address = first.local_addr()?;
    let threads = match args.queues {
        0 => std::thread::available_parallelism()?.get(),
        n => n.into(),
    };
    let mut listeners = vec![first];
    for _ in 1..threads {
        let next = kernel::listen(address);
        listeners.push(next.with_context(|| format!("cannot listen at {address}"))?);
    }
    announce(args, shared, &[address], "the kernel", threads)?;
    let max = args.max_connections as usize;
    kernel::serve(listeners, max, pace(args), shared, workers)?;
    Ok(())
}

/// Prints where the server serves what.
fn announce(
    args: &Httpd,
    shared: &Shared,
    addresses: &[SocketAddr],
    device: &str,
    threads: usize,
) -> Result<()> {
    let urls: Vec<_> = addresses.iter().map(|it| format!("http://{it}/")).collect();
    let size = shared.site.size();
    // To stderr: stdout is for the counters, which may be JSON.
    writeln!(
        io::stderr(),
        "{} serves {} ({} in memory) of {} at {} with {}",
        device,
        counted(size.files as u64, "file"),
        size.cached_files,
        args.root.display(),
        urls.join(", "),
        counted(threads as u64, "thread"),
    )?;
    Ok(())
}

/// Stops the server on SIGTERM or SIGINT, and prints its counters on SIGUSR1.
fn watch_signals(shared: Arc<Shared>, workers: Workers, format: Format) -> Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGUSR1])?;
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            for signal in signals.forever() {
                if signal == SIGUSR1 {
                    // A reader that is gone does not concern the clients.
                    let _ = report(&workers.report(), format);
                } else {
                    shared.stop();
                }
            }
        })?;
    Ok(())
}

/// Prints the counters; in lines, only those that are not 0.
fn report(report: &Report, format: Format) -> Result<()> {
    if format == Format::Json {
        return print_json(report);
    }
    let mut out = io::stdout().lock();
    let (requests, seconds) = (report.http.requests, report.seconds);
    writeln!(out, "{} in {seconds:.1} s", counted(requests, "request"))?;
    let parts = [
        ("http", serde_json::to_value(report.http)?),
        ("tcp", serde_json::to_value(report.tcp)?),
    ];
    for (part, values) in parts {
        for (name, value) in values.as_object().into_iter().flatten() {
            if value.as_u64() != Some(0) {
                writeln!(out, "{part} {}: {value}", name.replace('_', " "))?;
            }
        }
    }
    Ok(())
}
