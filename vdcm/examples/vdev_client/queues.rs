// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The queue pairs of the first virtual port, set up in the order of stock drivers.

use std::os::fd::AsFd;
use std::time::Duration;

use adit_uapi::desc::ids::rxdid_m;
use adit_uapi::desc::rx_flex_adv::status0_qw1;
use adit_uapi::desc::tx_flex::sched_cmd;
use adit_uapi::desc::{FlexTxSchedDesc, RxFlexDescAdvNic3, SplitqRxBufDesc, SplitqTxComplDesc};
use adit_uapi::regs::DynCtl;
use adit_uapi::virtchnl2::{
    itr_idx, op, queue_model, queue_type, rxq_flags, sched_mode, ConfigRxQueues, ConfigTxQueues,
    CreateVport, DelEnaDisQueues, QueueChunk, QueueRegChunk, QueueVector, QueueVectorMaps, RxqInfo,
    TxqInfo, Vport,
};
use anyhow::{bail, ensure, Context, Result};
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::IntoBytes;

use crate::vf::{parse, Vf, FREE};

/// The number of entries of each ring.
const RING: u64 = 64;
/// The places of rings and buffers in a pair's memory.
const TX: u64 = 0;
const COMPLETIONS: u64 = 0x1000;
const RX: u64 = 0x2000;
const BUFFERS: [u64; 2] = [0x3000, 0x4000];
/// The end of the rings.
const RINGS_END: u64 = 0x5000;
const TX_DATA: u64 = 0x1_0000;
const RX_DATA: u64 = 0x4_0000;
const BUFFER_LEN: u64 = 2048;
/// The length of a pair's memory.
const SPAN: u64 = RX_DATA + RING * BUFFER_LEN;
/// The time in which frames must be completed, in milliseconds.
const TIMEOUT_MS: u32 = 10_000;
/// The eventfd of the first pair's vector: number 0 is the mailbox's.
const VECTOR: usize = 1;

/// The number of queues of a type in a pair.
fn each(kind: u32) -> u32 {
    match kind {
        queue_type::RX_BUFFER => 2,
        _ => 1,
    }
}

/// A pair.
pub(crate) struct Pair {
    pub(crate) mac: [u8; 6],
    /// Its number.
    number: u64,
    vport: U32,
    chunks: Vec<QueueRegChunk>,
    pub(crate) sent: u64,
    pub(crate) completed: u64,
    received: u64,
    /// By buffer queue.
    posted: [u64; 2],
    pub(crate) interrupts: u64,
}

impl Pair {
    /// Creates the vport with one pair and starts its queues.
    pub(crate) fn start(vf: &mut Vf) -> Result<Self> {
        let mut pairs = Self::start_all(vf, 1)?;
        pairs.pop().context("no pair")
    }

    /// Creates the vport with this number of pairs and starts their queues.
    pub(crate) fn start_all(vf: &mut Vf, count: u16) -> Result<Vec<Self>> {
        let request = CreateVport {
            txq_model: U16::new(queue_model::SPLIT),
            rxq_model: U16::new(queue_model::SPLIT),
            num_tx_q: U16::new(count),
            num_tx_complq: U16::new(count),
            num_rx_q: U16::new(count),
            num_rx_bufq: U16::new(2 * count),
            ..CreateVport::default()
        };
        let reply = vf.ok(op::CREATE_VPORT, request.as_bytes())?;
        let vport: CreateVport = parse(&reply)?;
        let chunks: Vec<_> = reply[CreateVport::LEN..]
            .chunks_exact(QueueRegChunk::LEN)
            .map(parse)
            .collect::<Result<_>>()?;
        let mut pairs = Vec::new();
        for number in 0..count.into() {
            let mut pair = Self {
                mac: vport.default_mac_addr,
                number,
                vport: vport.vport_id,
                chunks: chunks.clone(),
                sent: 0,
                completed: 0,
                received: 0,
                posted: [0; 2],
                interrupts: 0,
            };
            let zeros = vec![0_u8; (RINGS_END - TX) as usize];
            vf.memory.write(pair.at(TX), &zeros[..])?;
            // As Linux: buffers are posted and the vector is armed before the queues are enabled.
            pair.post(vf)?;
            pair.arm(vf)?;
            pair.configure(vf)?;
            vf.ok(op::ENABLE_QUEUES, &pair.queues())?;
            pairs.push(pair);
        }
        let name = Vport {
            vport_id: vport.vport_id,
            ..Vport::default()
        };
        vf.ok(op::ENABLE_VPORT, name.as_bytes())?;
        ensure!(vf.link_is_up(), "the vport is enabled without a link");
        Ok(pairs)
    }

