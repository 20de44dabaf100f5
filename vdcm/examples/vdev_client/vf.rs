// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The function: mailbox, reset, and the messages of a driver's start.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use adit_uapi::mailbox::{flags, opcode, CtlqDesc, MAX_BUF_LEN};
use adit_uapi::regs::{rstat, vf, QueueLen};
use adit_uapi::virtchnl2::{
    op, AllocVectors, Event, GetCapabilities, VectorChunk, VersionInfo, VERSION_MAJOR_2,
    VERSION_MINOR_0,
};
use anyhow::{bail, ensure, Context, Result};
use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, IntoBytes};

use crate::device::{Device, Memory};

/// The address of the memory that the device has.
pub(crate) const IOVA: u64 = 0x10_0000;
const LEN: u64 = 0x20_0000;
const ATQ: u64 = IOVA;
const ARQ: u64 = IOVA + 0x1000;
const REQUEST: u64 = IOVA + 0x2000;
const REPLIES: u64 = IOVA + 0x1_0000;
/// The number of entries of both rings.
const RING: u64 = 32;
/// The first address that the mailbox does not use.
pub(crate) const FREE: u64 = IOVA + 0x4_0000;
/// The address and length of memory that no queue uses.
const MORE: (u64, u64) = (0x4000_0000, 0x10_0000);
/// The time in which a message must be answered.
const TIMEOUT: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(1);

/// Vendor and device of Intel's composed devices.
const SIOV: [u8; 4] = [0x86, 0x80, 0xD5, 0x0D];

/// The offsets of a ring's registers: base (low, high), length, tail.
struct Ring {
    base: [u64; 2],
    len: u64,
    tail: u64,
}

struct Registers {
    atq: Ring,
    arq: Ring,
}

impl Registers {
    fn vf() -> Self {
        let ring = |low: u32, high: u32, len: u32, tail: u32| Ring {
            base: [low.into(), high.into()],
            len: len.into(),
            tail: tail.into(),
        };
        Self {
            atq: ring(vf::ATQBAL, vf::ATQBAH, vf::ATQLEN, vf::ATQT),
            arq: ring(vf::ARQBAL, vf::ARQBAH, vf::ARQLEN, vf::ARQT),
        }
    }

    fn siov() -> Self {
        let ring = |start| Ring {
            base: [start, start + 4],
            len: start + 8,
            tail: start + 0x10,
        };
        Self {
            atq: ring(0x2_0014),
            arq: ring(0x2_0000),
        }
    }
}

/// A message of the device.
struct Message {
    opcode: u32,
    status: u32,
    cookie: u16,
    payload: Vec<u8>,
}

/// The function.
pub(crate) struct Vf {
    pub(crate) device: Device,
    pub(crate) memory: Memory,
    more: Option<Memory>,
    registers: Registers,
    /// The number of vectors besides the mailbox's.
    vector_count: u16,
    /// The eventfds of the mailbox's vector and of those.
    pub(crate) eventfds: Vec<OwnedFd>,
    /// The first vector besides the mailbox's.
    pub(crate) vectors: VectorChunk,
    capabilities: GetCapabilities,
    /// The next entry of either ring.
    sent: u64,
    received: u64,
    cookie: u16,
    /// The last event that reported the link.
    link: Option<Event>,
}

impl Vf {
    /// Starts the function: memory, interrupts and mailbox.
    pub(crate) fn start(device: Device) -> Result<Self> {
        Self::start_with(device, 1)
    }

    /// Starts the function with this number of vectors besides the mailbox's.
    pub(crate) fn start_with(mut device: Device, vector_count: u16) -> Result<Self> {
        let registers = match device.config::<4>(0)? {
            SIOV => Registers::siov(),
            _ => Registers::vf(),
        };
        let memory = Memory::new(IOVA, LEN)?;
        device.map(&memory)?;
        let eventfds = device.interrupts(1 + u32::from(vector_count))?;
        let mut this = Self {
            device,
            memory,
            more: None,
            registers,
            vector_count,
            eventfds,
            vectors: VectorChunk::default(),
            capabilities: GetCapabilities::default(),
            sent: 0,
            received: 0,
            cookie: 0,
            link: None,
        };
        this.initialise()?;
        Ok(this)
    }

