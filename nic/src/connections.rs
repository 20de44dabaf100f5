// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The connections of the device: the tracker and the expiry of its entries.

use std::sync::Arc;
use std::time::Duration;

use adit_conntrack::{Seed, Settings, Time, Tracker};

use crate::function::Shared;

/// The default number of connections.
pub const DEFAULT_CONNECTIONS: u32 = 1 << 16;
/// The maximum number of connections of a tracker.
pub const MAX_CONNECTIONS: u32 = (1 << 24) - 1;

/// The interval at which due connections are removed.
const INTERVAL: Duration = Duration::from_millis(100);
/// The work of one call of the tracker. The thread checks for the device's stop between calls.
const BUDGET: usize = 1 << 12;

/// Creates a tracker, whose key is random, for a number of connections. Their memory is allocated
/// with it.
///
/// # Errors
/// When the system has no random numbers.
pub fn tracker(capacity: u32) -> std::io::Result<Arc<Tracker>> {
    let mut key = [0; 16];
    getrandom::fill(&mut key).map_err(|error| std::io::Error::other(error.to_string()))?;
    let tracker = Tracker::new(capacity as usize, Seed::new(key), Settings::default());
    Ok(Arc::new(tracker))
}

impl Shared {
    /// Removes connections whose timeout has passed, until [`Shared::stop`] is called. The tracker
    /// locks for one step at a time, so packets do not wait for a million expiries.
    pub fn expire_connections(&self) {
        while !self.stopping() {
            let now = || Time::from_nanos(self.now());
            let step = self
                .freezer()
                .step(|| self.connections().expire(now(), BUDGET));
            if step != Some(true) {
                std::thread::park_timeout(INTERVAL);
            }
        }
    }
}
