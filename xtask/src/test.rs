// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `cargo xtask test`.

use std::process::Command;
use std::time::Instant;

use adit_qemu_tests::flavour::Flavour;
use adit_qemu_tests::ktap::{Parser, Totals, Verdict};
use adit_qemu_tests::paths;
use anyhow::{Context, Result};

use crate::build;
use crate::phases::Phases;
use crate::report::Report;
use crate::selftests::{self, Kind};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Run only tests whose names contain this; skips format and lints
    filter: Option<String>,
    /// Skip the tests in the guest
    #[arg(long)]
    host: bool,
    /// Run only the selftests in the guest
    #[arg(long, conflicts_with = "host")]
    guest: bool,
    /// The guest's kernel: stock (Debian's), or debug (built once, about 30 minutes), which detects
    /// errors in kernel code; with it, only the selftests in the guest run
    #[arg(long, default_value_t, conflicts_with = "host")]
    kernel: Flavour,
    /// Run the selftests that take many minutes instead of the ordinary tests
    #[arg(long, conflicts_with = "host")]
    soak: bool,
    /// Run the selftest with a VM in the guest, on a device composed out of an ADI over VFIO, instead
    /// of the ordinary tests
    #[arg(long, conflicts_with_all = ["host", "soak"])]
    nested: bool,
}

/// The name of the comparison of services with nftables'.
const SERVICES: &str = "services beside nftables";

/// Disk space in bytes that a run requires when everything is built, and when nothing is yet.
const ROOM: u64 = 1_500_000_000;
const ROOM_TO_BUILD: u64 = 8_000_000_000;

pub(crate) fn run(args: &Args) -> Result<u8> {
    let target = paths::target();
    let built = target.join("release/adit-nic").exists();
    let room = if built { ROOM } else { ROOM_TO_BUILD };
    paths::need_room(&target, room, "the test command")?;
    let phases = Phases::start();
    let mut report = Report::live();
    let kind = match (args.soak, args.nested) {
        (true, _) => Kind::Soak,
        (false, true) => Kind::Nested,
        (false, false) => Kind::Ordinary,
    };
    let guest_only = args.guest || kind != Kind::Ordinary || args.kernel != Flavour::Stock;
    let which = selftests::Selection {
        filter: args.filter.as_deref().unwrap_or(""),
        flavour: args.kernel,
        kind,
    };
    let in_guest = !args.host && selftests::any(&which)?;
    std::thread::scope(|scope| {
        let set_up = in_guest.then(|| scope.spawn(|| selftests::set_up(args.kernel, &phases)));
        if args.filter.is_none() && !guest_only {
            lints(&mut report, &phases)?;
        }
        if !guest_only {
            let mut command = build::cargo();
            command.args(["test", "--workspace", "--no-fail-fast"]);
            if let Some(filter) = &args.filter {
                command.args(["--", filter]);
            }
            let name = "unit and property tests";
            phases.time(name, || unit_tests(&mut report, name, &mut command))?;
            // With other atomic types, in which the crate's other tests cannot run.
            let mut models = build::cargo();
            models.args(["test", "--package", "adit-conntrack", "--lib"]);
            models.args(["--features", "loom", "model"]);
            if args.filter.is_none() {
                let name = "models of concurrent code";
                phases.time(name, || unit_tests(&mut report, name, &mut models))?;
            }
        }
        if !guest_only && SERVICES.contains(which.filter) {
            phases.time(SERVICES, || services(&mut report))?;
        }
        if let Some(set_up) = set_up {
            let done = set_up.join();
            let tree_and_image = done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            report.absorb(selftests::run(&which, tree_and_image, &phases)?);
        }
        anyhow::Ok(())
    })?;
    if report.totals() == Totals::default() {
        eprintln!("error: no test's name contains `{}`", which.filter);
        report.count(Verdict::Failed);
    }
    print!("\nphase: start and duration in seconds\n{phases}");
    let slowest = report.slowest();
    if !slowest.is_empty() {
        print!("\nslowest tests, in seconds\n{slowest}\n");
    }
    let totals = report.totals();
    println!(
        "{} passed, {} failed, {} skipped",
        totals.passed, totals.failed, totals.skipped
    );
    Ok(u8::from(totals.failed > 0))
}

/// Checks format and lints.
fn lints(report: &mut Report, phases: &Phases) -> Result<()> {
    let mut format = build::cargo();
    format.args(["fmt", "--all", "--", "--check"]);
    // Not a cargo package: the kernel's build system compiles it.
    let mut module = Command::new("rustfmt");
    module.current_dir(paths::repo());
    module.args(["--check", "--edition", "2021", "kmod/adit_main.rs"]);
    let mut clippy = build::cargo();
    clippy.args(["clippy", "--workspace", "--all-targets"]);
    clippy.args(["--", "-D", "warnings"]);
    let steps = [
        ("format", &mut format),
        ("format of the module", &mut module),
        ("lints", &mut clippy),
    ];
    for (name, command) in steps {
        phases.time(name, || step(report, name, command))?;
    }
    Ok(())
}

/// Runs a step that passes or fails as a whole; its output is shown if it fails.
fn step(report: &mut Report, name: &str, command: &mut Command) -> Result<()> {
    let start = Instant::now();
    let output = build::captured(command).context(name.to_owned())?;
    let seconds = start.elapsed().as_secs_f64();
    if output.status.success() {
        report.count(Verdict::Passed);
        println!("{name}: ok ({seconds:.1} s)");
    } else {
        report.count(Verdict::Failed);
        print!("{}", String::from_utf8_lossy(&output.stdout));
        eprint!("{}", String::from_utf8_lossy(&output.stderr));
        println!("{name}: FAILED ({seconds:.1} s)");
    }
    Ok(())
}

/// Runs `cargo test`: sums up its results; its output is shown if anything failed.
fn unit_tests(report: &mut Report, name: &str, command: &mut Command) -> Result<()> {
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
        "{name}: {} passed, {} failed, {} ignored ({:.1} s)",
        sum.passed,
        sum.failed,
        sum.skipped,
        start.elapsed().as_secs_f64()
    );
    report.count_all(sum);
    Ok(())
}

/// Compares services with the host kernel's. A host without nftables, or one that permits no network
/// namespace, skips it.
fn services(report: &mut Report) -> Result<()> {
    let start = Instant::now();
    let mut command = Command::new(build::node_oracle()?);
    let output = build::captured(&mut command)?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut parser = Parser::default();
    let results: Vec<_> = text.lines().filter_map(|line| parser.line(line)).collect();
    let (mut totals, faults) = parser.finish();
    if !output.status.success() {
        totals.failed = totals.failed.max(1);
    }
    if totals.failed > 0 {
        print!("{text}");
        eprint!("{}", String::from_utf8_lossy(&output.stderr));
        faults.iter().for_each(|fault| println!("{fault}"));
    }
    for skipped in results.iter().filter(|it| it.verdict == Verdict::Skipped) {
        println!("{}: skipped: {}", skipped.name, skipped.notes.join("; "));
    }
    println!(
        "{SERVICES}: {} passed, {} failed, {} skipped ({:.1} s)",
        totals.passed,
        totals.failed,
        totals.skipped,
        start.elapsed().as_secs_f64()
    );
    report.count_all(totals);
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
