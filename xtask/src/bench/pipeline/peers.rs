// SPDX-License-Identifier: Apache-2.0 OR MIT
//! DPDK's libraries on the same lookups: our routes in its FIB and LPM, our rules in its ACL, with
//! the same packets' fields. They are lookups alone: nothing is parsed, counted or rewritten.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use adit_qemu_tests::flavour::Flavour;
use adit_qemu_tests::paths;
use adit_qemu_tests::sandbox::{Entrance, Sandbox};
use anyhow::{ensure, Context, Result};
use serde::Serialize;

use super::fixtures::{peer_route, peer_rule};
use crate::build;

/// Timeout of each run in seconds.
const LIMIT: &str = "60";
const ROUTES: u64 = 100_000;
const RULES: [u64; 2] = [100, 1_000];
/// No devices and no persistent state; ordinary pages, as in the engine's own measurement.
const EAL: [&str; 9] = [
    "--no-huge",
    "-m",
    "1024",
    "--no-pci",
    "--no-shconf",
    "--no-telemetry",
    "-l",
    "0",
    "--",
];

/// Cost of a lookup.
#[derive(Serialize)]
pub(super) struct Peer {
    library: &'static str,
    entries: u64,
    cycles: f64,
}

/// Runs all of them and prints a table.
pub(super) fn run() -> Result<Vec<Peer>> {
    let (tree, image) = build::set_up(Flavour::Stock)?;
    let logs = paths::target().join("bench/peers");
    let files = paths::scratch()?.join("peers");
    for folder in [&logs, &files] {
        fs::create_dir_all(folder).with_context(|| format!("{}", folder.display()))?;
    }
    let sandbox = Sandbox::start(&tree, &image, &logs)?;
    let mut peers = longest_prefix(sandbox.entrance(), &files)?;
    for rules in RULES {
        peers.push(acl(sandbox.entrance(), &files, rules)?);
    }
    println!(
        "\n{:24} {:>8} {:>14}",
        "DPDK, lookups alone", "entries", "cycles a lookup"
    );
    for peer in &peers {
        println!(
            "{:24} {:>8} {:>14.0}",
            peer.library, peer.entries, peer.cycles
        );
    }
    Ok(peers)
}

fn longest_prefix(entrance: Entrance, files: &Path) -> Result<Vec<Peer>> {
    let (mut routes, mut packets) = (String::new(), String::new());
    for n in 0..ROUTES {
        let (network, length, _) = peer_route(n);
        writeln!(routes, "{network}/{length} {}", n % 250 + 1)?;
        // In a different order than the routes.
        let (_, _, host) = peer_route(n * 7919 % ROUTES);
        writeln!(packets, "{host}")?;
    }
    fs::write(files.join("routes"), routes)?;
    fs::write(files.join("packets"), packets)?;
    let words = [
        "-f",
        "/scratch/peers/routes",
        "-t",
        "/scratch/peers/packets",
    ];
    let more = ["-c", "-v", "s1", "-g", "16384"];
    let report = dpdk(entrance, "dpdk-test-fib", &[&words[..], &more[..]].concat())?;
    let peer = |library: &'static str, word: &str| {
        let cycles = number_behind(&report, word).with_context(|| report.clone())?;
        anyhow::Ok(Peer {
            library,
            entries: ROUTES,
            cycles,
        })
    };
    Ok(vec![
        peer("FIB, DIR-24-8", "AVG FIB lookup")?,
        peer("LPM", "AVG LPM lookup")?,
    ])
}

fn acl(entrance: Entrance, files: &Path, count: u64) -> Result<Peer> {
    let (mut rules, mut packets) = (String::new(), String::new());
    for n in 0..count {
        let (rule, packet) = peer_rule(n);
        writeln!(rules, "{rule}")?;
        writeln!(packets, "{packet}")?;
    }
    fs::write(files.join("rules"), rules)?;
    fs::write(files.join("packets"), packets)?;
    let words = [
        "--rulesf=/scratch/peers/rules",
        "--tracef=/scratch/peers/packets",
    ];
    let iterations = format!("--iter={}", 2_000_000 / count);
    let more = ["--tracestep=256", &iterations];
    let report = dpdk(entrance, "dpdk-test-acl", &[&words[..], &more[..]].concat())?;
    let total = report.lines().find(|line| line.contains("cycles/pkt"));
    let cycles = total.and_then(|line| {
        line.split(", ")
            .find_map(|part| part.strip_suffix(" cycles/pkt"))
    });
    Ok(Peer {
        library: "ACL",
        entries: count,
        cycles: cycles.with_context(|| report.clone())?.parse()?,
    })
}

/// Returns the number after `word` in the last line that begins with it.
fn number_behind(report: &str, word: &str) -> Option<f64> {
    let lines = report.lines().rev();
    lines
        .filter_map(|line| line.strip_prefix(word))
        .next()?
        .trim()
        .parse()
        .ok()
}

/// Returns the output of a DPDK program.
fn dpdk(entrance: Entrance, program: &str, words: &[&str]) -> Result<String> {
    let mut command = entrance.command("timeout");
    let output = command
        .args([LIMIT, program])
        .args(EAL)
        .args(words)
        .output()?;
    let report = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        output.status.success(),
        "{program}: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_figure_counts() {
        let report = "AVG LPM lookup 30.5\nAVG FIB lookup 12.0\nAVG LPM lookup 25.1\n";
        assert_eq!(number_behind(report, "AVG LPM lookup"), Some(25.1));
        assert_eq!(number_behind(report, "AVG ACL lookup"), None);
    }
}
