// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The process's log: its default filter, and a bound on the lines that untrusted parties can
//! cause.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use thiserror::Error;
use tracing_subscriber::filter::{EnvFilter, LevelFilter};

/// The environment variable with the log's filter.
pub const VARIABLE: &str = "ADIT_LOG";

/// The filter without `ADIT_LOG`: `info` for this project's crates (targets are matched by prefix),
/// and warnings of all others.
const DEFAULT: &str = "info";

/// An invalid filter.
#[derive(Debug, Error)]
#[error(
    "{VARIABLE}=`{filter}`: {reason}; expected a level (error, warn, info, debug, trace) or \
     directives such as `info,adit_function::control=debug`"
)]
pub struct BadFilter {
    filter: String,
    reason: String,
}

/// Starts logging to standard error, filtered by `ADIT_LOG`; coloured only on a terminal, and only
/// if `NO_COLOR` is not set.
///
/// # Errors
/// When `ADIT_LOG` is not a valid filter.
pub fn start() -> Result<(), BadFilter> {
    let filter = match std::env::var_os(VARIABLE) {
        Some(text) => filter(&text.to_string_lossy())?,
        None => filter(DEFAULT)?,
    };
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal() && !no_color)
        .with_writer(std::io::stderr)
        .init();
    Ok(())
}

fn filter(text: &str) -> Result<EnvFilter, BadFilter> {
    let parsed = EnvFilter::builder().parse(directives(text));
    parsed.map_err(|error| BadFilter {
        filter: text.to_owned(),
        reason: error.to_string(),
    })
}

/// The directives of a filter, in which a level without a target applies to this project's crates
/// only: at `debug` the compiler back end alone would log megabytes. Other crates log at most
/// warnings, unless a directive names them.
fn directives(text: &str) -> String {
    let parts = text.split(',').map(str::trim).filter(|p| !p.is_empty());
    let mut directives = vec!["warn".to_owned()];
    for part in parts {
        match part.parse::<LevelFilter>() {
            Ok(level) => {
                directives[0] = level.min(LevelFilter::WARN).to_string();
                directives.push(format!("adit={level}"));
            }
            Err(_) => directives.push(part.to_owned()),
        }
    }
    directives.join(",")
}

/// A rate limit for a log line that a guest or a peer can trigger as often as it likes.
///
/// ```
/// use adit_function::logging::Throttle;
///
/// static LIMIT: Throttle = Throttle::new();
/// let logged = (0..1000).filter(|_| LIMIT.admit().is_some()).count();
/// assert_eq!(logged as u64, Throttle::BURST);
/// ```
#[derive(Debug)]
pub struct Throttle {
    /// The start of the current window, in milliseconds since the first use in the process.
    began: AtomicU64,
    admitted: AtomicU64,
    suppressed: AtomicU64,
}

impl Throttle {
    /// The maximum number of lines in a window.
    pub const BURST: u64 = 5;
    /// The length of a window.
    pub const WINDOW: Duration = Duration::from_secs(10);

    /// Creates a limit that has admitted nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            began: AtomicU64::new(0),
            admitted: AtomicU64::new(0),
            suppressed: AtomicU64::new(0),
        }
    }

    /// Returns the number of lines suppressed since the last admitted one; `None` if no line may be
    /// logged now.
    pub fn admit(&self) -> Option<u64> {
        static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
        let now = START.get_or_init(Instant::now).elapsed().as_millis() as u64;
        self.admit_at(now)
    }

    /// Implements [`admit`](Self::admit) for a time in milliseconds. Threads that race may admit a
    /// line more or less, which is harmless.
    fn admit_at(&self, now: u64) -> Option<u64> {
        if now.saturating_sub(self.began.load(Relaxed)) >= Self::WINDOW.as_millis() as u64 {
            self.began.store(now, Relaxed);
            self.admitted.store(0, Relaxed);
        }
        if self.admitted.fetch_add(1, Relaxed) < Self::BURST {
            return Some(self.suppressed.swap(0, Relaxed));
        }
        self.suppressed.fetch_add(1, Relaxed);
        None
    }
}

impl Default for Throttle {
    fn default() -> Self {
        Self::new()
    }
}

/// Logs a warning with a [`Throttle`] of its own, and the number of suppressed ones.
#[macro_export]
macro_rules! warn_throttled {
    ($($event:tt)+) => {{
        static LIMIT: $crate::logging::Throttle = $crate::logging::Throttle::new();
        if let Some(suppressed) = LIMIT.admit() {
            let suppressed = (suppressed > 0).then_some(suppressed);
            $crate::logging::warn!(suppressed, $($event)+);
        }
    }};
}
pub use warn_throttled;

#[doc(hidden)]
pub use tracing::warn;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_that_of_our_own_crates() {
        for (text, expected) in [
            ("info", "warn,adit=info"),
            ("debug", "warn,adit=debug"),
            ("error", "error,adit=error"),
            ("off", "off,adit=off"),
            ("", "warn"),
            ("info, h2=trace", "warn,adit=info,h2=trace"),
            ("adit_nic::control=debug", "warn,adit_nic::control=debug"),
            ("[request{id=1}]=trace", "warn,[request{id=1}]=trace"),
        ] {
            assert_eq!(directives(text), expected);
            filter(text).unwrap();
        }
    }

    #[test]
    fn what_is_no_filter_is_named() {
        let error = filter("adit_nic=loud").unwrap_err().to_string();
        assert!(error.starts_with("ADIT_LOG=`adit_nic=loud`: "), "{error}");
    }

    #[test]
    fn a_flood_of_lines_is_bounded_and_counted() {
        let limit = Throttle::new();
        let window = Throttle::WINDOW.as_millis() as u64;
        let admitted = |from: u64| {
            (0..100)
                .filter(|n| limit.admit_at(from + n).is_some())
                .count()
        };
        assert_eq!(admitted(0), Throttle::BURST as usize);
        assert_eq!(limit.admit_at(window), Some(100 - Throttle::BURST));
        assert_eq!(limit.admit_at(window + 1), Some(0));
    }
}
