// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A slot: the memory of one connection.
//!
//! Slots are allocated with the table and reused, never freed. A reader that finds a slot through
//! the index may find it reused meanwhile; the generation shows that, as a sequence lock does. What
//! packets change is behind a lock of one byte.

use std::sync::atomic::Ordering;

use super::wheel;
use crate::bits::Status;
use crate::entry::Data;
use crate::sync::{fence, AtomicU16, AtomicU32, AtomicU64, Mutex, MutexGuard};
use crate::time::Time;
use crate::tuple::{icmp_type_in, Direction, Key};

/// The number of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Index(pub(crate) u32);

/// No slot, in links.
pub(crate) const NO_SLOT: u32 = u32::MAX;
/// No list of the timer wheel.
pub(crate) const NO_LIST: u16 = u16::MAX;

/// The use of a slot: odd while a connection is in it, and larger with each change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Generation(u32);

impl Generation {
    const fn is_live(self) -> bool {
        self.0 & 1 == 1
    }
}

/// A connection in the table: a slot and the generation in which it has this connection.
///
/// It may be kept. Once the connection has been removed, the reference finds nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnectionRef {
    pub(crate) index: Index,
    pub(crate) generation: Generation,
}

impl ConnectionRef {
    /// The reference as a number, such as a control plane's protocol carries.
    pub const fn to_bits(self) -> u64 {
        (self.generation.0 as u64) << 32 | self.index.0 as u64
    }

    /// The reference with this number, which need not be one of [`ConnectionRef::to_bits`]: a reference
    /// to no connection finds nothing. Absent if no connection of any tracker has the number.
    pub const fn from_bits(bits: u64) -> Option<Self> {
        let generation = Generation((bits >> 32) as u32);
        if !generation.is_live() {
            return None;
        }
        Some(ConnectionRef {
            index: Index(bits as u32),
            generation,
        })
    }
}

/// The fields of a lookup are side by side: with either key, it touches one or two cache lines.
#[repr(C)]
pub(crate) struct Slot {
    original: [AtomicU64; 5],
    generation: AtomicU32,
    status: AtomicU32,
    /// The end of the timeout, in nanoseconds.
    deadline: AtomicU64,
    reply: [AtomicU64; 5],
    /// The connection's mark.
    pub(crate) mark: AtomicU32,
    /// Neighbours in a list of the timer wheel, under the lock of the shard. `next` also links free
    /// slots.
    pub(super) next: AtomicU32,
    pub(super) previous: AtomicU32,
    /// The list of the timer wheel, which is stored under the lock of the shard.
    pub(super) list: AtomicU16,
    /// The number of the timeout policy.
    pub(crate) policy: AtomicU16,
    data: Mutex<Data>,
}

#[inline]
fn load(words: &[AtomicU64; 5]) -> Key {
    std::array::from_fn(|at| words[at].load(Ordering::Relaxed))
}

impl Slot {
    pub(super) fn new(next: u32) -> Self {
        Slot {
            original: Default::default(),
            generation: AtomicU32::new(0),
            status: AtomicU32::new(0),
            deadline: AtomicU64::new(0),
            reply: Default::default(),
            next: AtomicU32::new(next),
            previous: AtomicU32::new(NO_SLOT),
            list: AtomicU16::new(NO_LIST),
            policy: AtomicU16::new(0),
            mark: AtomicU32::new(0),
            data: Mutex::new(Data::default()),
        }
    }

    /// The generation, if a connection is in the slot.
    pub(super) fn live_generation(&self) -> Option<Generation> {
        let generation = Generation(self.generation.load(Ordering::Acquire));
        generation.is_live().then_some(generation)
    }

    /// Reports whether the slot still has the connection of `generation`, after values have been
    /// read with `Relaxed` loads.
    fn is_unchanged(&self, generation: Generation) -> bool {
        fence(Ordering::Acquire);
        self.generation.load(Ordering::Relaxed) == generation.0
    }

    fn key(&self, direction: Direction) -> &[AtomicU64; 5] {
        match direction {
            Direction::Original => &self.original,
            Direction::Reply => &self.reply,
        }
    }

    /// The generation, if the slot has a connection with this key in `direction`.
    pub(super) fn find(&self, direction: Direction, key: &Key) -> Option<Generation> {
        let generation = self.live_generation()?;
        let equal = self
            .key(direction)
            .iter()
            .zip(key)
            .all(|(word, &wanted)| word.load(Ordering::Relaxed) == wanted);
        (equal && self.is_unchanged(generation)).then_some(generation)
    }

