// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Reads KTAP version 2 (Linux `Documentation/dev-tools/ktap.rst`), line by line.
//!
//! It checks more than the words `ok` and `not ok`: a missing plan, too few or too many results,
//! numbers out of order, and a parent that passed although a child failed all count as failures.

/// Verdict of a result line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// `ok`.
    Passed,
    /// `not ok`, or an error in the report itself.
    Failed,
    /// `ok … # SKIP`: neither passed nor failed.
    Skipped,
}

/// One result, available as soon as its line was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestResult {
    /// Its name. A test with subtests comes after them.
    pub name: String,
    /// Its verdict.
    pub verdict: Verdict,
    /// `true` if it has no subtests; only these are counted.
    pub leaf: bool,
    /// Diagnostic lines that preceded it, or errors in the report.
    pub notes: Vec<String>,
}

/// Number of results of each kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Passed.
    pub passed: usize,
    /// Failed.
    pub failed: usize,
    /// Skipped.
    pub skipped: usize,
}

impl Totals {
    /// Counts one more result.
    pub fn add(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Passed => self.passed += 1,
            Verdict::Failed => self.failed += 1,
            Verdict::Skipped => self.skipped += 1,
        }
    }
}

impl std::ops::AddAssign for Totals {
    fn add_assign(&mut self, more: Self) {
        self.passed += more.passed;
        self.failed += more.failed;
        self.skipped += more.skipped;
    }
}

#[derive(Debug, Default)]
struct Level {
    plan: Option<usize>,
    seen: usize,
    failed: bool,
    notes: Vec<String>,
    faults: Vec<String>,
}

impl Level {
    /// Returns whether a level that has ended failed, and its errors.
    fn close(mut self) -> (bool, Vec<String>) {
        match self.plan {
            None => self.faults.push("no plan (`1..N`)".into()),
            Some(plan) if plan != self.seen => {
                self.faults
                    .push(format!("{} results where the plan says {plan}", self.seen));
            }
            Some(_) => {}
        }
        (self.failed, self.faults)
    }
}

/// A parser of reports.
#[derive(Debug, Default)]
pub struct Parser {
    levels: Vec<Level>,
    totals: Totals,
}

impl Parser {
    /// Parses one line; returns the result of a result line.
    pub fn line(&mut self, line: &str) -> Option<TestResult> {
        let text = line.trim_start_matches(' ');
        let depth = (line.len() - text.len()) / 2;
        let text = text.trim_end();
        if text.starts_with("KTAP version ") || text.starts_with("TAP version ") {
            // A version line opens a level; one that skips a level belongs to the deepest.
            while self.levels.len() <= depth.min(self.levels.len()) {
                self.levels.push(Level::default());
            }
            return None;
        }
        if let Some(note) = text.strip_prefix('#') {
            let deepest = self.levels.len().checked_sub(1)?;
            self.levels[depth.min(deepest)]
                .notes
                .push(note.trim().to_owned());
            return None;
        }
        if let Some(count) = text
            .strip_prefix("1..")
            .and_then(|count| count.parse().ok())
        {
            self.levels.get_mut(depth)?.plan = Some(count);
            return None;
        }
        let (ok, rest) = match text.strip_prefix("not ok ") {
            Some(rest) => (false, rest),
            None => (true, text.strip_prefix("ok ")?),
        };
        self.result(depth, ok, rest)
    }

