// SPDX-License-Identifier: Apache-2.0 OR MIT
//! P4Runtime on loopback: updates per second in batches, with gRPC and without.

use std::fs;

use adit_qemu_tests::paths;
use anyhow::{ensure, Context, Result};
use serde_json::{json, Value};

use super::Args;
use crate::build::cargo;

pub(crate) fn run(args: &Args) -> Result<()> {
    let rounds = args.rounds.unwrap_or(if args.quick { 1 } else { 5 });
    let output = cargo()
        .args(["run", "--quiet", "--release", "--package", "adit-p4runtime"])
        .args(["--example", "updates", "--", &rounds.to_string()])
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("cannot start cargo")?;
    ensure!(output.status.success(), "the measurement failed: see above");
    let measured: Value = serde_json::from_slice(&output.stdout).context("its report")?;
    println!(
        "{:8} {:>12} {:>14} {:>6}",
        "update", "gRPC/s", "without it/s", "ratio"
    );
    for row in measured["rows"].as_array().into_iter().flatten() {
        let number = |key: &str| row[key].as_f64().unwrap_or(f64::NAN);
        println!(
            "{:8} {:>12.0} {:>14.0} {:>6.2}",
            row["update"].as_str().unwrap_or_default(),
            number("grpc_per_s"),
            number("without_grpc_per_s"),
            number("ratio"),
        );
    }
    let folder = paths::target().join("bench");
    fs::create_dir_all(&folder)?;
    let path = folder.join("p4rt.json");
    let report = json!({ "benchmark": "p4rt", "measured": measured });
    fs::write(&path, serde_json::to_vec_pretty(&report)?)
        .with_context(|| format!("cannot write {}", path.display()))?;
    println!("\n{}", path.display());
    Ok(())
}