    fn initialise(&mut self) -> Result<()> {
        self.wait_for("the end of the reset", TIMEOUT, |this| {
            let state = this.device.read(vf::GEN_RSTAT.into())?;
            Ok(state != u32::MAX && state & rstat::STATE_M != rstat::IN_PROGRESS)
        })?;
        self.memory.write(ATQ, &[0_u8; 0x2000])?;
        (self.sent, self.received) = (0, 0);
        for entry in 0..RING {
            self.post(entry)?;
        }
        let Registers { atq, arq } = &self.registers;
        // The tail of the ring to the driver is written before it is enabled, as drivers do.
        self.device.write(arq.tail, RING as u32 - 1)?;
        for (ring, at) in [(atq, ATQ), (arq, ARQ)] {
            self.device.write(ring.base[0], at as u32)?;
            self.device.write(ring.base[1], (at >> 32) as u32)?;
            self.device
                .write(ring.len, QueueLen::enabled(RING as u32).0)?;
        }
        let version = VersionInfo {
            major: U32::new(VERSION_MAJOR_2),
            minor: U32::new(VERSION_MINOR_0),
        };
        let reply = self.ok(op::VERSION, version.as_bytes())?;
        ensure!(reply == version.as_bytes(), "another version: {reply:?}");
        let request = GetCapabilities::default();
        let reply = self.ok(op::GET_CAPS, request.as_bytes())?;
        self.capabilities = parse(&reply)?;
        let request = AllocVectors {
            num_vectors: U16::new(self.vector_count),
            ..AllocVectors::default()
        };
        let reply = self.ok(op::ALLOC_VECTORS, request.as_bytes())?;
        self.vectors = parse(reply.get(AllocVectors::LEN..).unwrap_or_default())?;
        Ok(())
    }

    /// Returns what the device is, in words.
    pub(crate) fn describe(&mut self) -> Result<String> {
        let id = self.device.config::<4>(0)?;
        let class = self.device.config::<3>(9)?;
        let express = self.device.capability(0x10)?.is_some();
        let caps = &self.capabilities;
        let mapped = self.device.mapped();
        Ok(format!(
            "id {:02x}{:02x}:{:02x}{:02x} class {:02x}{:02x}{:02x} express {express} mapped {mapped:x?} \
             vports {} rx {} tx {} vectors {}",
            id[1],
            id[0],
            id[3],
            id[2],
            class[2],
            class[1],
            class[0],
            caps.max_vports,
            caps.max_rx_q,
            caps.max_tx_q,
            caps.num_allocated_vectors,
        ))
    }

    /// Posts the buffer of an entry of the ring to the driver.
    fn post(&mut self, entry: u64) -> Result<()> {
        let mut desc = CtlqDesc {
            flags: U16::new(flags::BUF),
            datalen: U16::new(MAX_BUF_LEN as u16),
            ..CtlqDesc::default()
        };
        desc.set_addr(REPLIES + entry * MAX_BUF_LEN as u64);
        self.memory.write(ARQ + entry * CtlqDesc::LEN as u64, &desc)
    }

    /// Sends a message without waiting for a reply.
    fn send(&mut self, opcode: u32, payload: &[u8]) -> Result<()> {
        self.cookie = self.cookie.wrapping_add(1);
        let mut desc = CtlqDesc {
            opcode: U16::new(opcode::SEND_MSG_TO_CP),
            v_opcode_dtype: U32::new(opcode),
            sw_cookie: U16::new(self.cookie),
            ..CtlqDesc::default()
        };
        if !payload.is_empty() {
            ensure!(payload.len() <= MAX_BUF_LEN, "a message too long");
            self.memory.write(REQUEST, payload)?;
            desc.flags = U16::new(flags::BUF | flags::RD);
            desc.datalen = U16::new(payload.len() as u16);
            desc.set_addr(REQUEST);
        }
        self.memory
            .write(ATQ + self.sent * CtlqDesc::LEN as u64, &desc)?;
        self.sent = (self.sent + 1) % RING;
        self.device.write(self.registers.atq.tail, self.sent as u32)
    }

