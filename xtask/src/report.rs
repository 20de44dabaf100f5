// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The report of a part of a run: its lines, its counts, and the durations of its tests.

use std::fmt::{Display, Write as _};
use std::time::Duration;

use adit_qemu_tests::ktap::{Totals, Verdict};

/// Number of tests in the table of the slowest.
const SLOWEST: usize = 10;

/// A report. Its lines are printed as they arrive, or kept until [`Report::print`], so that parts
/// which run beside each other do not mix theirs.
#[derive(Debug, Default)]
pub(crate) struct Report {
    kept: Option<String>,
    totals: Totals,
    durations: Vec<(String, Duration)>,
}

impl Report {
    /// Creates a report whose lines are printed as they arrive.
    pub(crate) fn live() -> Self {
        Self::default()
    }

    /// Creates a report whose lines are kept.
    pub(crate) fn kept() -> Self {
        Self {
            kept: Some(String::new()),
            ..Self::default()
        }
    }

    /// Adds a line, or several.
    pub(crate) fn line(&mut self, line: impl Display) {
        match &mut self.kept {
            Some(text) => {
                // Writing to a string cannot fail.
                let _ = writeln!(text, "{line}");
            }
            None => println!("{line}"),
        }
    }

    /// Prints the lines that were kept, in one piece.
    pub(crate) fn print(&mut self) {
        if let Some(text) = &mut self.kept {
            print!("{}", std::mem::take(text));
        }
    }

    /// Counts a result.
    pub(crate) fn count(&mut self, verdict: Verdict) {
        self.totals.add(verdict);
    }

    /// Counts the results of a suite.
    pub(crate) fn count_all(&mut self, totals: Totals) {
        self.totals += totals;
    }

    /// Records the duration of a test.
    pub(crate) fn took(&mut self, test: &str, time: Duration) {
        self.durations.push((test.to_owned(), time));
    }

    /// Adds the counts and durations of a part, whose lines are its own.
    pub(crate) fn absorb(&mut self, part: Self) {
        self.totals += part.totals;
        self.durations.extend(part.durations);
    }

    /// Puts the name of this part before those of its tests: some run in several parts.
    pub(crate) fn name_part(&mut self, name: &str) {
        for (test, _) in &mut self.durations {
            *test = format!("{name}: {test}");
        }
    }

    /// Returns the counts.
    pub(crate) fn totals(&self) -> Totals {
        self.totals
    }

    /// Returns a table of the tests that took longest: name and seconds.
    pub(crate) fn slowest(&self) -> String {
        let mut slowest: Vec<_> = self.durations.iter().collect();
        slowest.sort_by_key(|(_, time)| std::cmp::Reverse(*time));
        let mut table = String::new();
        for (name, time) in slowest.into_iter().take(SLOWEST) {
            let _ = writeln!(table, "{name:<64} {:>8.1}", time.as_secs_f64());
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_tests_come_first_and_are_ten() {
        let mut report = Report::kept();
        for number in 0..12 {
            report.took(&format!("test{number}"), Duration::from_secs(number));
        }
        let table = report.slowest();
        let names: Vec<_> = table
            .lines()
            .filter_map(|row| row.split_whitespace().next())
            .collect();
        assert_eq!(names.len(), SLOWEST);
        assert_eq!((names[0], names[9]), ("test11", "test2"));
    }

    #[test]
    fn a_part_is_counted_with_the_whole() {
        let (mut whole, mut part) = (Report::live(), Report::kept());
        part.line("x: FAILED");
        part.count(Verdict::Failed);
        part.took("x", Duration::from_secs(1));
        part.name_part("p");
        assert_eq!(part.kept.as_deref(), Some("x: FAILED\n"));
        whole.count(Verdict::Passed);
        whole.absorb(part);
        let totals = whole.totals();
        assert_eq!((totals.passed, totals.failed), (1, 1));
        assert!(whole.slowest().starts_with("p: x "));
    }
}
