// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The TX queue: a ring of descriptors and its completions.
//!
//! Queues use queue scheduling: frames are sent in order, and a completion reports the device's
//! head. One is requested for every [`REPORT_EVERY`] frames, so that most frames have no completion, and
//! at the end of each burst, unless the owner does not wait for it ([`Config::lazy_reports`]).
//!
//! [`Config::lazy_reports`]: crate::Config::lazy_reports

use adit_uapi::desc::tx_compl::comp_type;
use adit_uapi::desc::tx_flex::cmd;
use adit_uapi::desc::{FlexTxDesc, SplitqTxComplDesc4b};
use zerocopy::transmute;

use crate::doorbell::Doorbell;
use crate::ring::{next, Cursor, Ring, Ring32};
use crate::{Buffer, Error};

/// The number of frames after which a completion is requested: at most half a ring, so that one is on its
/// way when the ring is full.
const REPORT_EVERY: u16 = 32;

/// Counters of a TX queue since it was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TxStats {
    /// The number of frames passed to the device.
    pub frames: u64,
    /// The number of bytes of these frames.
    pub bytes: u64,
    /// The number of calls of [`TxQueue::send`] that filled the ring.
    pub full: u64,
    /// The number of times that the device had to be woken.
    pub kicks: u64,
}

/// A queue that sends frames.
pub struct TxQueue {
    ring: Ring<2>,
    completions: Ring32,
    doorbell: Doorbell,
    /// The buffers owned by the device, by ring entry.
    in_flight: Box<[Option<Buffer>]>,
    tail: u16,
    head: u16,
    done: Cursor,
    /// Set if the end of a burst is not reported.
    lazy: bool,
    /// Frames since the last one that is reported.
    unreported: u16,
    stats: TxStats,
}

impl TxQueue {
    pub(crate) fn new(ring: Ring<2>, completions: Ring32, doorbell: Doorbell, lazy: bool) -> Self {
        // A completion covers at least one entry, so a ring of that length never overflows.
        assert!(completions.len() >= ring.len());
        let in_flight = (0..ring.len()).map(|_| None).collect();
        Self {
            ring,
            completions,
            doorbell,
            in_flight,
            tail: 0,
            head: 0,
            done: Cursor::new(),
            lazy,
            unreported: 0,
            stats: TxStats::default(),
        }
    }

    pub(crate) fn ring(&self) -> &Ring<2> {
        &self.ring
    }

    pub(crate) fn completions(&self) -> &Ring32 {
        &self.completions
    }

    /// Passes as many frames to the device as fit into the ring. The caller keeps the frames that
    /// are left in `frames`. Returns the number of frames sent.
    ///
    /// # Errors
    /// [`Error::ForeignBuffer`] ends the burst before that buffer, which is dropped;
    /// [`Error::Ring`] means that the device has violated the rules of its rings.
    pub fn send(&mut self, frames: &mut impl Iterator<Item = Buffer>) -> Result<usize, Error> {
        let mut room = self.room();
        if room < self.ring.len() / 2 {
            self.reclaim()?;
            room = self.room();
        }
        let mut sent = 0_u16;
        let mut last = None;
        let mut result = Ok(());
        while sent < room {
            let Some(frame) = frames.next() else { break };
            if !frame.is_in(self.ring.memory()) {
                result = Err(Error::ForeignBuffer);
                break;
            }
            sent += 1;
            self.unreported += 1;
            let mut report = 0;
            if self.unreported == REPORT_EVERY {
                self.unreported = 0;
                report = cmd::RS;
            }
            // The capacity of a buffer is limited to the length field of a descriptor: see
            // `Config`.
            let len = u16::try_from(frame.len()).unwrap_or(u16::MAX);
            let checksum = if frame.completes_checksum() {
                cmd::CS_EN
            } else {
                0
            };
            let desc = FlexTxDesc::new(frame.iova(), cmd::EOP | checksum | report, len);
            self.ring.store(self.tail, transmute!(desc));
            self.stats.frames += 1;
            self.stats.bytes += u64::from(len);
            last = Some((self.tail, frame.iova(), len, checksum));
            self.in_flight[usize::from(self.tail)] = Some(frame);
            self.tail = next(self.tail, self.ring.len());
        }
        if let Some((entry, iova, len, checksum)) = last {
            if !self.lazy {
                // The doorbell for this entry has not been rung yet.
                let desc = FlexTxDesc::new(iova, cmd::EOP | checksum | cmd::RS, len);
                self.ring.store(entry, transmute!(desc));
                self.unreported = 0;
            }
            self.doorbell.ring(self.tail);
        }
        if sent == room {
            self.stats.full += 1;
        }
        result.map(|()| usize::from(sent))
    }

    /// Frees the buffers of frames that the device has sent; [`send`](Self::send) does so when it
    /// needs space. Returns their number.
    ///
    /// # Errors
    /// Fails with [`Error::Ring`] when the device has violated the rules of its rings.
    pub fn reclaim(&mut self) -> Result<usize, Error> {
        let mut freed = 0;
        while let Some(completion) = self.completion() {
            let entry = self.done.at;
            self.done.advance(self.completions.len());
            if completion.comp_type() != comp_type::RS {
                continue;
            }
            let head = completion.q_head_compl_tag.get();
            let count = self.distance(self.head, head);
            if head >= self.ring.len() || count > self.distance(self.head, self.tail) {
                return Err(Error::Ring {
                    ring: "TX completion",
                    entry,
                    reason: "it is about entries that the device does not have",
                });
            }
            while self.head != head {
                self.in_flight[usize::from(self.head)] = None;
                self.head = next(self.head, self.ring.len());
                freed += 1;
            }
        }
        Ok(freed)
    }

    /// Returns the number of frames that the device has not reported as sent.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.distance(self.head, self.tail).into()
    }

    /// Returns the counters.
    #[must_use]
    pub fn stats(&self) -> TxStats {
        TxStats {
            kicks: self.doorbell.kicks(),
            ..self.stats
        }
    }

    /// Leaks the buffers that the device may still read.
    pub(crate) fn leak(&mut self) {
        self.in_flight.iter_mut().for_each(|slot| {
            std::mem::forget(slot.take());
        });
    }

    fn completion(&self) -> Option<SplitqTxComplDesc4b> {
        let word = self.completions.load(self.done.at).to_le_bytes();
        let completion: SplitqTxComplDesc4b = transmute!(word);
        (completion.generation() == self.done.generation).then_some(completion)
    }

    /// Returns the number of free entries. One stays empty, so that a full ring differs from an
    /// empty one.
    fn room(&self) -> u16 {
        self.ring.len() - 1 - self.distance(self.head, self.tail)
    }

    fn distance(&self, from: u16, to: u16) -> u16 {
        if to >= from {
            to - from
        } else {
            self.ring.len() - from + to
        }
    }
}
