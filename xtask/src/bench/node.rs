// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The node's program (`p4/k8s_node.p4`) with 10,000 services of eight endpoints and a million
//! connections: packets of each kind on one core, and endpoint changes on another.

use std::process::Command;

use adit_qemu_tests::paths;
use anyhow::{ensure, Context, Result};
use serde_json::{json, Value};

use super::{results, Args};
use crate::build::{captured, cargo};

/// The program that measures, an example of the pipeline.
const EXAMPLE: &str = "node_bench";
/// Services and connections.
const SIZES: [[&str; 2]; 2] = [["1", "1000"], ["10000", "1000000"]];

pub(super) fn run(args: &Args) -> Result<()> {
    let rounds = args.rounds.unwrap_or(if args.quick { 1 } else { 3 });
    let package = ["build", "--release", "--package", "adit-pipeline"];
    let output = captured(cargo().args(package).args(["--example", EXAMPLE]))?;
    ensure!(
        output.status.success(),
        "{EXAMPLE} cannot be built:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let mut reports = Vec::new();
    for size in SIZES {
        for _ in 0..rounds {
            let mut command = Command::new(paths::target().join("release/examples").join(EXAMPLE));
            command.args(size).args(args.quick.then_some("--quick"));
            let output = captured(&mut command)?;
            ensure!(
                output.status.success(),
                "{EXAMPLE} failed ({}):\n{}",
                output.status,
                String::from_utf8_lossy(&output.stderr)
            );
            let text = String::from_utf8_lossy(&output.stdout);
            let (table, report) = text.trim_end().rsplit_once('\n').context("no report")?;
            println!("{table}\n");
            let report: Value = serde_json::from_str(report).context("the report")?;
            reports.push(report);
        }
    }
    let report = json!({ "benchmark": "node", "rounds": reports });
    println!("{}", results::write("node", &report)?.display());
    Ok(())
}
