// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The counters of a server, of all workers together and of each.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use serde::Serialize;

use crate::{Counters, SiteSize, Snapshot};

/// A worker's counters.
#[derive(Clone, Debug)]
pub struct Worker {
    /// Those of requests.
    pub http: Arc<Counters>,
    /// Those of its stack; none with kernel sockets.
    pub stack: Option<Arc<adit_netstack::Counters>>,
}

/// A server's counters.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The server's name.
    pub name: String,
    /// Seconds since its start.
    pub seconds: f64,
    /// Its files.
    pub site: SiteSize,
    /// Requests and connections.
    pub http: Snapshot,
    /// Frames and TCP connections; none with kernel sockets.
    pub tcp: Option<adit_netstack::Snapshot>,
    /// Requests of each worker.
    pub requests_by_worker: Vec<u64>,
}

/// The workers of a server, which are added as they start.
#[derive(Clone, Debug)]
pub struct Workers {
    name: String,
    site: SiteSize,
    start: Instant,
    workers: Arc<Mutex<Vec<Worker>>>,
}

impl Workers {
    /// No workers yet.
    #[must_use]
    pub fn new(name: &str, site: SiteSize) -> Self {
        Self {
            name: name.into(),
            site,
            start: Instant::now(),
            workers: Arc::default(),
        }
    }

    /// Adds a worker.
    pub fn add(&self, worker: Worker) {
        let mut workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        workers.push(worker);
    }

    /// Reads all counters.
    #[must_use]
    pub fn report(&self) -> Report {
        let workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        let http: Vec<_> = workers.iter().map(|it| it.http.snapshot()).collect();
        let tcp = workers.iter().filter_map(|it| it.stack.as_ref());
        Report {
            name: self.name.clone(),
            seconds: self.start.elapsed().as_secs_f64(),
            site: self.site,
            requests_by_worker: http.iter().map(|it| it.requests).collect(),
            http: http
                .into_iter()
                .fold(Snapshot::default(), |sum, it| sum + it),
            tcp: tcp.map(|it| it.snapshot()).reduce(|sum, it| sum + it),
        }
    }
}