    /// The address of a place in its memory.
    fn at(&self, place: u64) -> u64 {
        FREE + self.number * SPAN + place
    }

    /// Stops the queues and destroys the vport.
    pub(crate) fn stop(self, vf: &mut Vf) -> Result<()> {
        vf.ok(op::DISABLE_VPORT, self.name().as_bytes())?;
        vf.ok(op::DISABLE_QUEUES, &self.queues())?;
        vf.ok(op::UNMAP_QUEUE_VECTOR, &self.vectors(vf)?)?;
        vf.ok(op::DESTROY_VPORT, self.name().as_bytes())?;
        Ok(())
    }

    fn name(&self) -> Vport {
        Vport {
            vport_id: self.vport,
            ..Vport::default()
        }
    }

    fn chunk(&self, kind: u32) -> Result<&QueueRegChunk> {
        let mut chunks = self.chunks.iter();
        chunks
            .find(|chunk| chunk.type_.get() == kind)
            .with_context(|| format!("there are no queues of type {kind}"))
    }

    /// The number of its first queue of a type among those of the vport.
    fn first(&self, kind: u32) -> u64 {
        self.number * u64::from(each(kind))
    }

    fn id(&self, kind: u32) -> Result<u32> {
        Ok(self.chunk(kind)?.start_queue_id.get() + self.first(kind) as u32)
    }

    /// The offset of the tail of its queue `n` of a type.
    fn tail(&self, kind: u32, n: u64) -> Result<u64> {
        let chunk = self.chunk(kind)?;
        let at = (self.first(kind) + n) * u64::from(chunk.qtail_reg_spacing.get());
        Ok(chunk.qtail_reg_start.get() + at)
    }

    fn configure(&self, vf: &mut Vf) -> Result<()> {
        let completion = self.id(queue_type::TX_COMPLETION)?;
        let info = |type_, id, ring| TxqInfo {
            type_: U32::new(type_),
            queue_id: U32::new(id),
            model: U16::new(queue_model::SPLIT),
            sched_mode: U16::new(sched_mode::FLOW),
            dma_ring_addr: U64::new(ring),
            ring_len: U16::new(RING as u16),
            tx_compl_queue_id: U16::new(completion as u16),
            ..TxqInfo::default()
        };
        let infos = [
            info(queue_type::TX, self.id(queue_type::TX)?, self.at(TX)),
            info(queue_type::TX_COMPLETION, completion, self.at(COMPLETIONS)),
        ];
        let header = ConfigTxQueues {
            vport_id: self.vport,
            num_qinfo: U16::new(infos.len() as u16),
            ..ConfigTxQueues::default()
        };
        let message = [header.as_bytes(), infos.as_bytes()].concat();
        vf.ok(op::CONFIG_TX_QUEUES, &message)?;

        let buffers = self.id(queue_type::RX_BUFFER)?;
        let info = |type_, id, ring| RxqInfo {
            type_: U32::new(type_),
            queue_id: U32::new(id),
            desc_ids: U64::new(rxdid_m::FLEX_SPLITQ),
            model: U16::new(queue_model::SPLIT),
            qflags: U16::new(rxq_flags::DESC_SIZE_32BYTE),
            dma_ring_addr: U64::new(ring),
            ring_len: U16::new(RING as u16),
            rx_bufq1_id: U16::new(buffers as u16),
            rx_bufq2_id: U16::new(buffers as u16 + 1),
            bufq2_ena: 1,
            data_buffer_size: U32::new(BUFFER_LEN as u32),
            max_pkt_size: U32::new(1522),
            ..RxqInfo::default()
        };
        let infos = [
            info(queue_type::RX, self.id(queue_type::RX)?, self.at(RX)),
            info(queue_type::RX_BUFFER, buffers, self.at(BUFFERS[0])),
            info(queue_type::RX_BUFFER, buffers + 1, self.at(BUFFERS[1])),
        ];
        let header = ConfigRxQueues {
            vport_id: self.vport,
            num_qinfo: U16::new(infos.len() as u16),
            ..ConfigRxQueues::default()
        };
        let message = [header.as_bytes(), infos.as_bytes()].concat();
        vf.ok(op::CONFIG_RX_QUEUES, &message)?;
        let message = self.vectors(vf)?;
        vf.ok(op::MAP_QUEUE_VECTOR, &message)?;
        Ok(())
    }

