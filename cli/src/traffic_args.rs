// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The arguments of `adit ping` and `adit pktgen`.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;

use crate::adi::MacAddress;
use crate::cdi;

/// The ADI to use.
#[derive(Debug, clap::Args)]
pub(crate) struct AdiArg {
    /// The ADI: its name, its device (`adit.adi.3`, or a UUID), its port or its sfnum, as `adit adi
    /// list` shows them, or its folder in sysfs [default: the one assigned to the container]
    #[arg(long, env = "ADIT_ADI", value_name = "ADI")]
    pub(crate) adi: Option<String>,
}

impl AdiArg {
    /// Returns the device of the ADI that was given, or of the only one in the environment, as in
    /// containers.
    pub(crate) fn resolve(&self) -> anyhow::Result<String> {
        let given = std::env::vars().filter(|(name, _)| name.starts_with("ADIT_ADI_"));
        let given: Vec<_> = given.collect();
        if let Some(adi) = &self.adi {
            return device(adi, &given);
        }
        let given: Vec<_> = given.into_iter().map(|(_, device)| device).collect();
        match &given[..] {
            [adi] => Ok(adi.clone()),
            [] => anyhow::bail!("no ADI is selected: use --adi (`adit adi list` shows them)"),
            several => anyhow::bail!("{} are possible: select one with --adi", several.join(", ")),
        }
    }
}

/// Returns the device of an ADI: the device of a name assigned to the container, the text itself
/// if it is a device, or the result of a lookup in devlink and the folder of names, which
/// containers do not have.
fn device(adi: &str, given: &[(String, String)]) -> anyhow::Result<String> {
    let named = adi.parse().ok().map(|name| cdi::variable(&name));
    let mut own = given
        .iter()
        .filter(|(name, _)| Some(name) == named.as_ref());
    if let Some((_, device)) = own.next() {
        return Ok(device.clone());
    }
    let number = adi.parse::<u32>().is_ok();
    if !number && adit_adi::find(adi).is_ok() {
        return Ok(adi.to_owned());
    }
    crate::adi::device(adi)
}

#[derive(Debug, clap::Args)]
pub(crate) struct Ping {
    #[command(flatten)]
    pub(crate) adi: AdiArg,
    /// Own address
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) ip: Ipv4Addr,
    /// The address to ping; without it, only reply to requests
    pub(crate) target: Option<Ipv4Addr>,
    /// Echo requests to send; also the minimum number of ARP requests
    #[arg(short, long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: u64,
    /// Time between requests, in milliseconds; 0: the next on each reply
    #[arg(short, long, default_value_t = 1000, value_name = "MS")]
    pub(crate) interval: u64,
    /// The timeout of a reply, in milliseconds; ARP requests are sent for at least as long
    #[arg(short = 'W', long, default_value_t = 1000, value_name = "MS")]
    pub(crate) timeout: u64,
    /// Bytes of payload
    #[arg(short, long, default_value_t = 56, value_parser = clap::value_parser!(u16).range(8..=1472))]
    pub(crate) size: u16,
    /// Stop after this time, in seconds
    #[arg(short = 'w', long, value_name = "S", value_parser = seconds)]
    pub(crate) deadline: Option<Duration>,
    /// The time to poll after a frame before sleeping until the next, in microseconds: lowers latency
    /// and uses a CPU
    #[arg(long, default_value_t = 0, value_name = "US")]
    pub(crate) spin: u64,
    /// Print only the summary
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Pktgen {
    #[command(flatten)]
    pub(crate) adi: AdiArg,
    #[command(subcommand)]
    pub(crate) mode: Mode,
    /// Stop after this time, in seconds
    #[arg(short, long, global = true, default_value = "10", value_parser = seconds)]
    pub(crate) seconds: Duration,
    /// Queue pairs, each with a thread; 0 for all of the ADI
    #[arg(short, long, global = true, default_value_t = 1)]
    pub(crate) queues: u16,
    /// Frames that each queue can hold
    #[arg(long, global = true, default_value_t = 1024)]
    pub(crate) ring: u16,
    /// The time that a queue which can neither send nor receive polls before it sleeps, in
    /// microseconds
    #[arg(long, global = true, default_value_t = 1000, value_name = "US")]
    pub(crate) spin: u64,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Mode {
    /// Send UDP packets, or those of a pcap file repeatedly
    Send {
        /// The destination MAC address [default: broadcast]
        #[arg(long, value_name = "MAC")]
        to: Option<MacAddress>,
        /// Bytes of each frame, without FCS
        #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u16).range(60..=1514))]
        size: u16,
        /// Frames to send; 0 for as many as the time allows
        #[arg(long, default_value_t = 0)]
        count: u64,
        /// Frames per second and queue; 0 for no limit
        #[arg(long, default_value_t = 0)]
        rate: u64,
        /// Send these frames instead, with the ADI's address as the source
        #[arg(long, value_name = "FILE")]
        pcap: Option<PathBuf>,
    },
    /// Receive frames, and count or record them
    Receive {
        /// Frames to receive; 0 for as many as the time allows
        #[arg(long, default_value_t = 0)]
        count: u64,
        /// Write them to a pcap file (one queue only)
        #[arg(long, value_name = "FILE")]
        pcap: Option<PathBuf>,
    },
    /// Send every frame back to its source
    Reflect,
}

pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|e| format!("{e}"))?;
    Duration::try_from_secs_f64(seconds).map_err(|e| e.to_string())
}
