// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The connection tracker alone: inserts, lookups, packets and expiries at several sizes, on one core
//! and on two, and the longest pause of a packet while all connections expire.

mod ovs;

use std::process::Command;

use adit_qemu_tests::paths;
use anyhow::{bail, ensure, Context, Result};
use serde_json::{json, Value};

use super::{results, Args};
use crate::build::{captured, cargo};

/// The program that measures, an example of the tracker.
const EXAMPLE: &str = "ct_bench";
/// The program that measures the kernel's inserts.
const ORACLE: &str = "adit-conntrack-oracle";
/// Sizes that the default of nf_conntrack_max permits.
const KERNEL_SIZES: [u32; 2] = [10_000, 200_000];
const SIZES: [u32; 3] = [10_000, 1_000_000, 10_000_000];
const QUICK_SIZES: [u32; 2] = [10_000, 1_000_000];
const THREADS: [u32; 2] = [1, 2];
/// The packets and the least number of inserts of a peer, as in the example.
const PEER_LOOKUPS: u32 = 2_000_000;
const PEER_INSERTS: u32 = 500_000;
/// The measurements that a peer has, too, of bursts of 32 packets: the key and the title.
const PEER_TIMES: [(&str, &str); 2] = [("insert_burst_ns", "insert"), ("track_burst_ns", "packet")];
/// The quantities of a row: the key of the example's report, and the title.
const TIMES: [(&str, &str); 7] = [
    ("insert_ns", "insert"),
    ("insert_burst_ns", "in bursts"),
    ("lookup_ns", "lookup"),
    ("track_ns", "packet"),
    ("track_burst_ns", "in bursts"),
    ("data_ns", "TCP data"),
    ("expire_ns", "expire"),
];

/// The pauses of packets: the key of the example's report, and the title.
const PAUSES: [(&str, &str); 2] = [("pause", "longest pause"), ("idle_pause", "control")];
/// The quantities of a pause, by wall clock and by CPU time.
const EXTREMES: [[&str; 2]; 2] = [
    ["longest_ns", "longest_processor_ns"],
    ["p99_99_ns", "p99_99_processor_ns"],
];

pub(super) fn run(args: &Args) -> Result<()> {
    let rounds = args.rounds.unwrap_or(if args.quick { 1 } else { 3 });
    let sizes = if args.quick {
        &QUICK_SIZES[..]
    } else {
        &SIZES[..]
    };
    build()?;
    let peer = match args.peer.as_deref() {
        None => None,
        Some("ovs") => Some(ovs::Peer::build()?),
        Some(other) => bail!("no peer `{other}` of the connection tracker: there is `ovs`"),
    };
    print!("{:>11} {:>7} {:>6}", "connections", "threads", "bytes");
    for (_, title) in TIMES {
        print!(" {title:>9}");
    }
    for title in PAUSES.map(|(_, title)| title) {
        print!(" | {:>13} {:>9}", title, "99.99 %");
    }
    println!();
    let (mut rows, mut compared) = (Vec::new(), Vec::new());
    for &connections in sizes {
        for threads in THREADS {
            let (mut samples, mut others) = (Vec::new(), Vec::new());
            for _ in 0..rounds {
                samples.push(measure(connections, threads)?);
                // In turn, so that both have the same machine.
                if let Some(peer) = peer.as_ref().filter(|_| threads == 1) {
                    others.push(peer.measure(connections, PEER_LOOKUPS, PEER_INSERTS)?);
                }
            }
            if !others.is_empty() {
                compared.push(Comparison::of(connections, &samples, &others));
            }
            let row = Row::of(connections, threads, &samples);
            println!("{row}");
            rows.push(row.json(&samples));
        }
    }
    println!("times in ns per operation and thread, wall clock/CPU; pauses in µs, likewise: the\nlongest, and the one that one packet of 10,000 exceeds; the control has no expiry");
    if let Some(peer) = &peer {
        println!(
            "\n{}, one thread, bursts of 32, CPU times in ns",
            peer.package
        );
        compared.iter().for_each(|one| println!("{one}"));
    }
    let kernel = kernel_inserts(rounds);
    let peer = peer.map(|peer| {
        let rows: Vec<_> = compared.iter().map(Comparison::json).collect();
        json!({ "package": peer.package, "rows": rows })
    });
    let report = json!({ "benchmark": "ct", "rows": rows, "kernel_inserts": kernel, "peer": peer });
    println!("\n{}", results::write("ct", &report)?.display());
    Ok(())
}

