// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The selftests in the guest: one boot for all of them.

use std::fs;
use std::time::Duration;

use adit_qemu_tests::guest::{Guest, GuestConfig, Outcome};
use adit_qemu_tests::ktap::{Parser, TestResult, Totals, Verdict};
use adit_qemu_tests::nic::Nic;
use adit_qemu_tests::paths;
use anyhow::Result;

use crate::build;

/// All of them must be done by then; each has a limit of its own besides.
const LIMIT: Duration = Duration::from_secs(15 * 60);

/// Whether a selftest's name contains `filter`.
pub(crate) fn any(filter: Option<&str>) -> Result<bool> {
    let names = fs::read_dir(paths::repo().join("qemu-tests/selftests"))?.flatten();
    let mut names =
        names.filter_map(|it| Some(it.file_name().to_str()?.strip_suffix(".sh")?.to_owned()));
    Ok(names.any(|name| name != "run" && name.contains(filter.unwrap_or(""))))
}

/// Boots the guest with the NIC and runs them; each result is printed when it comes.
pub(crate) fn run(filter: Option<&str>) -> Result<Totals> {
    let (tree, image) = build::set_up()?;
    let nic = Nic::Adit {
        binary: build::nic()?,
        args: Vec::new(),
    };
    let config = GuestConfig {
        nics: vec![nic],
        ..GuestConfig::default()
    };
    let mut guest = Guest::boot(&tree, &image, &config)?;
    println!(
        "guest: Linux {} in {:.1} s ({:?})",
        guest.kernel,
        guest.boot_time.as_secs_f64(),
        guest.accel
    );
    let mut reader = Reader::default();
    let words = ["/repo/qemu-tests/selftests/run.sh", filter.unwrap_or("")];
    let outcome = guest.exec(&words, Some(LIMIT), |frame| reader.feed(&frame.data))?;
    let (mut totals, faults) = reader.parser.finish();
    for fault in faults {
        println!("guest report: {fault}");
    }
    match outcome {
        Outcome::Exited(0 | 1) => {}
        Outcome::Exited(status) => {
            println!("the selftests' runner gave status {status}");
            totals.failed += 1;
        }
        Outcome::TimedOut => {
            println!("the selftests were not done after {} s", LIMIT.as_secs());
            totals.failed += 1;
        }
        Outcome::GuestDied => {
            println!("the guest ended in the middle\n{}", guest.postmortem());
            totals.failed += 1;
        }
    }
    println!(
        "guest selftests: {} passed, {} failed, {} skipped; logs in {}",
        totals.passed,
        totals.failed,
        totals.skipped,
        guest.run_folder().display()
    );
    Ok(totals)
}

/// Cuts the runner's output into lines and prints the results.
#[derive(Default)]
struct Reader {
    parser: Parser,
    rest: Vec<u8>,
    /// The subtests since the last test ended.
    failed: Vec<TestResult>,
    skipped: Vec<TestResult>,
    passed: usize,
}

impl Reader {
    fn feed(&mut self, bytes: &[u8]) {
        self.rest.extend_from_slice(bytes);
        while let Some(end) = self.rest.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            if let Some(result) = self.parser.line(line.trim_end()) {
                self.show(result, line.starts_with(' '));
            }
        }
    }

    fn show(&mut self, result: TestResult, subtest: bool) {
        if subtest {
            match result.verdict {
                Verdict::Passed => self.passed += 1,
                Verdict::Failed => self.failed.push(result),
                Verdict::Skipped => self.skipped.push(result),
            }
            return;
        }
        let word = match result.verdict {
            Verdict::Passed => "ok",
            Verdict::Failed => "FAILED",
            Verdict::Skipped => "skipped",
        };
        println!("  {}: {word} ({} of it passed)", result.name, self.passed);
        for (word, part) in [("failed", &self.failed), ("skipped", &self.skipped)] {
            for it in part {
                println!("    {word}: {}", it.name);
                for note in &it.notes {
                    println!("      {note}");
                }
            }
        }
        if result.verdict == Verdict::Failed {
            for note in &result.notes {
                println!("    {note}");
            }
        }
        *self = Self {
            parser: std::mem::take(&mut self.parser),
            rest: std::mem::take(&mut self.rest),
            ..Self::default()
        };
    }
}
