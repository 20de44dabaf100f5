// SPDX-License-Identifier: GPL-2.0

//! The mailbox: a ring of messages to the control plane (ATQ) and a ring of buffers for its replies
//! (ARQ).
//!
//! One message is in flight at a time: the sender waits for the reply.

use adit_uapi::{
    mailbox::{
        flags,
        opcode,
        CtlqDesc,
        MAX_BUF_LEN,
        V_OPCODE_M, //
    },
    regs::{
        pf,
        QueueLen,
        RingRegs, //
    },
    virtchnl2::op,
};
use kernel::{
    device::{
        Bound,
        Device, //
    },
    dma::Coherent,
    dma_read,
    dma_write,
    prelude::*,
    time::{
        delay::fsleep,
        Delta,
        Instant,
        Monotonic, //
    },
    transmute, //
};

use crate::registers::Registers;

/// Descriptors of each ring.
const RING_LEN: usize = 32;
/// Timeout of a reply of the control plane.
const TIMEOUT: Delta = Delta::from_secs(10);
/// Polling interval for a reply: the first, and, after doubling, the longest.
const POLL_MIN: Delta = Delta::from_micros(20);
const POLL_MAX: Delta = Delta::from_millis(2);

/// A descriptor in memory that the device reads and writes.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Desc(CtlqDesc);

// SAFETY: `CtlqDesc` consists of little-endian integers: all bit patterns are values.
unsafe impl transmute::FromBytes for Desc {}
// SAFETY: `CtlqDesc` has no padding; its size is that of its fields, which `adit_uapi` asserts.
unsafe impl transmute::AsBytes for Desc {}

/// A ring and its buffers, [`MAX_BUF_LEN`] bytes for each descriptor.
struct Ring {
    descs: Coherent<[Desc]>,
    buffers: Coherent<[u8]>,
    next: usize,
}

impl Ring {
    fn new(dev: &Device<Bound>) -> Result<Self> {
        Ok(Self {
            descs: Coherent::zeroed_slice(dev, RING_LEN, GFP_KERNEL)?,
            buffers: Coherent::zeroed_slice(dev, RING_LEN * MAX_BUF_LEN, GFP_KERNEL)?,
            next: 0,
        })
    }

    /// Makes the device use the ring, from its first descriptor on.
    fn enable(&self, regs: &Registers, ring: RingRegs) -> Result {
        let addr = self.descs.dma_handle();
        regs.write(ring.head, 0)?;
        regs.write(ring.tail, 0)?;
        // CAST: the two halves of an address.
        regs.write(ring.bal, addr as u32)?;
        regs.write(ring.bah, (addr >> 32) as u32)?;
        // CAST: a small constant, which fits its field.
        regs.write(ring.len, QueueLen::enabled(RING_LEN as u32))
    }

    /// Writes descriptor `index`, with the address of its buffer.
    fn put(&self, index: usize, mut desc: CtlqDesc) -> Result {
        // CAST: both lengths are small constants.
        desc.set_addr(self.buffers.dma_handle() + (index * MAX_BUF_LEN) as u64);
        dma_write!(self.descs, [try: index], Desc(desc));
        Ok(())
    }

    /// Returns the buffer of descriptor `index`.
    fn buffer(&self, index: usize) -> Result<*mut u8> {
        if index >= RING_LEN {
            return Err(ERANGE);
        }
        // SAFETY: `index` is below the number of buffers, so the result is in the allocation.
        Ok(unsafe {
            self.buffers
                .as_mut_ptr()
                .cast::<u8>()
                .add(index * MAX_BUF_LEN)
        })
    }

    fn advance(&mut self) {
        self.next = (self.next + 1) % RING_LEN;
    }
}

/// A reply of the control plane.
pub(crate) struct Reply {
    /// See [`adit_uapi::virtchnl2::status`].
    pub(crate) status: u32,
    /// The payload.
    pub(crate) payload: KVVec<u8>,
}

/// The mailbox of a function that has been reset.
pub(crate) struct Mailbox {
    to_device: Ring,
    from_device: Ring,
    cookie: u16,
    /// Set after a message got no reply: later messages match no request.
    lost: bool,
}

impl Mailbox {
    /// Sets the rings up and enables them.
    pub(crate) fn new(dev: &Device<Bound>, regs: &Registers) -> Result<Self> {
        let mailbox = Self {
            to_device: Ring::new(dev)?,
            from_device: Ring::new(dev)?,
            cookie: 0,
            lost: false,
        };
        for index in 0..RING_LEN {
            mailbox.post_buffer(index)?;
        }
        mailbox.to_device.enable(regs, pf::ATQ)?;
        mailbox.from_device.enable(regs, pf::ARQ)?;
        // All buffers but one are the device's; the last one stays ours, so that the ring is never
        // full.
        // CAST: a small constant.
        regs.write(pf::ARQ.tail, RING_LEN as u32 - 1)?;
        Ok(mailbox)
    }

