// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The text of the field Date (RFC 9110, section 6.6.1), made once a second.

use std::fmt::Write as _;
use std::time::{Duration, Instant, SystemTime};

/// The current date, as text.
#[derive(Debug)]
pub(crate) struct DateText {
    text: String,
    until: Option<Instant>,
}

impl DateText {
    pub(crate) fn new() -> Self {
        Self {
            text: String::new(),
            until: None,
        }
    }

    /// Returns the text for a time close to the present. The clock is read at most once a second.
    pub(crate) fn get(&mut self, now: Instant) -> &str {
        if self.until.is_none_or(|until| now >= until) {
            let time = SystemTime::now();
            self.text.clear();
            // Writing to a string does not fail.
            let _ = write!(self.text, "{}", httpdate::HttpDate::from(time));
            let since = time
                .duration_since(SystemTime::UNIX_EPOCH)
                .unwrap_or_default();
            let rest = 1_000_000_000 - u64::from(since.subsec_nanos());
            self.until = Some(now + Duration::from_nanos(rest));
        }
        &self.text
    }
}
