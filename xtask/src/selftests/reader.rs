// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Reads the selftests' report as it arrives.

use std::time::Duration;

use adit_qemu_tests::ktap::{Parser, TestResult, Verdict};

use crate::report::Report;

/// Splits the runner's output into lines and reports the results.
pub(super) struct Reader<'a> {
    report: &'a mut Report,
    parser: Parser,
    rest: Vec<u8>,
    subtests: Subtests,
}

/// Subtests since the last test ended.
#[derive(Default)]
struct Subtests {
    passed: usize,
    failed: Vec<TestResult>,
    skipped: Vec<TestResult>,
}

impl<'a> Reader<'a> {
    /// Creates one that reports to `report`.
    pub(super) fn new(report: &'a mut Report) -> Self {
        Self {
            report,
            parser: Parser::default(),
            rest: Vec::new(),
            subtests: Subtests::default(),
        }
    }

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
    pub(super) fn finish(self) {
        let (totals, faults) = self.parser.finish();
        for fault in faults {
            self.report.line(format_args!("guest report: {fault}"));
        }
        self.report.count_all(totals);
    }

    fn show(&mut self, result: TestResult, subtest: bool) {
        if subtest {
            match result.verdict {
                Verdict::Passed => self.subtests.passed += 1,
                Verdict::Failed => self.subtests.failed.push(result),
                Verdict::Skipped => self.subtests.skipped.push(result),
            }
            return;
        }
        let Subtests {
            passed,
            failed,
            skipped,
        } = std::mem::take(&mut self.subtests);
        let report = &mut *self.report;
        let time = result.notes.iter().rev().find_map(|note| duration(note));
        if let Some(time) = time {
            report.took(&result.name, time);
        }
        let word = match result.verdict {
            Verdict::Passed => "ok",
            Verdict::Failed => "FAILED",
            Verdict::Skipped => "skipped",
        };
        // A single check, such as that for leaks after each test, has no parts.
        let parts = match (passed, &failed[..], &skipped[..]) {
            (0, [], []) => String::new(),
            (passed, ..) => format!(" ({passed} of it passed)"),
        };
        let time = time.map_or(String::new(), |time| format!(" in {} s", time.as_secs()));
        report.line(format_args!("  {}: {word}{parts}{time}", result.name));
        for (word, part) in [("failed", failed), ("skipped", skipped)] {
            for it in part {
                report.line(format_args!("    {word}: {}", it.name));
                for note in &it.notes {
                    report.line(format_args!("      {note}"));
                }
            }
        }
        if result.verdict == Verdict::Failed {
            for note in &result.notes {
                report.line(format_args!("    {note}"));
            }
        }
    }
}

/// Parses the note of the runner on a test's duration, such as `12 s`.
fn duration(note: &str) -> Option<Duration> {
    let seconds = note.strip_suffix(" s")?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use adit_qemu_tests::ktap::Totals;

    use super::*;

    #[test]
    fn results_and_durations_reach_the_report() {
        let mut report = Report::kept();
        let mut reader = Reader::new(&mut report);
        let text =
            "KTAP version 2\n1..2\n  KTAP version 2\n  1..1\n  ok 1 part\n# 12 s\nok 1 ping\n\
                    # no answer\n# 3 s\nnot ok 2 mtu\n";
        // Output arrives in pieces of any size.
        for piece in text.as_bytes().chunks(7) {
            reader.feed(piece);
        }
        reader.finish();
        let totals = Totals {
            passed: 1,
            failed: 1,
            skipped: 0,
        };
        assert_eq!(report.totals(), totals);
        let slowest = report.slowest();
        let rows: Vec<Vec<_>> = slowest
            .lines()
            .map(|row| row.split_whitespace().collect())
            .collect();
        assert_eq!(rows, [["ping", "12.0"], ["mtu", "3.0"]]);
    }
}
