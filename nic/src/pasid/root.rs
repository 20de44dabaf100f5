// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Where the IOMMU's tables are: found out when an ADI is to be made, forgotten at each reset.
//!
//! Asking takes a while and must not happen on the thread that answers QEMU: QEMU may be waiting
//! for that answer, and cannot give its own meanwhile. So the question goes to a thread of its
//! own ([`super::qmp`]) and what needs the answer waits in the mailbox.

use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

/// Where the tables are, and which of them are the function's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Root {
    /// Guest-physical address of the root table.
    pub table: u64,
    /// The function's requester id: bus, device and function.
    pub requester: u16,
}

/// How far the search is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Unknown,
    Asked,
    Known(Root),
    Failed,
}

/// What is known of the tables.
pub struct Tables {
    state: State,
    /// Counts resets: an answer to a question from before one is worthless.
    era: u64,
    query: Option<RootQuery>,
}

/// Whether ADIs can be made now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Yes.
    Ready,
    /// The question is on its way.
    Asking,
    /// Nobody knows. Asking again may help.
    Failed,
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

    /// Whether the tables are known; asks for them if they are not.
    pub fn find(&mut self) -> Readiness {
        match self.state {
            State::Known(_) => Readiness::Ready,
            State::Asked => Readiness::Asking,
            State::Failed => {
                self.state = State::Unknown;
                Readiness::Failed
            }
            State::Unknown => match &self.query {
                Some(query) => {
                    query.ask(self.era);
                    self.state = State::Asked;
                    Readiness::Asking
                }
                None => Readiness::Failed,
            },
        }
    }

    /// Takes an answer to the question of an era; false when it is out of date.
    pub fn answer(&mut self, era: u64, root: Option<Root>) -> bool {
        let fits = era == self.era && self.state == State::Asked;
        if fits {
            self.state = root.map_or(State::Failed, State::Known);
        }
        fits
    }

    /// Says where they are, for who knows without asking.
    pub fn set(&mut self, root: Root) {
        self.state = State::Known(root);
    }

    /// A reset: what is known is out of date. (Without anybody to ask, it stays.)
    pub fn forget(&mut self) {
        self.era += 1;
        if self.query.is_some() {
            self.state = State::Unknown;
        }
    }
}

#[derive(Default)]
struct Inbox {
    /// The era of the question.
    question: Option<u64>,
    closed: bool,
}

/// The way of a question to the thread that asks it.
#[derive(Clone, Default)]
pub struct RootQuery(Arc<(Mutex<Inbox>, Condvar)>);

impl RootQuery {
    fn ask(&self, era: u64) {
        self.0 .0.lock().question = Some(era);
        self.0 .1.notify_one();
    }

    /// Waits for a question; `None` at the end.
    #[must_use]
    pub fn wait(&self) -> Option<u64> {
        let mut inbox = self.0 .0.lock();
        loop {
            if inbox.closed {
                return None;
            }
            if let Some(era) = inbox.question.take() {
                return Some(era);
            }
            self.0 .1.wait(&mut inbox);
        }
    }

    /// Whether the end has come.
    #[must_use]
    pub fn closed(&self) -> bool {
        self.0 .0.lock().closed
    }

    /// Ends the thread that waits.
    pub fn close(&self) {
        self.0 .0.lock().closed = true;
        self.0 .1.notify_all();
    }
}
