// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The two rings: requests are taken from one, messages are posted to the other.

use adit_uapi::mailbox::{flags, opcode, CtlqDesc, MAX_BUF_LEN, V_OPCODE_M};
use adit_uapi::virtchnl2::status;
use zerocopy::little_endian::{U16, U32};
use zerocopy::IntoBytes;

use super::queue::Queue;
use super::{
    BadRequest, MailboxCounters, MailboxEvent, MailboxFault, MailboxRing, QueueFault, Reply,
    Request,
};
use crate::layout::{RegisterLayout, RingRegister};
use crate::memory::{Dma, GuestMemory};
use crate::snapshot::RingSnapshot;

/// The two rings and their registers.
#[derive(Debug)]
pub(super) struct Rings {
    layout: RegisterLayout,
    atq: Queue,
    arq: Queue,
    counters: MailboxCounters,
}

impl Rings {
    pub(super) fn new(layout: RegisterLayout) -> Self {
        let queue = |ring| Queue::new(layout.ring_len_mask(ring));
        Self {
            layout,
            atq: queue(MailboxRing::Atq),
            arq: queue(MailboxRing::Arq),
            counters: MailboxCounters::default(),
        }
    }

    /// The layout of the registers.
    pub(super) fn layout(&self) -> RegisterLayout {
        self.layout
    }

    /// Reads the register at `offset` bytes of BAR0; 0 if there is none.
    pub(super) fn read(&self, offset: u32) -> u32 {
        self.register(offset)
            .map_or(0, |(queue, at)| queue.read(at))
    }

    /// Writes the register at `offset` bytes of BAR0. A write to any other offset is ignored.
    pub(super) fn write(&mut self, offset: u32, value: u32) -> MailboxEvent {
        let Some((ring, at)) = self.layout.mailbox_register(offset) else {
            return MailboxEvent::None;
        };
        let queue = match ring {
            MailboxRing::Atq => &mut self.atq,
            MailboxRing::Arq => &mut self.arq,
        };
        if (ring, at) == (MailboxRing::Atq, RingRegister::Len) {
            // A driver sets up a ring without requests, and writes ATQT only with its first one.
            // The tail of the previous ring must not count: a VF's driver resets nothing when it is
            // loaded again. ARQT is kept, because drivers write it before they enable the ring.
            queue.write(RingRegister::Tail, 0);
        }
        match (queue.write(at, value), ring) {
            (false, _) => MailboxEvent::None,
            (true, MailboxRing::Atq) => MailboxEvent::Requests,
            (true, MailboxRing::Arq) => MailboxEvent::Buffers,
        }
    }

    /// The registers of a ring.
    pub(super) fn save(&self, ring: MailboxRing) -> RingSnapshot {
        match ring {
            MailboxRing::Atq => self.atq.save(),
            MailboxRing::Arq => self.arq.save(),
        }
    }

    /// Rings with saved registers and the same counters; the ring whose registers are impossible
    /// otherwise.
    pub(super) fn restored(
        &self,
        atq: &RingSnapshot,
        arq: &RingSnapshot,
    ) -> Result<Self, MailboxRing> {
        Ok(Self {
            layout: self.layout,
            atq: self.atq.restored(atq).ok_or(MailboxRing::Atq)?,
            arq: self.arq.restored(arq).ok_or(MailboxRing::Arq)?,
            counters: self.counters,
        })
    }

    /// The counters.
    pub(super) fn counters(&self) -> &MailboxCounters {
        &self.counters
    }

    /// Resets all registers to zero: Linux takes ARQLEN.len = 0 as a function reset, and never
    /// writes ATQT before its first message. The counters are kept.
    pub(super) fn reset(&mut self) {
        self.atq.reset();
        self.arq.reset();
    }

    /// Takes the driver's next message, if there is one, and completes its descriptor.
    ///
    /// # Errors
    /// Fails when the ring cannot be used; the ring is then stopped.
    pub(super) fn take_request(
        &mut self,
        mem: &GuestMemory,
    ) -> Result<Option<Request>, MailboxFault> {
        let Some((at, desc)) = self.next(MailboxRing::Atq, mem)? else {
            return Ok(None);
        };
        let payload = read_payload(&desc, mem);
        self.counters.requests += 1;
        match &payload {
            Ok(_) => {}
            Err(BadRequest::Opcode(_)) => self.counters.bad_opcode += 1,
            Err(BadRequest::TooLong(_)) => self.counters.too_long += 1,
            Err(BadRequest::NoBuffer(_)) => self.counters.no_buffer += 1,
            Err(BadRequest::Buffer(_)) => self.counters.request_dma_faults += 1,
        }
        let done = CtlqDesc {
            flags: U16::new(desc.flags.get() | flags::DD | flags::CMP),
            ret_val: U16::new(0),
            ..desc
        };
        self.publish(MailboxRing::Atq, mem, at, &done)?;
        let (v_opcode, sw_cookie) = (desc.v_opcode(), desc.sw_cookie.get());
        Ok(Some(Request {
            v_opcode,
            sw_cookie,
            payload,
        }))
    }