    /// Sends a message and waits for its reply.
    ///
    /// Fails with `EIO` if the function was reset before or meanwhile, and with `ETIMEDOUT` if
    /// there was no reply; no further message is sent then. A failure with `ENOMEM` has sent none.
    pub(crate) fn transact(&mut self, regs: &Registers, op: u32, request: &[u8]) -> Result<Reply> {
        if self.lost {
            return Err(EIO);
        }
        if !regs.mailbox_alive()? {
            self.lost = true;
            return Err(EIO);
        }
        // Before it is sent: once it is, only the reply tells whether it was executed.
        let mut payload = KVVec::with_capacity(MAX_BUF_LEN, GFP_KERNEL)?;
        self.cookie = self.cookie.wrapping_add(1);
        self.send(regs, op, request)?;
        let start: Instant<Monotonic> = Instant::now();
        let mut interval = POLL_MIN;
        loop {
            while let Some(desc) = self.receive(regs, Some(&mut payload))? {
                if desc.v_opcode() == op && desc.sw_cookie.get() == self.cookie {
                    return Ok(Reply {
                        status: desc.v_retval.get(),
                        payload,
                    });
                }
            }
            if !regs.mailbox_alive()? {
                self.lost = true;
                return Err(EIO);
            }
            if start.elapsed() > TIMEOUT {
                self.lost = true;
                return Err(ETIMEDOUT);
            }
            fsleep(interval);
            interval =
                Delta::from_micros((interval.as_micros_ceil() * 2).min(POLL_MAX.as_micros_ceil()));
        }
    }

    /// Returns whether the device has stopped replying: only a reset helps.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost
    }

    /// Receives the unsolicited messages of the device; returns the number of events among them.
    pub(crate) fn drain(&mut self, regs: &Registers) -> Result<usize> {
        let mut count = 0;
        while let Some(desc) = self.receive(regs, None)? {
            if desc.v_opcode() == op::EVENT {
                count += 1;
            }
        }
        Ok(count)
    }

    fn send(&mut self, regs: &Registers, op: u32, request: &[u8]) -> Result {
        if request.len() > MAX_BUF_LEN {
            return Err(EMSGSIZE);
        }
        let index = self.to_device.next;
        let buffer = self.to_device.buffer(index)?;
        // SAFETY: The buffer has `MAX_BUF_LEN` bytes, which is not less than the request's length,
        // and does not overlap it. The device does not read it: every earlier message was answered,
        // and the tail has not been moved past this one's descriptor yet.
        unsafe { core::ptr::copy_nonoverlapping(request.as_ptr(), buffer, request.len()) };
        let mut desc = CtlqDesc::default();
        if !request.is_empty() {
            desc.flags = (flags::BUF | flags::RD).into();
        }
        desc.opcode = opcode::SEND_MSG_TO_CP.into();
        // CAST: at most `MAX_BUF_LEN`, checked above.
        desc.datalen = (request.len() as u16).into();
        desc.v_opcode_dtype = (op & V_OPCODE_M).into();
        desc.sw_cookie = self.cookie.into();
        self.to_device.put(index, desc)?;
        self.to_device.advance();
        // CAST: below the ring's length.
        regs.write(pf::ATQ.tail, self.to_device.next as u32)
    }

    /// Returns the next message from the device, if there is one, and replaces `payload`, which has
    /// a capacity of [`MAX_BUF_LEN`], by its payload; its buffer is posted again.
    fn receive(
        &mut self,
        regs: &Registers,
        payload: Option<&mut KVVec<u8>>,
    ) -> Result<Option<CtlqDesc>> {
        let index = self.from_device.next;
        let desc: Desc = dma_read!(self.from_device.descs, [try: index]);
        if desc.0.flags.get() & flags::DD == 0 {
            return Ok(None);
        }
        // SAFETY: A barrier; it has no requirements. Data that the device wrote before DD is read
        // after it.
        unsafe { adit_bindings::adit_dma_rmb() };
        let desc: Desc = dma_read!(self.from_device.descs, [try: index]);
        let len = usize::from(desc.0.datalen.get()).min(MAX_BUF_LEN);
        if let Some(payload) = payload {
            // SAFETY: The buffer has `MAX_BUF_LEN` bytes, `len` is not more, and the device is done
            // with it until it is posted again below.
            let bytes =
                unsafe { core::slice::from_raw_parts(self.from_device.buffer(index)?, len) };
            payload.clear();
            payload.extend_from_slice(bytes, GFP_KERNEL)?;
        }
        self.from_device.advance();
        self.post_buffer(index)?;
        // CAST: below the ring's length.
        regs.write(pf::ARQ.tail, index as u32)?;
        Ok(Some(desc.0))
    }

    fn post_buffer(&self, index: usize) -> Result {
        let desc = CtlqDesc {
            flags: (flags::BUF | flags::RD).into(),
            // CAST: a small constant.
            datalen: (MAX_BUF_LEN as u16).into(),
            ..CtlqDesc::default()
        };
        self.from_device.put(index, desc)
    }
}