    /// The keys of the connection of `generation`, the original direction's first.
    pub(super) fn keys(&self, generation: Generation) -> Option<[Key; 2]> {
        if self.generation.load(Ordering::Acquire) != generation.0 {
            return None;
        }
        let keys = [load(&self.original), load(&self.reply)];
        self.is_unchanged(generation).then_some(keys)
    }

    /// The keys of the connection in the slot. The caller has locked its data ([`Slot::lock`]), so that it
    /// stays there meanwhile.
    #[inline]
    pub(crate) fn keys_of_locked(&self, _locked: &Data) -> [Key; 2] {
        [&self.original, &self.reply].map(load)
    }

    /// The key of a direction, likewise: loads of words that nobody needs are not optimized away.
    #[inline]
    pub(crate) fn key_of_locked(&self, _locked: &Data, direction: Direction) -> Key {
        load(self.key(direction))
    }

    /// The type of the connection's first message, if it is one of ICMP, likewise.
    #[inline]
    pub(crate) fn icmp_type_of_locked(&self, _locked: &Data) -> u8 {
        icmp_type_in(self.original[4].load(Ordering::Relaxed))
    }

    /// The generation that the next connection in a free slot has.
    pub(super) fn next_generation(&self) -> Generation {
        Generation(self.generation.load(Ordering::Relaxed).wrapping_add(1))
    }

    /// Puts a connection into a free slot, which the caller has taken off the free list; `data` gets what
    /// the slot had. The connection is there when its generation, the slot's next one, is published.
    pub(super) fn occupy(&self, keys: &[Key; 2], status: Status, deadline: Time, data: &mut Data) {
        // Readers of the former connection must see the generation change before these words.
        fence(Ordering::Release);
        for (stored, key) in [&self.original, &self.reply].into_iter().zip(keys) {
            for (word, &value) in stored.iter().zip(key) {
                word.store(value, Ordering::Relaxed);
            }
        }
        self.status.store(status.bits(), Ordering::Relaxed);
        self.deadline.store(deadline.as_nanos(), Ordering::Relaxed);
        self.list.store(NO_LIST, Ordering::Relaxed);
        std::mem::swap(&mut *self.data.lock(), data);
    }

    /// Lets readers find the connection of a slot that was occupied. `generation` is the slot's next
    /// one.
    pub(super) fn publish(&self, generation: Generation) {
        debug_assert!(generation.is_live() && generation == self.next_generation());
        self.generation.store(generation.0, Ordering::Release);
    }

    /// Ends the connection of `generation` and returns its data. The caller has removed it from the
    /// index and owns the slot afterwards.
    pub(super) fn vacate(&self, generation: Generation) -> Data {
        let mut data = self.data.lock();
        debug_assert_eq!(self.generation.load(Ordering::Relaxed), generation.0);
        self.generation
            .store(generation.0.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        std::mem::take(&mut *data)
    }

    /// Locks the data of the connection of `generation`.
    pub(crate) fn lock(&self, generation: Generation) -> Option<MutexGuard<'_, Data>> {
        let data = self.data.lock();
        (self.generation.load(Ordering::Relaxed) == generation.0).then_some(data)
    }

    pub(crate) fn status(&self) -> Status {
        Status::from_bits(self.status.load(Ordering::Relaxed))
    }

    /// Sets bits of the status and returns the former ones.
    pub(crate) fn set_status(&self, bits: Status) -> Status {
        Status::from_bits(self.status.fetch_or(bits.bits(), Ordering::Relaxed))
    }

    pub(crate) fn deadline(&self) -> Time {
        Time::from_nanos(self.deadline.load(Ordering::Relaxed))
    }

    /// The deadline, in one order with the stores of the list.
    pub(super) fn deadline_in_order(&self) -> Time {
        Time::from_nanos(self.deadline.load(Ordering::SeqCst))
    }

    /// Sets the deadline. The caller has the lock of the data, as all that set it.
    pub(crate) fn set_deadline(&self, deadline: Time) {
        self.deadline.store(deadline.as_nanos(), Ordering::SeqCst);
    }

    /// Sets the deadline of a connection, whose data the caller has locked. Returns whether its timer must
    /// move, because the list in which it is will be processed later
    /// ([`Table::rearm`](super::Table::rearm)).
    pub(crate) fn postpone(&self, deadline: Time, now: Time) -> bool {
        if self.deadline() <= deadline {
            // As of most packets. Whoever links the slot by the former deadline looks at it too early.
            self.deadline.store(deadline.as_nanos(), Ordering::Relaxed);
            return false;
        }
        self.set_deadline(deadline);
        !wheel::is_processed_by(self.list.load(Ordering::SeqCst), deadline, now)
    }
}
