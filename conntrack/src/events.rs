// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Events of connections, to any number of listeners.
//!
//! Each listener has a queue of its own. Packets never wait for a listener: an event that finds the
//! queue full is lost for it, and counted.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::Arc;

use arc_swap::ArcSwap;
use crossbeam_queue::ArrayQueue;
use thiserror::Error;

use crate::bits::Status;
use crate::entry::{Connection, Label};
use crate::expect::Expectation;
use crate::proto::ProtoState;
use crate::table::{Insertion, RemovalReason};

/// The kinds of events, as a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EventMask {
    /// Connections are inserted.
    pub new: bool,
    /// Connections change.
    pub update: bool,
    /// Connections are removed.
    pub destroy: bool,
    /// Expectations are added.
    pub expect_new: bool,
    /// Expectations are removed, fulfilled or not.
    pub expect_destroy: bool,
}

impl EventMask {
    /// All events.
    pub const ALL: EventMask = EventMask {
        new: true,
        update: true,
        destroy: true,
        expect_new: true,
        expect_destroy: true,
    };
    /// No event.
    pub const NONE: EventMask = EventMask {
        new: false,
        update: false,
        destroy: false,
        expect_new: false,
        expect_destroy: false,
    };
}

/// The values of a connection that an event is about (`enum ip_conntrack_events`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Changes {
    /// The first packet of the reply direction was seen.
    pub reply: bool,
    /// The connection became assured.
    pub assured: bool,
    /// The state of the protocol.
    pub proto: bool,
    /// The mark.
    pub mark: bool,
    /// The label.
    pub label: bool,
    /// The helper.
    pub helper: bool,
}

impl Changes {
    /// All values, which ctnetlink reports of a connection that a control plane creates or changes,
    /// whatever their values were before. No packet changes all.
    pub const ALL: Changes = Changes {
        reply: true,
        assured: true,
        proto: true,
        mark: true,
        label: true,
        helper: true,
    };

    /// The values that a packet's new connection begins with, where they are not those of all.
    pub(crate) fn of_new(insertion: &Insertion) -> Self {
        let data = &insertion.data;
        Changes {
            reply: false,
            assured: insertion.status.contains(Status::ASSURED),
            proto: !matches!(data.proto, ProtoState::None),
            mark: insertion.mark != 0,
            label: data.label != Label::default(),
            helper: data.helper().is_some(),
        }
    }

    /// Reports whether something has changed.
    pub fn any(self) -> bool {
        self != Changes::default()
    }
}

/// An event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A connection was inserted, with these values.
    New(Connection, Changes),
    /// A connection has changed, or a control plane has set values of it.
    Update(Connection, Changes),
    /// A connection was removed; [`Connection::end`] has the time and cause.
    Destroy(Connection),
    /// An expectation was added.
    ExpectNew(Expectation),
    /// An expectation was removed.
    ExpectDestroy(Expectation),
}

impl Event {
    /// Reports whether a control plane has created, changed or deleted the connection: no packet, timeout or
    /// early drop. ctnetlink shows that by a port id, of connections only.
    pub fn is_requested(&self) -> bool {
        match self {
            Event::New(_, changes) | Event::Update(_, changes) => *changes == Changes::ALL,
            Event::Destroy(gone) => {
                matches!(gone.end, Some((_, RemovalReason::Deleted)))
            }
            Event::ExpectNew(_) | Event::ExpectDestroy(_) => false,
        }
    }

    fn is_in(&self, mask: EventMask) -> bool {
        match self {
            Event::New(..) => mask.new,
            Event::Update(..) => mask.update,
            Event::Destroy(_) => mask.destroy,
            Event::ExpectNew(_) => mask.expect_new,
            Event::ExpectDestroy(_) => mask.expect_destroy,
        }
    }
}

struct Queue {
    mask: EventMask,
    events: ArrayQueue<Event>,
    lost: AtomicU64,
}

/// The most listeners of a tracker: an event is copied for each of them.
const MAX_LISTENERS: usize = 64;

