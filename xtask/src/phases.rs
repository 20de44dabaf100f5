// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Durations of the phases of a run.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::Result;

/// The phases of a run, in order, and their durations.
#[derive(Debug, Default)]
pub(crate) struct Phases(Vec<(String, Duration)>);

impl Phases {
    /// Runs a phase, and records its duration, also if it failed.
    pub(crate) fn time<T>(&mut self, name: &str, part: impl FnOnce() -> Result<T>) -> Result<T> {
        let start = Instant::now();
        let result = part();
        self.0.push((name.to_owned(), start.elapsed()));
        result
    }
}

/// Formats a table: phase and seconds, and their sum.
impl fmt::Display for Phases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut row =
            |name: &str, time: Duration| writeln!(f, "{name:<32} {:>8.1}", time.as_secs_f64());
        for (name, time) in &self.0 {
            row(name, *time)?;
        }
        row("all phases", self.0.iter().map(|(_, time)| *time).sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_each_phase_and_the_sum() {
        let phases = Phases(vec![
            ("format".into(), Duration::from_millis(1_500)),
            ("lints".into(), Duration::from_secs(61)),
        ]);
        let rows = phases.to_string();
        let rows: Vec<Vec<_>> = rows
            .lines()
            .map(|row| row.split_whitespace().collect())
            .collect();
        assert_eq!(
            rows,
            [
                vec!["format", "1.5"],
                vec!["lints", "61.0"],
                vec!["all", "phases", "62.5"]
            ]
        );
    }

    #[test]
    fn a_phase_that_fails_is_noted_too() {
        let mut phases = Phases::default();
        let result: Result<()> = phases.time("lints", || anyhow::bail!("no cargo"));
        assert!(result.is_err());
        assert_eq!(phases.0.len(), 1);
    }
}