    /// Posts a message in the driver's next buffer. Returns `false` if there is none: the caller
    /// must post the message again upon [`MailboxEvent::Buffers`].
    ///
    /// # Errors
    /// Fails when the ring cannot be used; the ring is then stopped.
    pub(super) fn post(&mut self, mem: &GuestMemory, reply: &Reply) -> Result<bool, MailboxFault> {
        let Some((at, desc)) = self.next(MailboxRing::Arq, mem)? else {
            return Ok(false);
        };
        let capacity = match desc.flags.get() & flags::BUF {
            0 => 0,
            _ => usize::from(desc.datalen.get()).min(MAX_BUF_LEN),
        };
        let (mut payload, mut v_retval) = (&reply.payload[..], reply.v_retval);
        if payload.len() > capacity {
            self.counters.buffer_too_small += 1;
            (payload, v_retval) = (&[], failed(v_retval));
        } else if mem.write(desc.addr(), payload).is_err() {
            self.counters.post_dma_faults += 1;
            (payload, v_retval) = (&[], failed(v_retval));
        }
        let with_buffer = if payload.is_empty() {
            0
        } else {
            flags::BUF | flags::RD
        };
        let mut done = CtlqDesc {
            flags: U16::new(flags::DD | flags::CMP | with_buffer),
            // DPDK requires this opcode in received messages; Linux ignores it.
            opcode: U16::new(opcode::SEND_MSG_TO_PEER_DRV),
            datalen: U16::new(payload.len() as u16),
            v_opcode_dtype: U32::new(reply.v_opcode & V_OPCODE_M),
            v_retval: U32::new(v_retval),
            sw_cookie: U16::new(reply.sw_cookie),
            ..CtlqDesc::default()
        };
        done.set_addr(desc.addr());
        self.publish(MailboxRing::Arq, mem, at, &done)?;
        self.counters.posted += 1;
        Ok(true)
    }

    fn register(&self, offset: u32) -> Option<(&Queue, RingRegister)> {
        let (ring, at) = self.layout.mailbox_register(offset)?;
        Some((
            if ring == MailboxRing::Atq {
                &self.atq
            } else {
                &self.arq
            },
            at,
        ))
    }

    fn queue(&mut self, ring: MailboxRing) -> &mut Queue {
        match ring {
            MailboxRing::Atq => &mut self.atq,
            MailboxRing::Arq => &mut self.arq,
        }
    }

    /// Returns the descriptor at the head, if the ring is enabled and not empty.
    fn next(
        &mut self,
        ring: MailboxRing,
        mem: &GuestMemory,
    ) -> Result<Option<(u64, CtlqDesc)>, MailboxFault> {
        let found = self.queue(ring).head(mem);
        found.map_err(|fault| self.stop(ring, fault))
    }

    /// Completes the descriptor at the head: the half with the DD bit is written last.
    fn publish(
        &mut self,
        ring: MailboxRing,
        mem: &GuestMemory,
        at: u64,
        desc: &CtlqDesc,
    ) -> Result<(), MailboxFault> {
        let bytes = desc.as_bytes();
        let (first, rest) = bytes.split_at(8);
        let mut word = [0; 8];
        word.copy_from_slice(first);
        mem.write(at + 8, rest)
            .and_then(|()| mem.publish_u64(at, u64::from_le_bytes(word)))
            .map_err(|fault| self.stop(ring, QueueFault::Dma(fault)))?;
        self.queue(ring).advance();
        Ok(())
    }

    fn stop(&mut self, ring: MailboxRing, fault: QueueFault) -> MailboxFault {
        self.counters.ring_faults += 1;
        self.queue(ring).stop();
        MailboxFault { ring, fault }
    }
}

fn read_payload(desc: &CtlqDesc, mem: &GuestMemory) -> Result<Vec<u8>, BadRequest> {
    let len = desc.datalen.get();
    if desc.opcode.get() != opcode::SEND_MSG_TO_CP {
        return Err(BadRequest::Opcode(desc.opcode.get()));
    }
    if usize::from(len) > MAX_BUF_LEN {
        return Err(BadRequest::TooLong(len));
    }
    if len > 0 && desc.flags.get() & flags::BUF == 0 {
        return Err(BadRequest::NoBuffer(len));
    }
    let mut payload = vec![0; usize::from(len)];
    mem.read(desc.addr(), &mut payload)
        .map_err(BadRequest::Buffer)?;
    Ok(payload)
}

/// The status of a reply whose payload was lost.
fn failed(v_retval: u32) -> u32 {
    if v_retval == status::SUCCESS {
        status::ERR_EIO
    } else {
        v_retval
    }
}