#[derive(Default)]
struct Queues {
    all: ArcSwap<Vec<Arc<Queue>>>,
    /// At least their number. If it is zero, packets do not touch the queues.
    count: AtomicUsize,
}

/// The receiving end of a listener's queue. The queue ends when it is dropped.
pub struct Listener {
    queue: Arc<Queue>,
    queues: Arc<Queues>,
}

/// A tracker has as many listeners as it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("tracker has {MAX_LISTENERS} listeners, the most that it may have")]
pub struct TooManyListeners;

impl Drop for Listener {
    fn drop(&mut self) {
        self.queues.all.rcu(|queues| {
            let others = queues
                .iter()
                .filter(|queue| !Arc::ptr_eq(queue, &self.queue));
            others.cloned().collect::<Vec<_>>()
        });
        self.queues.count.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Listener {
    /// The oldest event in the queue.
    pub fn next(&self) -> Option<Event> {
        self.queue.events.pop()
    }

    /// The number of events that found the queue full since it was made.
    pub fn lost(&self) -> u64 {
        self.queue.lost.load(Ordering::Relaxed)
    }
}

/// The listeners of a tracker.
#[derive(Default)]
pub(crate) struct Events {
    queues: Arc<Queues>,
}

impl Events {
    /// The number of listeners.
    pub(crate) fn listeners(&self) -> usize {
        self.queues.all.load().len()
    }

    /// Adds a listener whose queue holds `capacity` events, at least one.
    pub(crate) fn listen(
        &self,
        mask: EventMask,
        capacity: usize,
    ) -> Result<Listener, TooManyListeners> {
        if self.queues.all.load().len() >= MAX_LISTENERS {
            return Err(TooManyListeners);
        }
        let events = ArrayQueue::new(capacity.max(1));
        let queue = Arc::new(Queue {
            mask,
            events,
            lost: AtomicU64::new(0),
        });
        let mut has_place = true;
        self.queues.count.fetch_add(1, Ordering::Relaxed);
        self.queues.all.rcu(|queues| {
            has_place = queues.len() < MAX_LISTENERS;
            let new = has_place.then_some(&queue);
            queues.iter().chain(new).cloned().collect::<Vec<_>>()
        });
        let queues = self.queues.clone();
        // Without a place, the listener's end changes nothing.
        let listener = Listener { queue, queues };
        has_place.then_some(listener).ok_or(TooManyListeners)
    }

    /// Sends the event to who listens to its kind. `event` is not called if there is none.
    #[inline]
    pub(crate) fn send(&self, wants: fn(EventMask) -> bool, event: impl FnOnce() -> Event) {
        if self.queues.count.load(Ordering::Relaxed) != 0 {
            self.send_to_listeners(wants, event);
        }
    }

    #[inline(never)]
    fn send_to_listeners(&self, wants: fn(EventMask) -> bool, event: impl FnOnce() -> Event) {
        let queues = self.queues.all.load();
        if !queues.iter().any(|queue| wants(queue.mask)) {
            return;
        }
        let event = event();
        for queue in queues.iter().filter(|queue| event.is_in(queue.mask)) {
            if queue.events.push(event.clone()).is_err() {
                queue.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_that_is_dropped_takes_no_events() {
        let events = Events::default();
        let listener = events.listen(EventMask::ALL, 1).unwrap();
        let queue = Arc::downgrade(&listener.queue);
        let other = events.listen(EventMask::ALL, 1).unwrap();
        drop(listener);
        assert!(queue.upgrade().is_none());
        drop(other);
        events.send(|mask| mask.new, || unreachable!("nobody listens"));
    }

    #[test]
    fn listeners_are_limited() {
        let events = Events::default();
        let listen = || events.listen(EventMask::ALL, 1);
        let mut listeners: Vec<_> = (0..MAX_LISTENERS).map(|_| listen().unwrap()).collect();
        assert_eq!(listen().map(|_| ()), Err(TooManyListeners));
        listeners.pop();
        assert!(listen().is_ok());
    }
}
