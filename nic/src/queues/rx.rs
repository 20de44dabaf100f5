// SPDX-License-Identifier: Apache-2.0 OR MIT
//! RX queues: write frames to buffers and report completions.

use adit_pipeline::checksum::verify::{Check, Verdict};
use adit_uapi::desc::ids::rxdid;
use adit_uapi::desc::rx_flex_adv::{status0_qw1, LEN_HDR_M, LEN_PBUF_M};
use adit_uapi::desc::RxFlexDescAdvNic3;
use zerocopy::IntoBytes;

use super::{BufferQueue, QueueFault, SingleRing};
use crate::dataplane::Ring;
use crate::memory::DmaFault;
use crate::pasid::Dma;

const ENTRY: u64 = RxFlexDescAdvNic3::LEN as u64;

/// Metadata of a frame that is delivered.
#[derive(Clone, Copy, Debug)]
pub struct RxInfo {
    /// The packet type, an index into the table sent by GET_PTYPE_INFO.
    pub ptype: u16,
    /// The RSS hash.
    pub hash: Option<u32>,
    /// The flow ID assigned by a program.
    pub flow_id: Option<u32>,
    /// The result of checksum validation.
    pub verdict: Verdict,
    /// The length of the headers in bytes, at which header split divides the frame.
    pub header_len: usize,
    /// The payload length of each segment, if the frame was coalesced from TCP segments.
    pub rsc_segment_len: Option<u16>,
    /// The two-bit cast type: unicast (0), multicast (1), broadcast (2).
    pub cast: u8,
}

/// The reason that a frame was not delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RxRefusal {
    /// Fewer buffers are posted than the frame needs.
    NoBuffer,
    /// A ring or buffer could not be used: the queue must be stopped.
    Fault(QueueFault),
}

impl<T: Into<QueueFault>> From<T> for RxRefusal {
    fn from(fault: T) -> Self {
        Self::Fault(fault.into())
    }
}

/// A ring of RX completions.
pub struct RxQueue {
    ring: Ring,
    /// The buffer queues from which it takes buffers.
    pub buffer_queues: [Option<u32>; 2],
    /// Set if coalesced TCP segments may be delivered.
    pub rsc: bool,
    /// Set if headers are written to separate buffers.
    pub header_split: bool,
    /// The maximum length in bytes of a frame that was not coalesced.
    pub max_packet_len: u32,
    /// Set if the last frame was not delivered for lack of buffers.
    pub starved: bool,
    /// The ring on which buffers are posted and reported; only in the single queue model.
    pub single: Option<Box<SingleRing>>,
    next: u16,
    generation: bool,
}

impl RxQueue {
    /// A queue to which no frame has been delivered.
    #[must_use]
    pub fn new(
        ring: Ring,
        buffer_queues: [Option<u32>; 2],
        rsc: bool,
        header_split: bool,
        max_packet_len: u32,
    ) -> Self {
        Self {
            ring,
            buffer_queues,
            rsc,
            header_split,
            max_packet_len,
            starved: false,
            single: None,
            next: 0,
            generation: true,
        }
    }

    /// A queue of the single queue model to which no frame has been delivered.
    #[must_use]
    pub fn new_single(ring: Ring, buffer_len: u32, max_packet_len: u32) -> Self {
        Self {
            single: Some(Box::new(SingleRing::new(ring, buffer_len))),
            ..Self::new(ring, [None, None], false, false, max_packet_len)
        }
    }

    /// Writes a frame to buffers and reports it. The frame is delivered as a whole or not at all,
    /// unless a memory access fails midway.
    ///
    /// `pools` are this queue's buffer queues with their tails, in the order of
    /// [`buffer_queues`](Self::buffer_queues).
    ///
    /// # Errors
    /// Fails when there are too few buffers (with no effect), or memory is not accessible.
    pub fn deliver(
        &mut self,
        mem: &impl Dma,
        pools: [Option<(&mut BufferQueue, u32)>; 2],
        frame: &[u8],
        info: &RxInfo,
    ) -> Result<(), RxRefusal> {
        let [a, b] = pools;
        let mut pools = [Pool::new(a)?, Pool::new(b)?];
        let split_capacity = pools
            .iter()
            .flatten()
            .map(|p| p.header_len)
            .min()
            .unwrap_or(0);
        let (header, overflow) = if !self.header_split {
            (0, false)
        } else if info.header_len <= split_capacity {
            (info.header_len, false)
        } else {
            (0, true)
        };
        let mut payload = frame.get(header..).unwrap_or_default();
        // Every buffer but the last is filled, so this capacity is sufficient.
        let capacity: usize = pools.iter().flatten().map(Pool::capacity).sum();
        if capacity == 0 || capacity < payload.len() {
            return Err(RxRefusal::NoBuffer);
        }

        let template = self.template(info);
        let mut first = true;
        loop {
            let which = choose(&pools, payload.len());
            let Some(pool) = &mut pools[which] else {
                return Err(RxRefusal::NoBuffer);
            };
            let buffer = pool.queue.take(mem, pool.tail)?;
            pool.left -= 1;
            let (piece, rest) = payload.split_at(payload.len().min(pool.buffer_len));
            mem.write(buffer.pkt_addr.get(), piece)?;
            let mut done = template;
            done.buf_id = buffer.buf_id;
            done.set_pktlen_gen_bufq_id(piece.len() as u16, self.generation, which == 1);
            if first && overflow {
                done.status_err0_qw1 |= status0_qw1::HBO;
            }
            if first && header != 0 {
                mem.write(buffer.hdr_addr.get(), &frame[..header])?;
                done.set_split_header(header as u16);
            }
            if rest.is_empty() {
                done.status_err0_qw1 |= status0_qw1::EOF;
            }
            self.publish(mem, &done)?;
            if rest.is_empty() {
                return Ok(());
            }
            (payload, first) = (rest, false);
        }
    }