fn build() -> Result<()> {
    let output = captured(cargo().args([
        "build",
        "--release",
        "--package",
        "adit-conntrack",
        "--example",
        EXAMPLE,
    ]))?;
    ensure!(
        output.status.success(),
        "{EXAMPLE} cannot be built:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

/// Measures the inserts of the host's nf_conntrack, where it has one.
fn kernel_inserts(rounds: usize) -> Vec<Value> {
    let mut figures = Vec::new();
    for connections in KERNEL_SIZES {
        let samples: Result<Vec<f64>> = (0..rounds).map(|_| kernel_insert(connections)).collect();
        match samples {
            Ok(samples) => {
                let median = results::percentile(&samples, 50.0).unwrap_or(f64::NAN);
                println!(
                    "nf_conntrack of the host, {connections} connections: insert {median:.0} ns"
                );
                figures.push(json!({ "connections": connections, "insert_ns": samples }));
            }
            Err(error) => {
                println!("no figure of nf_conntrack, {connections} connections: {error:#}")
            }
        }
    }
    figures
}

fn kernel_insert(connections: u32) -> Result<f64> {
    let mut command = cargo();
    command.args(["run", "--quiet", "--release", "--package", ORACLE, "--"]);
    command.args(["--kernel-inserts", &connections.to_string()]);
    let output = captured(&mut command)?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}", error.trim());
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim().parse().context("its time")
}

/// Runs the example, and returns its report.
fn measure(connections: u32, threads: u32) -> Result<Value> {
    let program = paths::target().join("release/examples").join(EXAMPLE);
    let arguments = [connections.to_string(), threads.to_string()];
    let output = captured(Command::new(&program).arg("--json").args(&arguments))?;
    ensure!(
        output.status.success(),
        "{EXAMPLE} {} failed ({}):\n{}",
        arguments.join(" "),
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).with_context(|| format!("the report of {EXAMPLE}"))
}

/// The key of the CPU time.
fn processor_key(key: &str) -> String {
    key.replace("_ns", "_processor_ns")
}

/// The values at a path of some reports.
fn numbers(samples: &[Value], path: &str) -> Vec<f64> {
    let values = samples.iter().map(|sample| sample.pointer(path));
    values.filter_map(|value| value?.as_f64()).collect()
}

fn median(samples: &[Value], path: &str) -> f64 {
    results::percentile(&numbers(samples, path), 50.0).unwrap_or(f64::NAN)
}

/// Our CPU times and a peer's, of rounds in turn: the medians.
struct Comparison {
    connections: u32,
    bytes: [f64; 2],
    times: [[f64; 2]; PEER_TIMES.len()],
}

impl Comparison {
    fn of(connections: u32, ours: &[Value], others: &[Value]) -> Self {
        let both = |path: &str| [ours, others].map(|samples| median(samples, path));
        Comparison {
            connections,
            bytes: both("/bytes_per_connection"),
            times: PEER_TIMES.map(|(key, _)| both(&format!("/{}", processor_key(key)))),
        }
    }

    fn json(&self) -> Value {
        let times = PEER_TIMES.iter().zip(self.times);
        let times: serde_json::Map<_, _> = times
            .map(|((key, _), both)| (processor_key(key), json!(both)))
            .collect();
        json!({
            "connections": self.connections,
            "bytes_per_connection": self.bytes,
            "times": times,
        })
    }
}

impl std::fmt::Display for Comparison {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:>11} connections:", self.connections)?;
        for ((_, title), [ours, other]) in PEER_TIMES.iter().zip(self.times) {
            let ratio = other / ours;
            write!(f, " {title} {ours:.0}, peer {other:.0}: {ratio:.2} times;")?;
        }
        let [ours, other] = self.bytes;
        write!(f, " bytes {ours:.0}, peer {other:.0}")
    }
}

