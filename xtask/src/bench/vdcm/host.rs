// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Composed devices without a guest: the example `vdev_bench` measures, this prints.

use std::fmt::Write as _;

use anyhow::{ensure, Context, Result};
use serde_json::Value;

use crate::bench::results::percentile;
use crate::bench::Args;
use crate::build::{cargo, Programs};

/// The kinds of traffic: the field of a round, its name and unit, and whether more is better.
const TRAFFIC: [(&str, &str, bool); 3] = [
    ("/frames_per_s", "64 B frames [packets/s]", true),
    ("/round_trip_us/median", "round trip, polled [us]", false),
    (
        "/round_trip_asleep_us/median",
        "round trip, both asleep [us]",
        false,
    ),
];

/// Runs the measurement; returns its report.
pub(super) fn run(args: &Args, programs: &Programs) -> Result<Value> {
    let (devices, rounds, stream) = match args.quick {
        true => ("1,100", 3, "300"),
        false => ("1,100,1000", 9, "1000"),
    };
    let rounds = args.rounds.unwrap_or(rounds).max(1).to_string();
    println!("Composed devices without a guest…");
    let output = cargo()
        .args(["run", "--quiet", "--release", "--package", "adit-vdcm"])
        .args(["--example", "vdev_bench", "--", "--daemon"])
        .arg(&programs.vdcm)
        .args(["--devices", devices, "--rounds", &rounds])
        .args(["--stream-ms", stream])
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("cannot start cargo")?;
    ensure!(output.status.success(), "the measurement failed: see above");
    serde_json::from_slice(&output.stdout).context("its report")
}

/// Formats the report for a reader.
pub(super) fn table(report: &Value) -> String {
    let mut text = format!(
        "{:>8} {:>16} {:>16} {:>12} {:>12} {:>8} {:>8} {:>10}\n",
        "devices",
        "create ms (99 %)",
        "destroy ms (99%)",
        "memory KiB",
        "written KiB",
        "threads",
        "fds",
        "idle CPU %"
    );
    for row in report["populations"].as_array().into_iter().flatten() {
        let number = |path: &str| {
            row.pointer(path)
                .and_then(Value::as_f64)
                .unwrap_or(f64::NAN)
        };
        let time = |path: &str| {
            let part = |name| number(&format!("{path}/{name}"));
            format!("{:.2} ({:.2})", part("median"), part("p99"))
        };
        let _ = writeln!(
            text,
            "{:>8} {:>16} {:>16} {:>12.1} {:>12.1} {:>8.1} {:>8.1} {:>10.1}",
            number("/devices"),
            time("/create_ms"),
            time("/destroy_ms"),
            number("/memory_bytes_each") / 1024.0,
            number("/written_bytes_each") / 1024.0,
            number("/threads_each"),
            number("/descriptors_each"),
            number("/idle_cpu_percent"),
        );
        let _ = writeln!(
            text,
            "{:>8} {} clients: attach {}, with a vport {}, reset {} ms",
            "",
            number("/attach/clients"),
            time("/attach/attach_ms"),
            time("/attach/vport_ms"),
            time("/attach/reset_ms"),
        );
    }
    let _ = writeln!(
        text,
        "\n{:<32} {:>12} {:>12} {:>10} {:>20}",
        "", "composed", "direct", "ratio", "of rounds, 10-90 %"
    );
    for (path, name, higher) in TRAFFIC {
        let [composed, direct] = ["composed", "direct"].map(|kind| samples(report, kind, path));
        let ratios: Vec<_> = composed.iter().zip(&direct).map(|(c, d)| c / d).collect();
        let at = |samples: &[f64], percent| percentile(samples, percent).unwrap_or(f64::NAN);
        let better = if higher { "higher" } else { "lower" };
        let _ = writeln!(
            text,
            "{name:<32} {:>12.1} {:>12.1} {:>10.3} {:>20} {better}",
            at(&composed, 50.0),
            at(&direct, 50.0),
            at(&ratios, 50.0),
            format!("{:.2} to {:.2}", at(&ratios, 10.0), at(&ratios, 90.0)),
        );
    }
    text
}

/// The figures of all rounds.
fn samples(report: &Value, kind: &str, path: &str) -> Vec<f64> {
    let rounds = report["traffic"]["rounds"].as_array();
    let figure = |round: &Value| round[kind].pointer(path)?.as_f64();
    rounds.into_iter().flatten().filter_map(figure).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_table_has_each_population_and_ratios_of_rounds() {
        let kind = |frames: f64, trip: f64| {
            json!({
                "frames_per_s": frames,
                "round_trip_us": { "median": trip, "p99": trip },
                "round_trip_asleep_us": { "median": trip, "p99": trip },
            })
        };
        let times = json!({ "median": 1.5, "p99": 2.5 });
        let report = json!({
            "populations": [{
                "devices": 100, "create_ms": times, "destroy_ms": times,
                "memory_bytes_each": 20_480.0, "written_bytes_each": 10_240.0,
                "threads_each": 1.0, "descriptors_each": 9.0, "idle_cpu_percent": 3.0,
                "attach": { "clients": 16, "attach_ms": times, "vport_ms": times, "reset_ms": times },
            }],
            "traffic": { "rounds": [
                { "composed": kind(90.0, 4.0), "direct": kind(100.0, 2.0) },
                { "composed": kind(270.0, 8.0), "direct": kind(300.0, 4.0) },
            ]},
        });
        let text = table(&report);
        assert!(
            text.contains("1.50 (2.50)") && text.contains("        20.0"),
            "{text}"
        );
        assert!(text.contains("0.900") && text.contains("2.000"), "{text}");
        assert!(!text.contains("NaN"), "{text}");
    }
}