    /// The message about the vector of both queues.
    fn vectors(&self, vf: &Vf) -> Result<Vec<u8>> {
        let map = |kind, itr| {
            Ok::<_, anyhow::Error>(QueueVector {
                queue_id: U32::new(self.id(kind)?),
                vector_id: U16::new(vf.vectors.start_vector_id.get() + self.number as u16),
                itr_idx: U32::new(itr),
                queue_type: U32::new(kind),
                ..QueueVector::default()
            })
        };
        let maps = [
            map(queue_type::RX, itr_idx::IDX_0)?,
            map(queue_type::TX, itr_idx::IDX_1)?,
        ];
        let header = QueueVectorMaps {
            vport_id: self.vport,
            num_qv_maps: U16::new(maps.len() as u16),
            ..QueueVectorMaps::default()
        };
        Ok([header.as_bytes(), maps.as_bytes()].concat())
    }

    /// The message about all its queues.
    fn queues(&self) -> Vec<u8> {
        let own = |chunk: &QueueRegChunk| {
            let kind = chunk.type_.get();
            let first = chunk.start_queue_id.get() + self.first(kind) as u32;
            QueueChunk {
                type_: chunk.type_,
                start_queue_id: U32::new(first),
                num_queues: U32::new(each(kind)),
                ..QueueChunk::default()
            }
        };
        let chunks: Vec<_> = self.chunks.iter().map(own).collect();
        let mut header = DelEnaDisQueues {
            vport_id: self.vport,
            ..DelEnaDisQueues::default()
        };
        header.chunks.num_chunks = U16::new(chunks.len() as u16);
        [header.as_bytes(), chunks.as_bytes()].concat()
    }

    /// Fills the buffer queues, each up to half of its ring.
    fn post(&mut self, vf: &mut Vf) -> Result<()> {
        for queue in 0..2 {
            // A frame takes a buffer of either queue; each has buffers of its own.
            while self.posted[queue] < RING / 2 {
                let id = self.posted[queue];
                self.post_buffer(vf, queue, id)?;
            }
            self.ring_buffers(vf, queue)?;
        }
        Ok(())
    }

    fn buffer(&self, queue: usize, id: u64) -> u64 {
        self.at(RX_DATA) + (queue as u64 * RING / 2 + id) * BUFFER_LEN
    }

    fn post_buffer(&mut self, vf: &mut Vf, queue: usize, id: u64) -> Result<()> {
        let desc = SplitqRxBufDesc {
            buf_id: U16::new(id as u16),
            pkt_addr: U64::new(self.buffer(queue, id)),
            ..SplitqRxBufDesc::default()
        };
        let entry = self.posted[queue] % RING;
        let at = self.at(BUFFERS[queue]) + entry * SplitqRxBufDesc::LEN as u64;
        vf.memory.write(at, &desc)?;
        self.posted[queue] += 1;
        Ok(())
    }

    fn ring_buffers(&self, vf: &mut Vf, queue: usize) -> Result<()> {
        let tail = self.tail(queue_type::RX_BUFFER, queue as u64)?;
        vf.device.write(tail, (self.posted[queue] % RING) as u32)
    }