    fn result(&mut self, depth: usize, ok: bool, rest: &str) -> Option<TestResult> {
        let (number, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        let number: usize = number.parse().ok()?;
        let (name, directive) = rest.split_once('#').unwrap_or((rest, ""));
        let name = name.trim().trim_start_matches("- ").to_owned();
        if depth >= self.levels.len() {
            return None;
        }
        // Deeper levels are the subtests of this result.
        let mut leaf = true;
        let mut child_failed = false;
        let mut faults = Vec::new();
        while self.levels.len() > depth + 1 {
            let (failed, mut wrong) = self.levels.pop().unwrap_or_default().close();
            leaf = false;
            child_failed |= failed;
            faults.append(&mut wrong);
        }
        let level = &mut self.levels[depth];
        level.seen += 1;
        if number != level.seen {
            level
                .faults
                .push(format!("result {} has number {number}", level.seen));
        }
        if ok && child_failed {
            faults.push("passed although a subtest failed".into());
        }
        let skipped = directive
            .trim_start()
            .get(..4)
            .is_some_and(|it| it.eq_ignore_ascii_case("skip"));
        let verdict = match (ok && faults.is_empty(), skipped) {
            (false, _) => Verdict::Failed,
            (true, true) => Verdict::Skipped,
            (true, false) => Verdict::Passed,
        };
        level.failed |= verdict == Verdict::Failed;
        let mut notes = std::mem::take(&mut level.notes);
        notes.extend(faults);
        if skipped {
            notes.push(directive.trim().to_owned());
        }
        // A parent that failed by itself (a kernel warning, a timeout) must show in the count.
        if leaf || (verdict == Verdict::Failed && !child_failed) {
            self.totals.add(verdict);
        }
        Some(TestResult {
            name,
            verdict,
            leaf,
            notes,
        })
    }

    /// Returns the totals so far.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// Ends the report: returns the totals, and the errors of the report as a whole (which also
    /// count as failures).
    pub fn finish(mut self) -> (Totals, Vec<String>) {
        let mut faults = Vec::new();
        if self.levels.is_empty() {
            faults.push("no KTAP at all".to_owned());
        }
        if self.levels.len() > 1 {
            faults.push("ended inside a test".to_owned());
        }
        while let Some(level) = self.levels.pop() {
            faults.extend(level.close().1);
        }
        self.totals.failed += faults.len();
        (self.totals, faults)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Vec<TestResult>, Totals, Vec<String>) {
        let mut parser = Parser::default();
        let results = text.lines().filter_map(|line| parser.line(line)).collect();
        let (totals, faults) = parser.finish();
        (results, totals, faults)
    }

    const GOOD: &str = "KTAP version 2\n1..2\n  KTAP version 2\n  1..3\n  ok 1 first\n  # slow\n  \
        ok 2 - second\n  ok 3 third # SKIP no device\nnoise\nok 1 suite\nok 2 alone\n";

    #[test]
    fn a_good_report() {
        let (results, totals, faults) = read(GOOD);
        assert_eq!(
            totals,
            Totals {
                passed: 3,
                failed: 0,
                skipped: 1
            }
        );
        assert_eq!(faults, Vec::<String>::new());
        assert_eq!(results.len(), 5);
        assert_eq!(
            (results[1].name.as_str(), &results[1].notes[..]),
            ("second", &["slow".to_owned()][..])
        );
        assert_eq!(results[2].verdict, Verdict::Skipped);
        assert!(!results[3].leaf && results[4].leaf);
    }

    #[test]
    fn failures_are_seen_whatever_the_parent_says() {
        let bad = GOOD.replace("ok 2 - second", "not ok 2 - second");
        let (results, totals, _) = read(&bad);
        assert_eq!(totals.failed, 1);
        assert_eq!(results[3].verdict, Verdict::Failed, "the parent said ok");
        let parent = GOOD.replace("ok 1 suite", "not ok 1 suite");
        assert_eq!(read(&parent).1.failed, 1, "a parent that failed by itself");
    }

    #[test]
    fn reports_that_lie_or_stop_fail() {
        for (what, text) in [
            ("nothing", ""),
            ("no plan", "KTAP version 2\nok 1 a\n"),
            ("short", "KTAP version 2\n1..2\nok 1 a\n"),
            ("long", "KTAP version 2\n1..1\nok 1 a\nok 2 b\n"),
            ("wrong number", "KTAP version 2\n1..2\nok 1 a\nok 3 b\n"),
            (
                "cut off",
                "KTAP version 2\n1..1\n  KTAP version 2\n  1..1\n  ok 1 a\n",
            ),
            (
                "short child",
                "KTAP version 2\n1..1\n  KTAP version 2\n  1..2\n  ok 1 a\nok 1 p\n",
            ),
        ] {
            assert_ne!(read(text).1.failed, 0, "{what}");
        }
    }
}
