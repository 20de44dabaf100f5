// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Shows the selftests' report as it arrives.

use adit_qemu_tests::ktap::{Parser, TestResult, Totals, Verdict};

/// Splits the runner's output into lines and prints the results.
#[derive(Default)]
pub(super) struct Reader {
    parser: Parser,
    rest: Vec<u8>,
    /// Failed subtests since the last test ended.
    failed: Vec<TestResult>,
    skipped: Vec<TestResult>,
    passed: usize,
}

impl Reader {
    /// Takes output of the runner.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.rest.extend_from_slice(bytes);
        while let Some(end) = self.rest.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            if let Some(result) = self.parser.line(line.trim_end()) {
                self.show(result, line.starts_with(' '));
            }
        }
    }

    /// Ends the report.
    pub(super) fn finish(self) -> Totals {
        let (totals, faults) = self.parser.finish();
        for fault in faults {
            println!("guest report: {fault}");
        }
        totals
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
        // A single check, such as that for leaks after each test, has no parts.
        let parts = match (self.passed, &self.failed[..], &self.skipped[..]) {
            (0, [], []) => String::new(),
            (passed, ..) => format!(" ({passed} of it passed)"),
        };
        println!("  {}: {word}{parts}", result.name);
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
