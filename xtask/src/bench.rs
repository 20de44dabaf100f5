// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `cargo xtask bench`: measurements, not tests: no result makes them fail.

mod adi;
mod contender;
mod cpu;
mod ct;
mod lab;
mod net;
mod node;
mod p4rt;
mod pipeline;
mod results;
mod vdcm;
mod web;

use anyhow::{bail, Result};

use crate::build::Profile;

/// A benchmark: its name, a description, and the function that runs it.
type Benchmark = (&'static str, &'static str, fn(&Args) -> Result<()>);

const BENCHMARKS: [Benchmark; 8] = [
    (
        "net",
        "our NIC beside virtio-net, igb and e1000e in one guest: goodput, packets/s, round trip, CPU",
        net::run,
    ),
    (
        "adi",
        "ADIs: time and memory of each, packets/s and round trip beside AF_XDP on idpf and veth",
        adi::run,
    ),
    (
        "vdcm",
        "composed devices: time and memory of each, frames beside an ADI used directly, idpf beside the PF",
        vdcm::run,
    ),
    (
        "pipeline",
        "the P4 engine alone: time of a packet by program and size of tables, updates meanwhile",
        pipeline::run,
    ),
    (
        "ct",
        "the connection tracker alone: time of inserts, lookups, packets and expiries by size, pauses",
        ct::run,
    ),
    (
        "node",
        "k8s_node.p4 with 10,000 services and a million connections: time of a packet, endpoint changes",
        node::run,
    ),
    (
        "p4rt",
        "P4Runtime on loopback: updates a second in batches of 1,000, with gRPC and without",
        p4rt::run,
    ),
    (
        "web",
        "an HTTP server on an ADI beside kernel sockets behind idpf, DNAT and veth: requests, latency, CPU",
        web::run,
    ),
];

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Benchmark to run; without it, the names are listed
    name: Option<String>,
    /// Run one short round
    #[arg(long)]
    quick: bool,
    /// Number of rounds of all measurements; medians are printed
    #[arg(long)]
    rounds: Option<usize>,
    /// Measure only these columns, by their names in the table
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    only: Vec<String>,
    /// The profile of `adit` and `adit-nic` in the guest, for `adi` and `web`; figures count with `release`
    #[arg(long, value_enum, default_value_t)]
    profile: Profile,
    /// Build a peer and measure it in turn with ours: `ovs` for `ct`
    #[arg(long)]
    peer: Option<String>,
}

pub(crate) fn run(args: &Args) -> Result<u8> {
    let Some(name) = args.name.as_deref() else {
        for (name, about, _) in BENCHMARKS {
            println!("{name:8} {about}");
        }
        return Ok(0);
    };
    let Some((_, _, benchmark)) = BENCHMARKS.iter().find(|(known, ..)| *known == name) else {
        let names: Vec<_> = BENCHMARKS.iter().map(|(name, ..)| *name).collect();
        bail!("no benchmark `{name}`: there is {}", names.join(", "));
    };
    benchmark(args)?;
    Ok(0)
}
