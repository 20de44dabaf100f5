// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The cost of composed devices, without a guest: `cargo xtask bench vdcm` runs it.
//!
//! Prints a JSON object: by number of devices in a daemon, the time to create, attach, reset and
//! destroy one and the memory of an idle one; then frames per second and round trips between two
//! composed devices and between two ADIs that are used directly. These have the same NIC, in this
//! process, and the same driver (`adit_adi`), so that only the composition differs.

mod composed;
mod costs;
#[allow(dead_code, reason = "its other functions are for the other example")]
#[path = "../vdev_client/device.rs"]
mod device;
mod direct;
mod figures;
mod ids;
mod process;
mod traffic;
#[allow(dead_code, reason = "its other functions are for the other example")]
#[path = "../vdev_client/vf.rs"]
mod vf;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_function::control::AdiLimits;
use adit_nic::cli::NicArgs;
use adit_vdcm::backend::{AdiSpec, Provider};
use adit_vdcm::embedded::EmbeddedNic;
use adit_vdcm::manager::{Manager, ManagerOptions};
use adit_vdcm::protocol::{Limits, Spec};
use adit_vfio_user::Permissions;
use anyhow::Result;
use clap::Parser;
use rustix::process::{getrlimit, setrlimit, Resource};
use serde_json::{json, Value};

use composed::Composed;
use direct::Direct;
use process::Daemon;
use traffic::{End, Ends};

/// The number of queue pairs of each ADI: of one RX queue and one for XDP, as the daemon creates
/// them for a device with one queue.
const PAIRS: u16 = 2;

/// Measures composed devices.
#[derive(Parser)]
struct Args {
    /// The daemon
    #[arg(long)]
    daemon: PathBuf,
    /// Numbers of devices
    #[arg(long, value_delimiter = ',', default_value = "1,100,1000")]
    devices: Vec<usize>,
    /// Rounds of traffic; in each, both kinds are measured in turn
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Length of a stream of frames
    #[arg(long, value_name = "MS", default_value_t = 1_000)]
    stream_ms: u64,
    /// Round trips of a round
    #[arg(long, default_value_t = 2_000)]
    trips: usize,
    #[command(flatten)]
    nic: NicArgs,
}

fn main() -> Result<()> {
    let args = Args::parse();
    // A device takes about ten descriptors; many shells permit 1,024.
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit)?;
    let mut populations = Vec::new();
    for &count in &args.devices {
        let daemon = Daemon::start(&args.daemon)?;
        populations.push(costs::population(&daemon, count)?);
    }
    let report = json!({ "populations": populations, "traffic": traffic(&args)? });
    println!("{report}");
    Ok(())
}

/// Measures both kinds in turn, on one NIC.
fn traffic(args: &Args) -> Result<Value> {
    let limits = AdiLimits {
        adis: 4,
        pairs: u32::from(4 * PAIRS),
    };
    let nic = adit_nic::embedded::Nic::start(&args.nic.clone().setup(), limits)?;
    let provider = Arc::new(EmbeddedNic::new(nic));
    let folder = tempfile::tempdir()?;
    let options = ManagerOptions {
        sockets: folder.path().to_owned(),
        permissions: Permissions::default(),
        limits: Limits::default(),
        max_devices: 2,
    };
    let manager = Manager::new(provider.clone(), options)?;
    let composed = || {
        let spec = Spec {
            queues: Some(1),
            ..Spec::default()
        };
        let socket = manager.create(spec)?.socket;
        End::start(Box::new(Composed::connect(&socket)?))
    };
    let direct = || {
        let spec = AdiSpec {
            pairs: PAIRS,
            mac: None,
            vlan: 0,
            port: 0,
        };
        End::start(Box::new(Direct::new(provider.create(&spec)?)))
    };
    let mut kinds = [
        ("composed", Ends::new(composed()?, composed()?)),
        ("direct", Ends::new(direct()?, direct()?)),
    ];
    let mut rounds = Vec::new();
    for round in 0..args.rounds {
        let mut figures = json!({});
        // Another one is first in each round.
        kinds.reverse();
        for (kind, ends) in &mut kinds {
            figures[*kind] = measure(ends, args)?;
        }
        figures["round"] = round.into();
        rounds.push(figures);
    }
    Ok(json!({ "rounds": rounds }))
}

fn measure(ends: &mut Ends, args: &Args) -> Result<Value> {
    let time = Duration::from_millis(args.stream_ms);
    // Warms up the caches for this pair.
    ends.stream(time / 10, u64::MAX)?;
    let start = Instant::now();
    let frames = ends.stream(time, u64::MAX)?;
    let seconds = start.elapsed().as_secs_f64();
    let trips = ends.round_trips(args.trips)?;
    let asleep = ends.round_trips_asleep(args.trips / 4)?;
    Ok(json!({
        "frames_per_s": frames as f64 / seconds,
        "round_trip_us": figures::microseconds(trips),
        "round_trip_asleep_us": figures::microseconds(asleep),
    }))
}
