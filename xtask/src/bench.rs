// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `cargo xtask bench`: measurements, not tests: no result makes them fail.

mod adi;
mod contender;
mod cpu;
mod lab;
mod net;
mod p4rt;
mod pipeline;
mod results;

use anyhow::{bail, Result};

/// A benchmark: its name, a description, and the function that runs it.
type Benchmark = (&'static str, &'static str, fn(&Args) -> Result<()>);

const BENCHMARKS: [Benchmark; 4] = [
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
        "pipeline",
        "the P4 engine alone: time of a packet by program and size of tables, updates meanwhile",
        pipeline::run,
    ),
    (
        "p4rt",
        "P4Runtime on loopback: updates a second in batches of 1,000, with gRPC and without",
        p4rt::run,
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
