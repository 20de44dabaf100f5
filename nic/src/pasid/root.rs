// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The location of the IOMMU's tables: looked up when an ADI is created, dropped at each reset.
//!
//! The lookup takes a while and must not run on the thread that serves QEMU: QEMU may be waiting
//! for that thread's reply, and cannot respond to the lookup meanwhile. So the lookup runs on its own
//! thread ([`super::qmp`]), and requests that need its result wait in the mailbox.

use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use serde::{Deserialize, Serialize};

pub use adit_function::pasid::Readiness;

/// The location of the tables, and the function that they are used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Root {
    /// The guest-physical address of the root table.
    pub table: u64,
    /// The function's requester ID: bus, device and function.
    pub requester: u16,
}

/// The state of the lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Unknown,
    Pending,
    Known(Root),
    Failed,
}

/// The location of the tables, or the state of its lookup.
pub struct Tables {
    state: State,
    /// The number of resets: a response to a lookup from before a reset is discarded.
    era: u64,
    query: Option<RootQuery>,
}

impl Tables {
    pub(super) fn new(query: Option<RootQuery>) -> Self {
        Self {
            state: State::Unknown,
            era: 0,
            query,
        }
    }

    pub(super) fn root(&self) -> Option<Root> {
        match self.state {
            State::Known(root) => Some(root),
            _ => None,
        }
    }

    /// Returns the availability of the tables; starts a lookup if their location is unknown.
    pub fn find(&mut self) -> Readiness {
        match self.state {
            State::Known(_) => Readiness::Ready,
            State::Pending => Readiness::Pending,
            State::Failed => {
                self.state = State::Unknown;
                Readiness::Failed
            }
            State::Unknown => match &self.query {
                Some(query) => {
                    query.request(self.era);
                    self.state = State::Pending;
                    Readiness::Pending
                }
                None => Readiness::Failed,
            },
        }
    }

    /// Completes the lookup of an era; returns `false` when the response is out of date.
    pub fn complete(&mut self, era: u64, root: Option<Root>) -> bool {
        let expected = era == self.era && self.state == State::Pending;
        if expected {
            self.state = root.map_or(State::Failed, State::Known);
        }
        expected
    }

    /// Sets the location of the tables without a lookup.
    pub fn set(&mut self, root: Root) {
        self.state = State::Known(root);
    }

    /// Handles a reset: the known location is out of date. (Without a lookup thread, it is kept.)
    pub fn forget(&mut self) {
        self.era += 1;
        if self.query.is_some() {
            self.state = State::Unknown;
        }
    }
}

#[derive(Default)]
struct Inbox {
    /// The era of the pending lookup.
    pending: Option<u64>,
    closed: bool,
}

/// The channel to the thread that performs lookups.
#[derive(Clone, Default)]
pub struct RootQuery(Arc<(Mutex<Inbox>, Condvar)>);

impl RootQuery {
    fn request(&self, era: u64) {
        self.0 .0.lock().pending = Some(era);
        self.0 .1.notify_one();
    }

    /// Waits for a request; returns `None` once the channel is closed.
    #[must_use]
    pub fn wait(&self) -> Option<u64> {
        let mut inbox = self.0 .0.lock();
        loop {
            if inbox.closed {
                return None;
            }
            if let Some(era) = inbox.pending.take() {
                return Some(era);
            }
            self.0 .1.wait(&mut inbox);
        }
    }

    /// Returns whether the channel is closed.
    #[must_use]
    pub fn closed(&self) -> bool {
        self.0 .0.lock().closed
    }

    /// Closes the channel, which ends the waiting thread.
    pub fn close(&self) {
        self.0 .0.lock().closed = true;
        self.0 .1.notify_all();
    }
}