    /// Sends a frame.
    pub(crate) fn send(&mut self, vf: &mut Vf, frame: &[u8]) -> Result<()> {
        self.reclaim(vf)?;
        ensure!(self.sent - self.completed < RING - 1, "the TX ring is full");
        let entry = self.sent % RING;
        let at = self.at(TX_DATA) + entry * BUFFER_LEN;
        vf.memory.write(at, frame)?;
        let desc = FlexTxSchedDesc::new(at, sched_cmd::EOP, entry as u16, frame.len() as u16);
        vf.memory
            .write(self.at(TX) + entry * FlexTxSchedDesc::LEN as u64, &desc)?;
        self.sent += 1;
        let tail = self.tail(queue_type::TX, 0)?;
        vf.device.write(tail, (self.sent % RING) as u32)
    }

    /// Takes completions of frames that were sent.
    fn reclaim(&mut self, vf: &mut Vf) -> Result<()> {
        loop {
            let entry = self.completed % RING;
            let at = self.at(COMPLETIONS) + entry * SplitqTxComplDesc::LEN as u64;
            let done: SplitqTxComplDesc = vf.memory.read(at)?;
            if done.common.generation() != (self.completed / RING % 2 == 0) {
                return Ok(());
            }
            let tag = u64::from(done.common.q_head_compl_tag.get());
            ensure!(tag == entry, "frame {tag} is completed, not {entry}");
            self.completed += 1;
        }
    }

    /// Waits until all frames are completed.
    pub(crate) fn settle(&mut self, vf: &mut Vf) -> Result<()> {
        for _ in 0..TIMEOUT_MS {
            self.reclaim(vf)?;
            if self.completed == self.sent {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        bail!("{} of {} frames are completed", self.completed, self.sent)
    }

    /// Takes the next received frame, if there is one.
    pub(crate) fn receive(&mut self, vf: &mut Vf) -> Result<Option<Vec<u8>>> {
        self.reclaim(vf)?;
        let at = self.at(RX) + self.received % RING * RxFlexDescAdvNic3::LEN as u64;
        let desc: RxFlexDescAdvNic3 = vf.memory.read(at)?;
        if desc.generation() != (self.received / RING % 2 == 0) {
            return Ok(None);
        }
        // The rest is read after the generation.
        let desc: RxFlexDescAdvNic3 = vf.memory.read(at)?;
        ensure!(
            desc.status_err0_qw1 & status0_qw1::EOF != 0,
            "a frame of several buffers"
        );
        self.received += 1;
        let (queue, id) = (usize::from(desc.bufq_id()), u64::from(desc.buf_id.get()));
        ensure!(id < RING / 2, "buffer {id} was not posted");
        let len = usize::from(desc.len_pbuf());
        let frame = vf.memory.bytes(self.buffer(queue, id), len)?;
        self.post_buffer(vf, queue, id)?;
        self.ring_buffers(vf, queue)?;
        Ok(Some(frame))
    }

    fn arm(&self, vf: &mut Vf) -> Result<()> {
        let (first, spacing) = (&vf.vectors.dynctl_reg_start, &vf.vectors.dynctl_reg_spacing);
        let register = u64::from(first.get()) + self.number * u64::from(spacing.get());
        vf.device.write(register, DynCtl::ARM.0)
    }

    /// Sleeps until the vector signals; returns at once if there is a frame.
    pub(crate) fn wait(&mut self, vf: &mut Vf, timeout: Duration) -> Result<()> {
        self.arm(vf)?;
        let at = self.at(RX) + self.received % RING * RxFlexDescAdvNic3::LEN as u64;
        let desc: RxFlexDescAdvNic3 = vf.memory.read(at)?;
        if desc.generation() == (self.received / RING % 2 == 0) {
            return Ok(());
        }
        let event = vf.eventfds[VECTOR + self.number as usize].as_fd();
        let timeout = Timespec::try_from(timeout)?;
        poll(&mut [PollFd::new(&event, PollFlags::IN)], Some(&timeout))?;
        let mut count = [0; 8];
        if rustix::io::read(event, &mut count).is_ok() {
            self.interrupts += u64::from_ne_bytes(count);
        }
        Ok(())
    }
}
