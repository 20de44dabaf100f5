// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The part of an environment that a worker owns.

use std::sync::Arc;

use adit_conntrack::{Checksums, ConnectionRef, Time, Tracker};
use adit_p4_frontend::ir::Program;

use super::own_counts::OwnCounts;
use super::reached::Reached;
use super::requests::{Extra, Requests};
use crate::p4::connections::{PreparedPacket, TrackedPacket};
use crate::p4::externs::Operand;
use crate::p4::hash::{Algorithm, Hashes};
use crate::p4::objects::Count;
use crate::p4::packet::Writer;
use crate::p4::packets::{Input, NO_QUEUE};
use crate::p4::tables::{Hit, Plan, StagedLookup, Table};
use crate::p4::trace::Trace;
use crate::reject::Rejection;

/// A worker's state for the current packet: results of calls, and working memory.
pub(in crate::p4) struct Local {
    pub(super) worker: usize,
    /// The table applied last, and the entry hit; in memory of its own, since machine code writes it.
    pub(in crate::p4) applied: Box<Reached>,
    /// The worker's counts, by object.
    pub(in crate::p4) counts: Box<[OwnCounts]>,
    /// The group that a selector has looked up last, and the flow's hash.
    pub(super) selected: (u32, u64),
    /// The key looked up last; it has room for each table's.
    pub(in crate::p4) key: Box<[u64]>,
    /// Intermediate results of a pending lookup.
    pub(super) staged: StagedLookup,
    pub(in crate::p4) now_ns: u64,
    pub(in crate::p4) requests: Requests,
    /// The rejection of the packet, if the program has called for one with more than `reject`.
    pub(in crate::p4) rejection: Rejection,
    /// Set while the answer to the packet goes through the program in its place.
    pub(in crate::p4) is_answer: bool,
    /// Requests of a PNA program beside the destination.
    pub(in crate::p4) extras: Vec<Extra>,
    pub(in crate::p4) checksum_error: bool,
    pub(in crate::p4) assertion_failed: bool,
    /// The transmit queue of the current packet.
    pub(in crate::p4) input_queue: u16,
    /// The length of the largest fragment that it came in; 0 if it came whole.
    pub(in crate::p4) fragment_size: u16,
    /// The length of the current packet as received.
    length: u64,
    /// The number of packets that it counts as, and the total bytes of headers that these have
    /// beyond its own.
    packets: u64,
    more_headers: u64,
    /// The connection tracker, if the program has a `Conntrack`.
    pub(in crate::p4) tracker: Option<Arc<Tracker>>,
    /// The packet that is about to be tracked.
    pub(in crate::p4) prepared: Option<PreparedPacket>,
    /// The packet that was tracked last in this pass.
    pub(in crate::p4) tracked: Option<TrackedPacket>,
    /// The state of the current packet's checksums.
    pub(super) packet_checksums: Checksums,
    /// Input of `Checksum` objects for this packet, by object; and the objects of that type.
    pub(super) checksums: Vec<Vec<u8>>,
    checksum_objects: Vec<usize>,
    /// Sums of `InternetChecksum` objects, by object; and the objects of that type.
    pub(in crate::p4) sums: Vec<u64>,
    sum_objects: Vec<usize>,
    pub(super) random: u64,
    writer: Writer,
    pub(super) bytes: Vec<u8>,
    /// The trace of the packet, if the program is traced.
    pub(in crate::p4) trace: Trace,
}

impl Local {
    pub(in crate::p4) fn new(
        program: &Program,
        worker: usize,
        counts: Box<[OwnCounts]>,
        tracker: Option<Arc<Tracker>>,
    ) -> Local {
        let named = |kind| {
            let each = program.externs.iter().enumerate();
            let such = each.filter(move |(_, instance)| instance.kind == kind);
            such.map(|(n, _)| n).collect()
        };
        let plans = program.tables.iter().filter_map(Plan::of);
        let longest = plans.map(|plan| plan.length()).max();
        Local {
            checksum_objects: named("Checksum"),
            sum_objects: named("InternetChecksum"),
            worker,
            counts,
            applied: Box::default(),
            selected: (0, 0),
            key: vec![0; longest.unwrap_or(0)].into(),
            staged: StagedLookup::default(),
            now_ns: 0,
            requests: Requests::default(),
            rejection: Rejection::default(),
            is_answer: false,
            extras: Vec::new(),
            checksum_error: false,
            assertion_failed: false,
            input_queue: NO_QUEUE,
            fragment_size: 0,
            length: 0,
            packets: 1,
            more_headers: 0,
            tracker,
            prepared: None,
            tracked: None,
            packet_checksums: Checksums::Unknown,
            checksums: vec![Vec::new(); program.externs.len()],
            sums: vec![0; program.externs.len()],
            random: 0x9e37_79b9_7f4a_7c15 ^ (worker as u64) << 32,
            writer: Writer::default(),
            bytes: Vec::new(),
            trace: Trace::default(),
        }
    }

