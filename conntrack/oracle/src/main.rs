// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The kernel as oracle: feeds Linux's nf_conntrack and the library with the same packets, and
//! compares after each what both show: the packet's state, all connections with their tuples,
//! status, protocol state, timeout and counters, and the packet as it was passed on.
//!
//! The kernel's tracker is in a network namespace of this process, which forwards between two TUN
//! devices. Packets are forwarded within the write to a device, so nothing has to be waited for;
//! the library is given the time at which that happens. Results are in KTAP version 2.

mod compare;
mod inserts;
mod pcap;
mod random;

use std::path::PathBuf;
use std::process::ExitCode;

use adit_conntrack::Family;
use adit_conntrack_oracle::{
    ctnetlink, kernel, library, observation, policy, router, runner, script, settings, trace,
};
use anyhow::{Context, Result};
use clap::Parser;

use compare::compare;
use kernel::Kernel;
use runner::Outcome;
use trace::Trace;

/// The captures, by group.
const CAPTURES: [(&str, &[u8]); 1] = [("pcap", include_bytes!("../traces/session.pcap"))];
/// The kinds of random scripts.
const RANDOM: [(&str, random::Kind); 4] = [
    ("random tcp", random::Kind::Tcp),
    ("random sctp", random::Kind::Sctp),
    ("random mixed", random::Kind::Mixed),
    ("random nat", random::Kind::Nat),
];

/// Compares the connection tracker with Linux's nf_conntrack
#[derive(Parser)]
struct Args {
    /// nft(8)
    #[arg(long, default_value = "nft")]
    nft: PathBuf,
    /// Random traces of each kind
    #[arg(long, default_value_t = 200)]
    random: u32,
    /// The seed of the random traces
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print what the kernel shows after each packet of a script
    #[arg(long, short)]
    verbose: bool,
    /// Captures to compare instead of all groups: pcap files of Ethernet frames or IP packets
    #[arg(long, value_name = "FILE")]
    pcap: Vec<PathBuf>,
    /// Measure instead the time that the kernel takes to insert a connection, of this number
    #[arg(long, value_name = "COUNT")]
    kernel_inserts: Option<u32>,
    /// Only groups whose names contain this
    #[arg(default_value = "")]
    filter: String,
}

/// Counts of the comparison.
#[derive(Default)]
struct Totals {
    traces: usize,
    packets: usize,
    /// Traces of what later kernels do.
    skipped: usize,
    differences: Vec<String>,
}

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    if let Some(count) = args.kernel_inserts {
        println!("{}", inserts::measure(count)?.as_nanos());
        return Ok(ExitCode::SUCCESS);
    }
    let mut kernel = Kernel::start(&args.nft)?;
    let groups = groups(&args)?;
    println!("KTAP version 2\n1..{}", groups.len());
    let mut all = Totals::default();
    for ((name, source), number) in groups.iter().zip(1..) {
        let totals = source.run(name, &mut kernel, &args)?;
        for difference in &totals.differences {
            for line in difference.lines() {
                println!("# {line}");
            }
        }
        println!(
            "# {} traces agree with {} packets, {} are of later kernels",
            totals.traces, totals.packets, totals.skipped
        );
        let differs = !totals.differences.is_empty();
        println!("{}ok {number} {name}", if differs { "not " } else { "" });
        all.traces += totals.traces;
        all.packets += totals.packets;
        all.differences.extend(totals.differences);
    }
    println!(
        "# in all {} traces with {} packets agree, {} differ",
        all.traces,
        all.packets,
        all.differences.len()
    );
    Ok(if all.differences.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The groups that are to be compared.
fn groups(args: &Args) -> Result<Vec<(String, Source)>> {
    if !args.pcap.is_empty() {
        let groups = args.pcap.iter().map(|path| {
            let name = path.display().to_string();
            let file = std::fs::read(path).context(name.clone())?;
            Ok((name, Source::Capture(file)))
        });
        return groups.collect();
    }
    let scripts = script::GROUPS.map(|(name, text)| (name, Source::Script(text)));
    let captures = CAPTURES.map(|(name, file)| (name, Source::Capture(file.to_vec())));
    let random = RANDOM.map(|(name, kind)| (name, Source::Random(kind)));
    let all = scripts.into_iter().chain(captures).chain(random);
    Ok(all
        .filter(|(name, _)| name.contains(&args.filter))
        .map(|(name, source)| (name.to_owned(), source))
        .collect())
}

/// The source of a group's traces.
enum Source {
    Script(&'static str),
    /// A pcap file.
    Capture(Vec<u8>),
    Random(random::Kind),
}

impl Source {
    fn run(&self, name: &str, kernel: &mut Kernel, args: &Args) -> Result<Totals> {
        let mut totals = Totals::default();
        match self {
            Source::Script(text) => {
                for family in [Family::V4, Family::V6] {
                    for trace in script::parse_file(text, family)? {
                        totals.compare(kernel, &trace, args.verbose)?;
                    }
                }
            }
            Source::Capture(file) => {
                let trace = pcap::parse(name, file)?;
                totals.compare(kernel, &trace, args.verbose)?;
            }
            Source::Random(kind) => {
                let run = random::run(kernel, *kind, args.random, args.seed);
                totals.traces = run.traces;
                totals.packets = run.packets;
                totals.differences.extend(run.difference);
            }
        }
        Ok(totals)
    }
}

impl Totals {
    /// Compares a trace, unless it is one of later kernels.
    fn compare(&mut self, kernel: &mut Kernel, trace: &Trace, verbose: bool) -> Result<()> {
        if kernel.version() < trace.since {
            self.skipped += 1;
            return Ok(());
        }
        match compare(kernel, trace, verbose)? {
            Outcome::Agree(packets) => {
                self.traces += 1;
                self.packets += packets;
            }
            Outcome::Differ(report) => self.differences.push(report),
        }
        Ok(())
    }
}
