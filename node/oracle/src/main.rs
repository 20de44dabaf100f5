// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The kernel as oracle for services: feeds `p4/k8s_node.p4`, with entries that `adit svc` writes, and
//! nftables, with rules as kube-proxy writes them, with the same packets, and compares what leaves.
//!
//! The kernel is a node in a network namespace of this process. Results are in KTAP version 2.

mod choice;
mod compare;
mod kernel;
mod layout;
mod node;
mod observation;
mod proxy;
mod random;
mod trace;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use adit_conntrack::Family;
use adit_conntrack_oracle::router;
use adit_conntrack_oracle::runner::{Outcome, Run};
use anyhow::Result;
use clap::Parser;

use compare::Both;
use kernel::Kernel;
use node::Node;

/// The traces, by group.
const GROUPS: [(&str, &str); 1] = [("services", include_str!("../traces/services.txt"))];

/// Compares services of the node's program with those of nftables
#[derive(Parser)]
struct Args {
    /// The program
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../../p4/k8s_node.p4"))]
    program: PathBuf,
    /// nft(8)
    #[arg(long, default_value = "nft")]
    nft: PathBuf,
    /// Random traces
    #[arg(long, default_value_t = 200)]
    random: u32,
    /// The seed of the random traces
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print what the kernel does with each packet
    #[arg(long, short)]
    verbose: bool,
    /// Only groups whose names contain this
    #[arg(default_value = "")]
    filter: String,
}

/// Counts of the comparison.
#[derive(Default)]
struct Totals {
    traces: usize,
    packets: usize,
    /// Traces that end in a difference by intent.
    intended: usize,
    differences: Vec<String>,
}

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    if let Some(why) = obstacle(&args.nft) {
        println!("KTAP version 2\n1..1\nok 1 services # SKIP {why}");
        return Ok(ExitCode::SUCCESS);
    }
    let kernel = Kernel::start(&args.nft)?;
    let node = Node::start(&args.program)?;
    let mut both = Both::new(node, kernel);
    let groups = GROUPS.map(|(name, text)| (name, Some(text)));
    let all = groups.into_iter().chain([("random", None)]);
    let groups: Vec<_> = all
        .filter(|(name, _)| name.contains(&args.filter))
        .collect();
    println!("KTAP version 2\n1..{}", groups.len());
    let mut all = Totals::default();
    for ((name, text), number) in groups.iter().zip(1..) {
        let totals = match text {
            Some(text) => scripts(&mut both, text, args.verbose)?,
            None => Totals::of(random::run(&mut both, args.random, args.seed)),
        };
        for difference in &totals.differences {
            difference.lines().for_each(|line| println!("# {line}"));
        }
        println!(
            "# {} traces agree with {} packets, {} of them up to a difference by intent",
            totals.traces, totals.packets, totals.intended
        );
        let differs = !totals.differences.is_empty();
        println!("{}ok {number} {name}", if differs { "not " } else { "" });
        all.add(totals);
    }
    println!(
        "# in all {} traces with {} packets agree, {} differ",
        all.traces,
        all.packets,
        all.differences.len()
    );
    Ok(match all.differences.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// The reason why nothing can be compared here, if there is one. Enters the network namespace.
fn obstacle(nft: &Path) -> Option<String> {
    if let Err(error) = router::enter() {
        return Some(format!("{error:#}"));
    }
    // What the rules need beyond tables.
    let rules = "table ip probe {\n\
        chain c {\ntype nat hook postrouting priority srcnat\n\
        numgen random mod 1 vmap { 0 : continue }\nmasquerade\n}\n\
        chain f {\ntype filter hook forward priority 0\nreject\n}\n}\ndelete table ip probe\n";
    let fed = router::feed(Command::new(nft).args(["-f", "-"]), rules);
    fed.err().map(|error| {
        let text = format!("{error:#}");
        format!("nftables: {}", text.lines().next().unwrap_or_default())
    })
}

/// Compares the traces of a group.
fn scripts(both: &mut Both, text: &str, verbose: bool) -> Result<Totals> {
    let mut totals = Totals::default();
    for family in [Family::V4, Family::V6] {
        for trace in trace::parse_file(text, family)? {
            match both.compare(&trace, verbose)? {
                Outcome::Agree(packets) => {
                    totals.traces += 1;
                    totals.packets += packets;
                    totals.intended += usize::from(trace.differs);
                }
                Outcome::Differ(report) => totals.differences.push(report),
            }
        }
    }
    Ok(totals)
}

impl Totals {
    fn of(run: Run) -> Totals {
        Totals {
            traces: run.traces,
            packets: run.packets,
            intended: 0,
            differences: run.difference.into_iter().collect(),
        }
    }

    fn add(&mut self, other: Totals) {
        self.traces += other.traces;
        self.packets += other.packets;
        self.intended += other.intended;
        self.differences.extend(other.differences);
    }
}