    /// Sets the number of packets that the current packet counts as, the state of its checksums, and
    /// the queue that it was sent from.
    #[inline]
    pub(in crate::p4) fn set_attributes(&mut self, input: &Input<'_>) {
        self.packet_checksums = match input.checksums_verified {
            true => Checksums::Valid,
            false => Checksums::Unknown,
        };
        self.input_queue = input.queue;
        self.fragment_size = input.fragment_size;
        self.packets = input.on_wire.frames;
        self.more_headers = input.on_wire.bytes.saturating_sub(input.length as u64);
    }

    /// The attributes of what was inside of the current packet: what is known of the fragments and the
    /// checksums of this is not about it, unless the checksum that is still to be computed is its own.
    pub(in crate::p4) fn set_inner(&mut self, is_pending: bool) {
        self.fragment_size = 0;
        if !is_pending {
            self.packet_checksums = Checksums::Unknown;
        }
    }

    /// The number of packets that the current packet counts as.
    pub(in crate::p4) fn segments(&self) -> u64 {
        self.packets.min(u16::MAX.into())
    }

    /// The amount by which the current packet increments counters and meters: `bytes` as given by
    /// the program, or its length.
    #[inline]
    pub(in crate::p4) fn weight(&self, bytes: Option<u64>) -> Count {
        Count {
            packets: self.packets,
            bytes: bytes.unwrap_or(self.length + self.more_headers),
        }
    }

    /// Returns the data with which a hit of an entry by the current packet is recorded.
    #[inline]
    pub(super) fn hit(&self) -> Hit {
        Hit {
            worker: self.worker,
            weight: self.weight(None),
            now_ns: self.now_ns,
        }
    }

    /// Prefetches the connection of the packet that is about to be tracked.
    pub(in crate::p4) fn prefetch_connection(&mut self) {
        if let (Some(tracker), Some(prepared)) = (&self.tracker, &mut self.prepared) {
            prepared.prefetch(tracker);
        }
    }

    /// Finds the connection of the packet, whose bytes are `data`, which is about to be tracked for the
    /// first time. To be called right before that.
    pub(in crate::p4) fn locate_connection(&mut self, data: &[u8]) -> Option<ConnectionRef> {
        match (&self.tracker, &mut self.prepared, &self.tracked) {
            (Some(tracker), Some(prepared), None) => {
                prepared.locate(tracker, data, Time::from_nanos(self.now_ns))
            }
            _ => None,
        }
    }

    /// Begins a pass: clears requests and checksums.
    pub(in crate::p4) fn begin(&mut self, length: u64) {
        self.requests = Requests::default();
        self.extras.clear();
        *self.applied = Reached::default();
        self.prepared = None;
        self.tracked = None;
        self.length = length;
        for object in &self.sum_objects {
            self.sums[*object] = 0;
        }
        for object in &self.checksum_objects {
            self.checksums[*object].clear();
        }
    }

    /// The key that was packed for a table.
    #[inline]
    pub(super) fn key_of(&self, table: &Table) -> &[u64] {
        &self.key[..table.key_words()]
    }

    /// Packs a table's key from the frame.
    #[inline]
    pub(super) fn gather_key(&mut self, table: &Table, frame: &[u64]) {
        table.gather(frame, &mut self.key[..table.key_words()]);
    }

    /// Serialises a value to bytes.
    pub(super) fn gather(&mut self, data: &Operand, frame: &[u64]) {
        self.writer.clear();
        data.flat.write(&mut self.writer, data.value(frame));
        self.bytes.clear();
        self.bytes.extend_from_slice(self.writer.bytes());
    }

    /// Serialises a table's selector keys to bytes.
    pub(super) fn gather_selector(&mut self, table: &Table, frame: &[u64]) {
        self.bytes.clear();
        for key in table.selector_keys() {
            // In whole bytes, the highest first, as in a packet.
            for at in (0..key.width.div_ceil(8)).rev() {
                let limb = frame[(key.slot + at / 8) as usize];
                self.bytes.push((limb >> (at % 8 * 8)) as u8);
            }
        }
    }

    pub(super) fn hash(&mut self, hashes: &Hashes, algorithm: Algorithm) -> u64 {
        let mut state = self.random;
        let value = hashes.hash(algorithm, &self.bytes, || next_random(&mut state));
        self.random = state;
        value
    }
}

/// SplitMix64.
pub(super) fn next_random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
