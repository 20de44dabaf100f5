// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `cargo xtask test`.

use std::process::Command;
use std::time::Instant;

use adit_qemu_tests::flavour::Flavour;
use adit_qemu_tests::ktap::Totals;
use adit_qemu_tests::paths;
use anyhow::{Context, Result};

use crate::build;
use crate::phases::Phases;
use crate::selftests;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Run only tests whose names contain this; format and lints are skipped then
    filter: Option<String>,
    /// Skip the tests in the guest
    #[arg(long)]
    host: bool,
    /// Run only the selftests in the guest
    #[arg(long, conflicts_with = "host")]
    guest: bool,
    /// The guest's kernel: stock (Debian's), or debug (built once, about 30 minutes), which detects
    /// errors in kernel code; runs only the selftests in the guest then
    #[arg(long, default_value_t, conflicts_with = "host")]
    kernel: Flavour,
    /// Run the tests that take many minutes, in the guest, instead of the ordinary ones
    #[arg(long, conflicts_with = "host")]
    soak: bool,
}

/// Disk space in bytes that a run requires when everything is built, and when nothing is yet.
const ROOM: u64 = 1_500_000_000;
const ROOM_TO_BUILD: u64 = 8_000_000_000;

pub(crate) fn run(args: &Args) -> Result<u8> {
    let target = paths::target();
    let built = target.join("release/adit-nic").exists();
    let room = if built { ROOM } else { ROOM_TO_BUILD };
    paths::need_room(&target, room, "the test command")?;
    let mut totals = Totals::default();
    let mut phases = Phases::default();
    let guest_only = args.guest || args.soak || args.kernel != Flavour::Stock;
    if args.filter.is_none() && !guest_only {
        let mut format = build::cargo();
        format.args(["fmt", "--all", "--", "--check"]);
        phases.time("format", || step(&mut totals, "format", &mut format))?;
        // Not a cargo package: the kernel's build system compiles it.
        let mut rustfmt = Command::new("rustfmt");
        rustfmt.current_dir(paths::repo()).args([
            "--check",
            "--edition",
            "2021",
            "kmod/adit_main.rs",
        ]);
        phases.time("format of the module", || {
            step(&mut totals, "format of the module", &mut rustfmt)
        })?;
        let lints = [
            "clippy",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ];
        let mut clippy = build::cargo();
        clippy.args(lints);
        phases.time("lints", || step(&mut totals, "lints", &mut clippy))?;
    }
    if !guest_only {
        let mut command = build::cargo();
        command.args(["test", "--workspace", "--no-fail-fast"]);
        if let Some(filter) = &args.filter {
            command.args(["--", filter]);
        }
        phases.time("unit and property tests", || {
            unit_tests(&mut totals, &mut command)
        })?;
    }
    let which = selftests::Which {
        filter: args.filter.as_deref().unwrap_or(""),
        flavour: args.kernel,
        soak: args.soak,
    };
    if !args.host && which.any()? {
        totals += selftests::run(&which, &mut phases)?;
    }
    if totals == Totals::default() {
        eprintln!(
            "error: no test's name contains `{}`",
            args.filter.as_deref().unwrap_or("")
        );
        totals.failed = 1;
    }
    print!("\nseconds by phase:\n{phases}");
    println!(
        "{} passed, {} failed, {} skipped",
        totals.passed, totals.failed, totals.skipped
    );
    Ok(u8::from(totals.failed > 0))
}

/// Runs a step that passes or fails as a whole; its output is shown if it fails.
fn step(totals: &mut Totals, name: &str, command: &mut Command) -> Result<()> {
    let start = Instant::now();
    let output = build::captured(command).context(name.to_owned())?;
    let seconds = start.elapsed().as_secs_f64();
    if output.status.success() {
        totals.passed += 1;
        println!("{name}: ok ({seconds:.1} s)");
    } else {
        totals.failed += 1;
        print!("{}", String::from_utf8_lossy(&output.stdout));
        eprint!("{}", String::from_utf8_lossy(&output.stderr));
        println!("{name}: FAILED ({seconds:.1} s)");
    }
    Ok(())
}

/// Runs `cargo test`: sums up its results; its output is shown if anything failed.
fn unit_tests(totals: &mut Totals, command: &mut Command) -> Result<()> {
    let start = Instant::now();
    let output = build::captured(command)?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut sum = Totals::default();
    for one in text.lines().filter_map(summary) {
        sum += one;
    }
    if !output.status.success() {
        print!("{text}");
        eprint!("{}", String::from_utf8_lossy(&output.stderr));
        // It may have failed before it printed a summary.
        sum.failed = sum.failed.max(1);
    }
    println!(
        "unit and property tests: {} passed, {} failed, {} ignored ({:.1} s)",
        sum.passed,
        sum.failed,
        sum.skipped,
        start.elapsed().as_secs_f64()
    );
    *totals += sum;
    Ok(())
}

/// Parses the counts of a line such as `test result: ok. 9 passed; 0 failed; 1 ignored; …`.
fn summary(line: &str) -> Option<Totals> {
    let counts = line.strip_prefix("test result: ")?.split_once(". ")?.1;
    let count = |what: &str| {
        counts
            .split("; ")
            .find_map(|part| part.strip_suffix(what)?.trim().parse().ok())
            .unwrap_or(0)
    };
    Some(Totals {
        passed: count("passed"),
        failed: count("failed"),
        skipped: count("ignored"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries_are_read() {
        let line =
            "test result: FAILED. 9 passed; 2 failed; 1 ignored; 0 measured; 3 filtered out; \
                    finished in 0.01s";
        assert_eq!(
            summary(line),
            Some(Totals {
                passed: 9,
                failed: 2,
                skipped: 1
            })
        );
        assert_eq!(summary("running 9 tests"), None);
    }
}