    /// The index of the next entry, and the generation bit that is written there. In the single queue
    /// model entries have none.
    #[must_use]
    pub fn position(&self) -> (u16, bool) {
        match &self.single {
            Some(ring) => (ring.next(), false),
            None => (self.next, self.generation),
        }
    }

    /// Continues at another entry, which is below the length of the ring.
    pub fn set_position(&mut self, next: u16, generation: bool) {
        match &mut self.single {
            Some(ring) => ring.set_next(next),
            None => (self.next, self.generation) = (next, generation),
        }
    }

    /// The fields that all completions of a frame have in common.
    fn template(&self, info: &RxInfo) -> RxFlexDescAdvNic3 {
        let mut d = RxFlexDescAdvNic3::default();
        d.set_rxdid(rxdid::FLEX);
        d.rxdid_ucast |= info.cast << 6;
        d.set_ptype(info.ptype);
        d.set_raw_csum_inv(true);
        d.status_err0_qw1 = status0_qw1::DD | checksum_bits(info.verdict);
        if let Some(hash) = info.hash {
            d.set_hash(hash);
        }
        if let Some(id) = info.flow_id {
            d.set_flow_id(id);
        }
        if let Some(len) = info.rsc_segment_len {
            d.set_rsc(len);
        }
        d
    }

    fn publish(&mut self, mem: &impl Dma, done: &RxFlexDescAdvNic3) -> Result<(), DmaFault> {
        let at = self.ring.base.wrapping_add(u64::from(self.next) * ENTRY);
        let bytes = done.as_bytes();
        // The first eight bytes hold the generation bit: they are written last, atomically.
        mem.write(at.wrapping_add(8), &bytes[8..])?;
        let mut first = [0; 8];
        first.copy_from_slice(&bytes[..8]);
        mem.publish_u64(at, u64::from_le_bytes(first))?;
        self.next += 1;
        if self.next >= self.ring.len {
            self.next = 0;
            self.generation = !self.generation;
        }
        Ok(())
    }
}

/// One of the buffer queues that a frame may be written to. Their buffers may differ in size: Linux
/// makes those of the second queue half as large, for small frames and the ends of large ones.
struct Pool<'a> {
    queue: &'a mut BufferQueue,
    tail: u32,
    left: usize,
    buffer_len: usize,
    header_len: usize,
}

impl<'a> Pool<'a> {
    fn new(pool: Option<(&'a mut BufferQueue, u32)>) -> Result<Option<Self>, QueueFault> {
        let Some((queue, tail)) = pool else {
            return Ok(None);
        };
        let left = usize::from(queue.available(tail)?);
        let buffer_len = queue.buffer_len().min(u32::from(LEN_PBUF_M)) as usize;
        let header_len = usize::from(queue.header_len().min(LEN_HDR_M));
        Ok(Some(Self {
            queue,
            tail,
            left,
            buffer_len,
            header_len,
        }))
    }

    /// The capacity of all its buffers in bytes.
    fn capacity(&self) -> usize {
        self.left * self.buffer_len
    }
}

/// Selects the pool for the next piece: the one with the smallest buffers that hold all the
/// remaining bytes, or else the one with the largest buffers.
fn choose(pools: &[Option<Pool<'_>>; 2], len: usize) -> usize {
    match pools {
        [Some(a), Some(b)] if a.left > 0 && b.left > 0 => {
            if a.buffer_len == b.buffer_len {
                return usize::from(b.left > a.left);
            }
            let b_is_smaller = b.buffer_len < a.buffer_len;
            let smaller = if b_is_smaller { b } else { a };
            usize::from((len <= smaller.buffer_len) == b_is_smaller)
        }
        [Some(a), _] if a.left > 0 => 0,
        _ => 1,
    }
}

/// Returns the checksum status bits: L3L4P if checksums were validated, and an error bit for each
/// that is wrong.
pub(super) fn checksum_bits(verdict: Verdict) -> u8 {
    let mut bits = 0;
    if matches!(verdict.l4, Check::Ok | Check::Bad) || verdict.ip == Check::Bad {
        bits |= status0_qw1::L3L4P;
    }
    if verdict.ip == Check::Bad {
        bits |= status0_qw1::XSUM_IPE;
    }
    if verdict.l4 == Check::Bad {
        bits |= status0_qw1::XSUM_L4E;
    }
    bits
}
