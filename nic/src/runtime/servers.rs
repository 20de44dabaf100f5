// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The servers of a NIC at addresses of their own: P4Runtime, metrics.

use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_p4runtime::server::{Listening, Server};
use anyhow::Context;
use parking_lot::Mutex;

use super::Setup;
use crate::function::Shared;
use crate::metrics::MetricsServer;
use crate::report;

/// The time for which a predecessor may still have the addresses, until its keeper kills it, and the interval of
/// attempts.
const PREDECESSOR: Duration = adit_keeper::END.saturating_mul(2);
const AGAIN: Duration = Duration::from_millis(5);

/// The running servers, which stop when this is dropped.
pub(crate) struct Servers {
    _p4rt: Option<Listening>,
    _metrics: Option<MetricsServer>,
}

impl Servers {
    /// Starts them.
    ///
    /// # Errors
    /// When an address cannot be listened on, or the host has no threads left.
    pub(crate) fn start(
        shared: &Arc<Shared>,
        setup: &Setup,
        server: &Arc<Server>,
    ) -> anyhow::Result<Self> {
        let p4rt = match &setup.p4rt {
            Some(p4rt) => Some(p4rt.serve(shared, server)?),
            None => None,
        };
        let metrics = match setup.metrics {
            Some(address) => {
                let shared = shared.clone();
                let counters = p4rt.as_ref().map(|p4rt| p4rt.counters().clone());
                let render = move || {
                    report::prometheus(&shared.lock(), shared.connections(), counters.as_ref())
                };
                let server = MetricsServer::start(address, render)
                    .with_context(|| format!("serving metrics at {address}"))?;
                tracing::info!(address = %server.address(), "metrics");
                Some(server)
            }
            None => None,
        };
        Ok(Self {
            _p4rt: p4rt,
            _metrics: metrics,
        })
    }

    /// Starts them in a thread as soon as a predecessor, which is about to end, has left their
    /// addresses. `failed` is called if that does not happen.
    pub(crate) fn start_after_predecessor(
        shared: &Arc<Shared>,
        setup: &Setup,
        server: &Arc<Server>,
        failed: impl FnOnce() + Send + 'static,
    ) -> std::io::Result<Later> {
        let started = Later::default();
        let (shared, setup, server) = (shared.clone(), setup.clone(), server.clone());
        let place = started.clone();
        let attempts = move || {
            let until = Instant::now() + PREDECESSOR;
            while !shared.stopping() {
                match Self::start(&shared, &setup, &server) {
                    Ok(servers) => {
                        *place.0.lock() = Some(servers);
                        return;
                    }
                    Err(error) if Instant::now() >= until => {
                        tracing::error!("{error:#}");
                        return failed();
                    }
                    Err(_) => std::thread::sleep(AGAIN),
                }
            }
        };
        let thread = std::thread::Builder::new().name("servers".into());
        thread.spawn(attempts)?;
        Ok(started)
    }
}

/// Servers that are started later.
#[derive(Clone, Default)]
pub(crate) struct Later(Arc<Mutex<Option<Servers>>>);
