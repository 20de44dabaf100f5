// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Jobs that run beside each other, a few at a time.

use std::collections::VecDeque;
use std::fs;
use std::sync::{Mutex, PoisonError};

use adit_qemu_tests::ktap::Verdict;
use anyhow::Result;

use crate::phases::Phases;
use crate::report::Report;

/// Number of guests that may run at a time. One under test uses most of a core, so two on two cores
/// leave little idle, and more would only delay each other.
const MOST: usize = 2;

/// Memory in MiB that the programs beside a guest's own memory may take.
const BESIDE_MIB: usize = 1024;

/// The body of a job.
type Body<'a> = Box<dyn FnOnce(&mut Report) -> Result<()> + Send + 'a>;

/// A part of a run that depends on no other.
pub(crate) struct Job<'a> {
    /// Its name in reports and in the table of phases.
    name: &'static str,
    run: Body<'a>,
}

impl<'a> Job<'a> {
    /// Creates a job.
    pub(crate) fn new(
        name: &'static str,
        run: impl FnOnce(&mut Report) -> Result<()> + Send + 'a,
    ) -> Self {
        Self {
            name,
            run: Box::new(run),
        }
    }
}

/// Returns the number of lanes for `jobs` jobs, of which each has a guest with that much memory: as
/// many as processors and available memory allow.
pub(crate) fn lanes(jobs: usize, guest_mib: usize) -> usize {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory = available_mib(&text).map_or(MOST, |mib| mib / (guest_mib + BESIDE_MIB));
    MOST.min(jobs).min(processors).min(memory).max(1)
}

/// Parses the available memory in MiB from the text of `/proc/meminfo`.
fn available_mib(meminfo: &str) -> Option<usize> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: usize = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib / 1024)
}

/// Runs the jobs. Each lane takes the next one when it has finished one, so the longest ones come
/// first. If there are several lanes, the report of a job is printed in one piece at its end; a job
/// that cannot run counts as a failed test.
pub(crate) fn run(jobs: Vec<Job<'_>>, lanes: usize, phases: &Phases) -> Report {
    let waiting = Mutex::new(VecDeque::from(jobs));
    let whole = Mutex::new(Report::live());
    let lock = |poisoned: PoisonError<_>| poisoned.into_inner();
    let work = || {
        // A statement of its own, so that the lock is released before the job runs.
        while let Some(job) = {
            let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.pop_front()
        } {
            let mut report = if lanes > 1 {
                println!("{}: begins", job.name);
                Report::kept()
            } else {
                Report::live()
            };
            report.line(format_args!("{}:", job.name));
            if let Err(error) = phases.time(job.name, || (job.run)(&mut report)) {
                report.line(format_args!("  {}: FAILED\n{error:#}", job.name));
                report.count(Verdict::Failed);
            }
            report.print();
            report.name_part(job.name);
            whole.lock().unwrap_or_else(lock).absorb(report);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..lanes {
            scope.spawn(work);
        }
    });
    whole.into_inner().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn jobs_run_beside_each_other_and_each_is_counted() {
        // Each of the first two ends only once both run.
        let both = Barrier::new(2);
        let meet = |report: &mut Report| {
            both.wait();
            report.count(Verdict::Passed);
            Ok(())
        };
        let jobs = vec![
            Job::new("first", meet),
            Job::new("second", meet),
            Job::new("third", |_| anyhow::bail!("no guest")),
        ];
        let phases = Phases::start();
        let totals = run(jobs, 2, &phases).totals();
        assert_eq!((totals.passed, totals.failed), (2, 1));
        let table = phases.to_string();
        for name in ["first", "second", "third"] {
            assert!(table.contains(name), "{table}");
        }
    }

    #[test]
    fn memory_limits_the_guests_at_a_time() {
        assert_eq!(
            available_mib("MemFree: 1 kB\nMemAvailable:  4096 kB\n"),
            Some(4)
        );
        assert_eq!(available_mib("MemFree: 1 kB\n"), None);
        assert_eq!(lanes(1, 0), 1);
        assert_eq!(lanes(9, usize::MAX / 2), 1);
    }
}
