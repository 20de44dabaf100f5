// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The state that all workers of a server share.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::{Limits, Report, Site};

/// A function that makes the report of a server.
type Reporter = Box<dyn Fn() -> Report + Send + Sync>;

/// The state that all workers of a server share.
pub struct Shared {
    /// The name of the server in its echo.
    pub name: String,
    /// The files.
    pub site: Site,
    /// The bounds.
    pub limits: Limits,
    reporter: Option<Reporter>,
    stopping: AtomicBool,
}

impl Shared {
    /// A server that is not stopping.
    #[must_use]
    pub fn new(name: String, site: Site, limits: Limits) -> Self {
        Self {
            name,
            site,
            limits,
            reporter: None,
            stopping: AtomicBool::new(false),
        }
    }

    /// Serves reports at `/stats`.
    #[must_use]
    pub fn with_reports(mut self, reporter: impl Fn() -> Report + Send + Sync + 'static) -> Self {
        self.reporter = Some(Box::new(reporter));
        self
    }

    /// Has the workers accept no more connections and end the others after their current request.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Returns whether the server is stopping.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Returns the report, if the server serves reports.
    pub(crate) fn report(&self) -> Option<Report> {
        self.reporter.as_ref().map(|report| report())
    }
}
