// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The data path's side of a client: its filter, its rate, and the bounded queue of its packets.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::Arc;

use tokio::sync::mpsc;

use crate::filter::Filter;
use crate::record::Record;
use crate::seen::Seen;

/// The largest number of packets in a second, and the default.
pub const MAX_RATE: u32 = 1000;
/// The number of packets in a second for a client that names none.
pub const DEFAULT_RATE: u32 = 100;
/// The number of packets that wait for a client: of at most about 128 KiB each.
const QUEUE: usize = 32;
const SECOND_NS: u64 = 1_000_000_000;

/// A limit on packets in a second. What was not used in a second is lost.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    most: u32,
    since_ns: u64,
    used: u32,
}

impl Rate {
    /// A limit of `most` packets in each second.
    #[must_use]
    pub fn new(most: u32) -> Rate {
        Rate {
            most,
            since_ns: 0,
            used: 0,
        }
    }

    /// Takes a packet's place in the second of `now_ns`; returns false if there is none.
    pub fn take(&mut self, now_ns: u64) -> bool {
        if now_ns.saturating_sub(self.since_ns) >= SECOND_NS {
            (self.since_ns, self.used) = (now_ns, 0);
        }
        let has_place = self.used < self.most;
        self.used += u32::from(has_place);
        has_place
    }
}

/// The data path's side of a client.
#[derive(Debug)]
pub struct Watcher {
    filter: Filter,
    /// Those of which a packet may pass one instead.
    further: Vec<Filter>,
    rate: Rate,
    /// The number of packets that are still wanted.
    left: u64,
    queue: mpsc::Sender<Arc<Record>>,
    lost: Arc<AtomicU64>,
}

/// The service's side of a client.
#[derive(Debug)]
pub struct Received {
    /// Its packets.
    pub queue: mpsc::Receiver<Arc<Record>>,
    lost: Arc<AtomicU64>,
    /// The number of lost ones that has been reported.
    reported: u64,
}

impl Received {
    /// The number of packets that were lost since the last call.
    pub fn lost(&mut self) -> u64 {
        let all = self.lost.load(Relaxed);
        let new = all - self.reported;
        self.reported = all;
        new
    }
}

impl Watcher {
    /// Creates both sides of a client that wants `count` packets (0: any number), at most `rate` in
    /// a second.
    #[must_use]
    pub fn new(filter: Filter, count: u64, rate: u32) -> (Watcher, Received) {
        let (queue, received) = mpsc::channel(QUEUE);
        let lost = Arc::new(AtomicU64::new(0));
        let watcher = Watcher {
            filter,
            further: Vec::new(),
            rate: Rate::new(rate),
            left: if count == 0 { u64::MAX } else { count },
            queue,
            lost: lost.clone(),
        };
        let received = Received {
            queue: received,
            lost,
            reported: 0,
        };
        (watcher, received)
    }

    /// The client, which wants packets that pass one of these filters as well.
    #[must_use]
    pub fn or(self, further: Vec<Filter>) -> Watcher {
        Watcher { further, ..self }
    }

    /// Returns whether a frame passes a filter.
    #[must_use]
    pub fn passes(&self, seen: &Seen<'_>) -> bool {
        let mut all = [&self.filter].into_iter().chain(&self.further);
        self.left > 0 && all.any(|filter| filter.passes(seen))
    }

    /// Takes a place for a frame that passes, in the watcher's rate and in its queue; counts the
    /// frame as lost if there is none.
    pub fn take(&mut self, now_ns: u64) -> bool {
        let has_place = self.queue.capacity() > 0 && self.rate.take(now_ns);
        if !has_place {
            self.lose();
        }
        has_place
    }

    /// Counts a packet that passes as lost.
    pub fn lose(&self) {
        self.lost.fetch_add(1, Relaxed);
    }

    /// Queues a packet for the client.
    pub fn give(&mut self, record: &Arc<Record>) {
        if self.left == 0 {
            return;
        }
        match self.queue.try_send(record.clone()) {
            Ok(()) => self.left -= 1,
            Err(_) => self.lose(),
        }
    }

    /// Returns whether it wants no further packet: it has had all, or the client is gone.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.left == 0 || self.queue.is_closed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_that_of_each_second() {
        let mut rate = Rate::new(2);
        let taken = |rate: &mut Rate, now| (0..4).filter(|_| rate.take(now)).count();
        assert_eq!(taken(&mut rate, 5 * SECOND_NS), 2);
        assert_eq!(taken(&mut rate, 6 * SECOND_NS - 1), 0);
        assert_eq!(taken(&mut rate, 6 * SECOND_NS), 2);
        assert_eq!(taken(&mut rate, 60 * SECOND_NS), 2);
    }

    #[test]
    fn what_finds_no_place_is_counted_once() {
        let (mut watcher, mut received) = Watcher::new(Filter::default(), 0, 3);
        let taken = (0..5).filter(|_| watcher.take(SECOND_NS)).count();
        assert_eq!((taken, received.lost(), received.lost()), (3, 2, 0));
        let (mut watcher, mut received) = Watcher::new(Filter::default(), 0, MAX_RATE);
        let record = Arc::new(Record::default());
        for _ in 0..QUEUE {
            assert!(watcher.take(SECOND_NS));
            watcher.give(&record);
        }
        assert!(!watcher.take(SECOND_NS));
        watcher.give(&record);
        assert_eq!(received.lost(), 2);
        assert!(!watcher.is_done());
    }

    #[test]
    fn one_of_several_filters_is_enough() {
        let of = |ether_type| {
            let message = crate::proto::Filter {
                ether_type: Some(ether_type),
                ..Default::default()
            };
            Filter::try_from(&message).expect("a filter")
        };
        let (watcher, _received) = Watcher::new(of(0x806), 0, 1);
        let watcher = watcher.or(vec![of(0x88b5), of(0x88b6)]);
        let passes = |ether_type: u16| {
            let mut frame = vec![2; 60];
            frame[12..14].copy_from_slice(&ether_type.to_be_bytes());
            watcher.passes(&Seen::new(0, &frame, None).expect("an Ethernet header"))
        };
        assert!(passes(0x806) && passes(0x88b5) && passes(0x88b6));
        assert!(!passes(0x88b7));
    }

    #[test]
    fn it_is_done_after_its_packets_and_without_its_client() {
        let (mut watcher, mut received) = Watcher::new(Filter::default(), 1, 3);
        let record = Arc::new(Record::default());
        watcher.give(&record);
        watcher.give(&record);
        assert!(watcher.is_done());
        assert!(received.queue.try_recv().is_ok() && received.queue.try_recv().is_err());
        assert_eq!(received.lost(), 0);
        let (watcher, received) = Watcher::new(Filter::default(), 0, 3);
        drop(received);
        assert!(watcher.is_done());
    }
}
