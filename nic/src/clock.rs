// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The clock of a device.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use adit_conntrack::Time;
use adit_keeper::{Worker, WorkerError};
use rustix::time::{clock_gettime, ClockId};
use serde::{Deserialize, Serialize};

/// The note at the keeper with the start of the clock.
const NOTE: &str = "clock";

/// A monotonic clock, which begins at zero when the device starts.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
    date: SystemTime,
}

impl Clock {
    /// Starts a clock.
    #[must_use]
    pub fn start() -> Self {
        Clock {
            start: Instant::now(),
            date: SystemTime::now(),
        }
    }

    /// The clock of a device under a keeper, which its first process has started.
    ///
    /// # Errors
    /// Fails without a keeper.
    pub fn of_device(
        worker: &Worker,
        notes: &BTreeMap<String, String>,
    ) -> Result<Self, WorkerError> {
        let origin = notes.get(NOTE).map(|text| serde_json::from_str(text));
        match origin {
            Some(Ok(origin)) => Ok(Self::continued(origin)),
            _ => {
                let clock = Self::start();
                let text = serde_json::to_string(&clock.origin()).ok();
                worker.note(NOTE, text)?;
                Ok(clock)
            }
        }
    }

    /// The start of the clock, for another process on this machine.
    #[must_use]
    pub fn origin(&self) -> Origin {
        let monotonic = monotonic().saturating_sub(self.start.elapsed());
        Origin {
            monotonic_ns: monotonic.as_nanos() as u64,
            date_ns: self.start_date().as_nanos() as u64,
        }
    }

    /// The clock that another process on this machine has started; a new one if its start is in the
    /// future.
    #[must_use]
    pub fn continued(origin: Origin) -> Self {
        let start = Duration::from_nanos(origin.monotonic_ns);
        let since = monotonic().checked_sub(start);
        let start = since.and_then(|since| Instant::now().checked_sub(since));
        let date = SystemTime::UNIX_EPOCH.checked_add(Duration::from_nanos(origin.date_ns));
        match (start, date) {
            (Some(start), Some(date)) => Self { start, date },
            _ => Self::start(),
        }
    }

    /// The time in nanoseconds since the start.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    /// The date at the start, as the time since 1970. A step of the system's clock since then does not
    /// change it, so that dates which are computed from it keep their order.
    #[must_use]
    pub fn start_date(&self) -> Duration {
        let since = self.date.duration_since(SystemTime::UNIX_EPOCH);
        // Only a system's clock that is set to a time before 1970 has none.
        since.unwrap_or_default()
    }
}

/// The start of a clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// On CLOCK_MONOTONIC, in nanoseconds.
    monotonic_ns: u64,
    /// The date, in nanoseconds since 1970.
    date_ns: u64,
}

/// CLOCK_MONOTONIC.
fn monotonic() -> Duration {
    let now = clock_gettime(ClockId::Monotonic);
    // It is not negative.
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

impl adit_conntrack_rpc::Clock for Clock {
    fn now(&self) -> Time {
        Time::from_nanos(Clock::now(self))
    }

    fn start_date(&self) -> Duration {
        Clock::start_date(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_continued_clock_shows_the_time_of_the_first() {
        let first = Clock::start();
        std::thread::sleep(Duration::from_millis(5));
        let text = serde_json::to_string(&first.origin()).unwrap();
        let second = Clock::continued(serde_json::from_str(&text).unwrap());
        let (before, shown, after) = (first.now(), second.now(), first.now());
        // The origin is computed from two readings.
        let slack = 1_000_000_000;
        assert!(shown + slack >= before && shown <= after + slack);
        assert!(shown >= 5_000_000);
        assert_eq!(first.start_date(), second.start_date());
        let future = Origin {
            monotonic_ns: u64::MAX,
            date_ns: 0,
        };
        assert!(Clock::continued(future).now() < slack);
    }
}