/// The medians of some rounds; of pauses, the longest of all.
struct Row {
    connections: u32,
    threads: u32,
    bytes: f64,
    times: [f64; TIMES.len()],
    /// The CPU times, which are shorter than the wall-clock times on a machine under load.
    processor: [f64; TIMES.len()],
    /// In µs, by [`PAUSES`], [`EXTREMES`] and clock.
    pauses: [[[f64; 2]; EXTREMES.len()]; PAUSES.len()],
}

impl Row {
    fn of(connections: u32, threads: u32, samples: &[Value]) -> Self {
        let median = |path: &str| median(samples, path);
        let longest = |path: &str| numbers(samples, path).into_iter().fold(0.0, f64::max) / 1e3;
        Row {
            connections,
            threads,
            bytes: median("/bytes_per_connection"),
            times: TIMES.map(|(key, _)| median(&format!("/{key}"))),
            processor: TIMES.map(|(key, _)| median(&format!("/{}", processor_key(key)))),
            pauses: PAUSES.map(|(pause, _)| {
                EXTREMES.map(|clocks| clocks.map(|key| longest(&format!("/{pause}/{key}"))))
            }),
        }
    }

    fn json(&self, samples: &[Value]) -> Value {
        let times = TIMES.iter().zip(self.times).zip(self.processor);
        let times: serde_json::Map<_, _> = times
            .flat_map(|(((key, _), time), processor)| {
                let processor = (processor_key(key), json!(processor));
                [((*key).to_owned(), json!(time)), processor]
            })
            .collect();
        // The longest and the rare one of each, by wall clock and by CPU time.
        let pauses = PAUSES.iter().zip(self.pauses);
        let pauses: serde_json::Map<_, _> = pauses
            .map(|((pause, _), values)| ((*pause).to_owned(), json!(values)))
            .collect();
        json!({
            "connections": self.connections,
            "threads": self.threads,
            "bytes_per_connection": self.bytes,
            "times": times,
            "pauses_us": pauses,
            "samples": samples,
        })
    }
}

impl std::fmt::Display for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:>11} {:>7} {:>6.1}",
            self.connections, self.threads, self.bytes
        )?;
        for (time, processor) in self.times.iter().zip(self.processor) {
            write!(f, " {:>9}", format!("{time:.0}/{processor:.0}"))?;
        }
        for [longest, rare] in self.pauses {
            let [longest, rare] =
                [longest, rare].map(|[wall, processor]| format!("{wall:.1}/{processor:.1}"));
            write!(f, " | {longest:>13} {rare:>9}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_medians_and_longest_pauses() {
        let sample = |insert: u32, longest: u32| {
            json!({
                "bytes_per_connection": 250.0,
                "insert_ns": insert,
                "pause": { "longest_ns": longest, "longest_processor_ns": 2000, "p99_99_ns": 5 },
                "idle_pause": { "longest_ns": 7 },
            })
        };
        let samples = [sample(100, 3000), sample(300, 9000), sample(200, 1000)];
        let row = Row::of(10, 1, &samples);
        assert_eq!(
            (row.times[0], row.pauses[0][0], row.bytes),
            (200.0, [9.0, 2.0], 250.0)
        );
        let report = row.json(&samples);
        assert_eq!(report["pauses_us"]["pause"][0], json!([9.0, 2.0]));
        assert!(row.times[1].is_nan());
        assert!(row.to_string().contains("200"));
    }

    #[test]
    fn peers_are_compared_by_cpu_times() {
        let sample = |insert: u32| json!({ "insert_burst_processor_ns": insert });
        let row = Comparison::of(10, &[sample(100), sample(100)], &[sample(250), sample(250)]);
        assert_eq!(row.times[0], [100.0, 250.0]);
        assert!(
            row.to_string().contains("insert 100, peer 250: 2.50 times"),
            "{row}"
        );
    }
}
