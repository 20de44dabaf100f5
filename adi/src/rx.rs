// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The RX queue: two rings of buffers, and a ring of completions.

use adit_uapi::desc::rx_flex_adv::{status0_qw0, status0_qw1};
use adit_uapi::desc::{RxFlexDescAdvNic3, SplitqRxBufDesc};
use zerocopy::little_endian::{U16, U64};
use zerocopy::{transmute, FromZeros};

use crate::doorbell::Doorbell;
use crate::pool::{Checksum, RxInfo};
use crate::ring::{next, Cursor, Ring};
use crate::{Buffer, Error, Pool};

/// Counters of an RX queue since it was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RxStats {
    /// The number of frames received.
    pub frames: u64,
    /// The number of bytes of received frames.
    pub bytes: u64,
    /// The number of frames dropped because they were longer than one buffer.
    pub fragmented: u64,
    /// The number of times that no buffer was free to be posted.
    pub starved: u64,
    /// The number of times that the device had to be woken.
    pub kicks: u64,
}

/// A ring of empty buffers.
pub(crate) struct BufferQueue {
    ring: Ring<4>,
    doorbell: Doorbell,
    /// The buffers owned by the device, by ring entry; the entry is also the buffer's ID in
    /// completions.
    posted: Box<[Option<Buffer>]>,
    tail: u16,
    count: u16,
}

impl BufferQueue {
    pub(crate) fn new(ring: Ring<4>, doorbell: Doorbell) -> Self {
        let posted = (0..ring.len()).map(|_| None).collect();
        Self {
            ring,
            doorbell,
            posted,
            tail: 0,
            count: 0,
        }
    }

    pub(crate) fn ring(&self) -> &Ring<4> {
        &self.ring
    }

    /// Posts buffers until the ring is full. Returns `false` when the pool had too few.
    fn fill(&mut self, pool: &Pool) -> bool {
        let before = self.tail;
        let mut enough = true;
        // One entry stays empty, so that a full ring differs from an empty one. The loop ends at an
        // entry whose buffer has not been returned yet, because a later one completed first.
        while self.count < self.ring.len() - 1 {
            let slot = &mut self.posted[usize::from(self.tail)];
            if slot.is_some() {
                break;
            }
            let Some(buffer) = pool.alloc() else {
                enough = false;
                break;
            };
            let desc = SplitqRxBufDesc {
                buf_id: U16::new(self.tail),
                pkt_addr: U64::new(buffer.iova()),
                ..SplitqRxBufDesc::new_zeroed()
            };
            *slot = Some(buffer);
            self.ring.store(self.tail, transmute!(desc));
            self.tail = next(self.tail, self.ring.len());
            self.count += 1;
        }
        if self.tail != before {
            self.doorbell.ring(self.tail);
        }
        enough
    }

    fn take(&mut self, id: u16) -> Option<Buffer> {
        let buffer = self.posted.get_mut(usize::from(id))?.take()?;
        self.count -= 1;
        Some(buffer)
    }
}

/// A queue that receives frames.
pub struct RxQueue {
    ring: Ring<4>,
    buffers: [BufferQueue; 2],
    pool: Pool,
    done: Cursor,
    /// Set in the middle of a frame of several buffers, which is dropped to its end.
    skipping: bool,
    stats: RxStats,
}

impl RxQueue {
    pub(crate) fn new(ring: Ring<4>, buffers: [BufferQueue; 2], pool: Pool) -> Self {
        // Each posted buffer has at most one completion, so a ring of that length never overflows.
        let posted: u16 = buffers.iter().map(|b| b.ring.len()).sum();
        assert!(ring.len() >= posted);
        Self {
            ring,
            buffers,
            pool,
            done: Cursor::new(),
            skipping: false,
            stats: RxStats::default(),
        }
    }

    pub(crate) fn ring(&self) -> &Ring<4> {
        &self.ring
    }

    pub(crate) fn buffers(&self) -> &[BufferQueue; 2] {
        &self.buffers
    }

    /// Appends up to `max` received frames to `frames`, and posts new buffers for them. Returns
    /// their number. Allocates nothing if `frames` has enough capacity.
    ///
    /// # Errors
    /// Fails with [`Error::Ring`] when the device has violated the rules of its rings.
    pub fn receive(&mut self, frames: &mut Vec<Buffer>, max: usize) -> Result<usize, Error> {
        let mut count = 0;
        let mut result = Ok(());
        while count < max {
            let Some(desc) = self.completion() else { break };
            let entry = self.done.at;
            self.done.advance(self.ring.len());
            let Some(mut buffer) =
                self.buffers[usize::from(desc.bufq_id())].take(desc.buf_id.get())
            else {
                result = Err(Error::Ring {
                    ring: "RX",
                    entry,
                    reason: "it is about a buffer that the device does not have",
                });
                break;
            };
            let last = desc.status_err0_qw1 & status0_qw1::EOF != 0;
            if self.skipping || !last {
                self.stats.fragmented += u64::from(last);
                self.skipping = !last;
                continue;
            }
            let len = usize::from(desc.len_pbuf());
            buffer.received(len, info(&desc));
            self.stats.frames += 1;
            self.stats.bytes += len as u64;
            frames.push(buffer);
            count += 1;
        }
        self.refill();
        result.map(|()| count)
    }

    /// Posts buffers that have become free; [`receive`](Self::receive) does so, too.
    pub fn refill(&mut self) {
        for queue in &mut self.buffers {
            if !queue.fill(&self.pool) {
                self.stats.starved += 1;
            }
        }
    }

    /// Returns whether there is a completion to process.
    pub(crate) fn pending(&self) -> bool {
        self.completion().is_some()
    }

    /// Returns the counters.
    #[must_use]
    pub fn stats(&self) -> RxStats {
        RxStats {
            kicks: self.buffers.iter().map(|b| b.doorbell.kicks()).sum(),
            ..self.stats
        }
    }

    /// Leaks the buffers that the device may still write.
    pub(crate) fn leak(&mut self) {
        for slot in self.buffers.iter_mut().flat_map(|b| b.posted.iter_mut()) {
            std::mem::forget(slot.take());
        }
    }

    fn completion(&self) -> Option<RxFlexDescAdvNic3> {
        let first = self.ring.first(self.done.at);
        let mut words = [0; 4];
        words[0] = first;
        let peek: RxFlexDescAdvNic3 = transmute!(words);
        if peek.generation() != self.done.generation {
            return None;
        }
        let words = self.ring.rest(self.done.at, first);
        Some(transmute!(words))
    }
}

fn info(desc: &RxFlexDescAdvNic3) -> RxInfo {
    let status = desc.status_err0_qw1;
    let checksum = if status & status0_qw1::XSUM_IPE != 0 {
        Checksum::BadIp
    } else if status & status0_qw1::XSUM_L4E != 0 {
        Checksum::BadTransport
    } else if status & status0_qw1::L3L4P != 0 {
        Checksum::Good
    } else {
        Checksum::Unchecked
    };
    RxInfo {
        ptype: desc.ptype(),
        hash: (desc.status_err0_qw0 & status0_qw0::RSS_VALID != 0).then(|| desc.hash()),
        mark: desc.flow_id(),
        checksum,
    }
}
