// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Durations of the phases of a run, some of which run beside each other.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;

/// The phases of a run that have ended.
#[derive(Debug)]
pub(crate) struct Phases {
    start: Instant,
    ended: Mutex<Vec<Phase>>,
}

/// A phase that has ended.
#[derive(Debug)]
struct Phase {
    name: String,
    /// Its start, since that of the run.
    from: Duration,
    time: Duration,
}

impl Phases {
    /// Starts the clock of the run.
    pub(crate) fn start() -> Self {
        Self {
            start: Instant::now(),
            ended: Mutex::default(),
        }
    }

    /// Runs a phase, and records its duration, also if it failed.
    pub(crate) fn time<T>(&self, name: &str, part: impl FnOnce() -> Result<T>) -> Result<T> {
        let from = self.start.elapsed();
        let result = part();
        let time = self.start.elapsed() - from;
        let phase = Phase {
            name: name.to_owned(),
            from,
            time,
        };
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        ended.push(phase);
        result
    }
}

/// Formats a table of the phases in order of their start: name, start and duration in seconds; and
/// the duration of the run.
impl fmt::Display for Phases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        ended.sort_by_key(|phase| phase.from);
        let mut row = |name: &str, from: Duration, time: Duration| {
            let (from, time) = (from.as_secs_f64(), time.as_secs_f64());
            writeln!(f, "{name:<32} {from:>8.1} {time:>8.1}")
        };
        for phase in ended.iter() {
            row(&phase.name, phase.from, phase.time)?;
        }
        row("the run", Duration::ZERO, self.start.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_each_phase_in_order_of_its_start() -> Result<()> {
        let phases = Phases::start();
        phases.time("outer", || phases.time("inner", || Ok(())))?;
        let table = phases.to_string();
        let names: Vec<_> = table
            .lines()
            .map(|row| row.rsplitn(3, ' ').last().unwrap_or_default().trim())
            .map(|row| row.split("  ").next().unwrap_or_default())
            .collect();
        assert_eq!(names, ["outer", "inner", "the run"], "{table}");
        let cells: Vec<_> = table.lines().map(|row| row.split_whitespace()).collect();
        assert!(cells.into_iter().all(|row| row.count() >= 3), "{table}");
        Ok(())
    }

    #[test]
    fn a_phase_that_fails_is_noted_too() {
        let phases = Phases::start();
        let result: Result<()> = phases.time("lints", || anyhow::bail!("no cargo"));
        assert!(result.is_err());
        assert!(phases.to_string().starts_with("lints "));
    }
}