    /// Takes the next message of the device, if there is one.
    fn take(&mut self) -> Result<Option<Message>> {
        let entry = self.received;
        let desc: CtlqDesc = self.memory.read(ARQ + entry * CtlqDesc::LEN as u64)?;
        if desc.flags.get() & flags::DD == 0 {
            return Ok(None);
        }
        ensure!(desc.flags.get() & flags::ERR == 0, "a message with ERR");
        let len = usize::from(desc.datalen.get());
        let payload = match len {
            0 => Vec::new(),
            _ => self.memory.bytes(desc.addr(), len)?,
        };
        self.received = (entry + 1) % RING;
        self.post(entry)?;
        self.device.write(self.registers.arq.tail, entry as u32)?;
        Ok(Some(Message {
            opcode: desc.v_opcode(),
            status: desc.v_retval.get(),
            cookie: desc.sw_cookie.get(),
            payload,
        }))
    }

    /// Sends a message and returns the reply's payload; fails when it is refused.
    pub(crate) fn ok(&mut self, opcode: u32, payload: &[u8]) -> Result<Vec<u8>> {
        self.send(opcode, payload)?;
        let name = || op::name(opcode).unwrap_or("message");
        let end = Instant::now() + TIMEOUT;
        loop {
            match self.take()? {
                Some(event) if event.opcode == op::EVENT => {
                    self.link = Some(parse(&event.payload)?);
                }
                Some(reply) => {
                    ensure!(
                        (reply.opcode, reply.cookie) == (opcode, self.cookie),
                        "message {} answers {}",
                        reply.opcode,
                        name()
                    );
                    let status = reply.status;
                    ensure!(status == 0, "{} is refused: status {status}", name());
                    return Ok(reply.payload);
                }
                None if Instant::now() > end => bail!("{} is not answered", name()),
                None => std::thread::sleep(PAUSE),
            }
        }
    }

    /// Returns whether the last event said that the link is up.
    pub(crate) fn link_is_up(&self) -> bool {
        self.link.is_some_and(|event| event.link_status != 0)
    }

    fn wait_for(
        &mut self,
        what: &str,
        timeout: Duration,
        mut done: impl FnMut(&mut Self) -> Result<bool>,
    ) -> Result<()> {
        let end = Instant::now() + timeout;
        while !done(self)? {
            ensure!(Instant::now() < end, "{what} does not come");
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// Waits until the device says that it was reset: ARQLEN is 0.
    pub(crate) fn await_reset(&mut self, timeout: Duration) -> Result<()> {
        self.wait_for("a reset", timeout, |this| {
            let len = this.device.read(this.registers.arq.len)?;
            Ok(QueueLen(len).is_empty())
        })
    }

    /// Starts again after a reset.
    pub(crate) fn restart(&mut self, timeout: Duration) -> Result<()> {
        self.await_reset(timeout)?;
        self.initialise()
    }

    /// Resets the device by a message of virtchnl2, and starts again.
    pub(crate) fn reset(&mut self) -> Result<()> {
        // It is not answered.
        self.send(op::RESET_VF, &[])?;
        self.restart(TIMEOUT)?;
        // And by one of vfio-user.
        self.device.reset()?;
        self.restart(TIMEOUT)
    }

    /// Maps memory that no queue uses.
    pub(crate) fn map_more(&mut self) -> Result<()> {
        let memory = Memory::new(MORE.0, MORE.1)?;
        self.device.map(&memory)?;
        self.more = Some(memory);
        Ok(())
    }

    /// Unmaps that memory.
    pub(crate) fn unmap_more(&mut self) -> Result<()> {
        let memory = self.more.take().context("no more memory is mapped")?;
        self.device.unmap(&memory)
    }

    /// Unmaps the memory of rings and buffers.
    pub(crate) fn unmap_all(&mut self) -> Result<()> {
        self.device.unmap(&self.memory)
    }
}

/// Returns the structure at the start of a payload.
pub(crate) fn parse<T: FromBytes>(payload: &[u8]) -> Result<T> {
    T::read_from_prefix(payload)
        .map(|(value, _)| value)
        .map_err(|_| anyhow::anyhow!("a reply of {} bytes is too short", payload.len()))
}
