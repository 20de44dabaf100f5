// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `cargo xtask bench`.

mod net;
mod report;

use anyhow::{bail, Result};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Which one; without it, all of them are listed
    name: Option<String>,
    /// Seconds for each measurement
    #[arg(long, default_value_t = 3)]
    seconds: u64,
}

/// What there is, and what it measures.
const BENCHES: [(&str, &str); 1] = [(
    "net",
    "packets/s, TCP goodput and latency, beside virtio-net, igb and e1000e",
)];

pub(crate) fn run(args: &Args) -> Result<u8> {
    let report = match args.name.as_deref() {
        None => {
            for (name, what) in BENCHES {
                println!("{name:8} {what}");
            }
            return Ok(0);
        }
        Some("net") => net::run(args.seconds)?,
        Some(other) => bail!("there is no bench `{other}`: `cargo xtask bench` lists them"),
    };
    print!("{report}");
    println!("written to {}", report.write()?.display());
    Ok(0)
}
