// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A driver of one ADI with one queue pair. All ADIs have their rings at the same IOVAs.

use adit_uapi::desc::ids::rxdid_m;
use adit_uapi::desc::rx_flex_adv::status0_qw1;
use adit_uapi::desc::tx_flex::sched_cmd;
use adit_uapi::desc::{FlexTxSchedDesc, RxFlexDescAdvNic3, SplitqRxBufDesc, SplitqTxComplDesc};
use adit_uapi::regs::adi::ASLEEP_OFFSET;
use adit_uapi::regs::dyn_ctl;
use adit_uapi::virtchnl2::adi::{op as adi_op, AdiFault, CreateAdiExt};
use adit_uapi::virtchnl2::{
    op, queue_model, queue_type, sched_mode, ConfigRxQueues, ConfigTxQueues, DelEnaDisQueues,
    QueueChunk, QueueChunks, QueueVector, QueueVectorMaps, RxqInfo, TxqInfo, Vport,
};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, IntoBytes};

use super::guest::{Created, Guest};
use crate::dataplane::QueueKind;
use crate::memory::{Dma, GuestMemory};
use crate::pasid::testing::READ_WRITE;
use crate::pasid::walk::Stage;

/// The IOVA of an ADI's memory.
pub const IOVA: u64 = 0x7000_0000;
/// The length of an ADI's memory in bytes.
pub const LEN: u64 = 0x2_0000;
/// The number of entries of each ring.
pub const RING: u16 = 32;
const TX: u64 = IOVA;
const COMPLETIONS: u64 = IOVA + 0x1000;
const RX: u64 = IOVA + 0x2000;
/// The buffer queue's ring.
pub const BUFFERS: u64 = IOVA + 0x3000;
/// The IOVA of frames to send.
pub const TX_DATA: u64 = IOVA + 0x4000;
/// The IOVA of receive buffers.
pub const RX_DATA: u64 = IOVA + 0x1_0000;
const BUFFER: u64 = 0x800;
/// A page that is read-only for the device.
pub const READ_ONLY: u64 = IOVA + 0x1_F000;

/// The machine that a driver of an ADI runs on.
pub trait Host {
    /// The memory that has the rings, in which [`AdiDriver::physical`] is an address.
    fn memory(&self) -> &GuestMemory;

    /// Sends a message that must succeed; returns the reply's payload.
    fn ok(&mut self, v_opcode: u32, payload: &[u8]) -> Vec<u8>;

    /// Reads a register of BAR0.
    fn read(&mut self, register: u32) -> u32;

    /// Writes a register of BAR0.
    fn write(&mut self, register: u32, value: u32);
}

impl Host for Guest {
    fn memory(&self) -> &GuestMemory {
        self.memory()
    }

    fn ok(&mut self, v_opcode: u32, payload: &[u8]) -> Vec<u8> {
        self.ok(v_opcode, payload)
    }

    fn read(&mut self, register: u32) -> u32 {
        self.read(register)
    }

    fn write(&mut self, register: u32, value: u32) {
        self.write(register, value);
    }
}

/// A driver of an ADI.
pub struct AdiDriver {
    /// The device's reply to the creation.
    pub created: Created,
    /// The ADI's PASID.
    pub pasid: u32,
    /// The guest-physical address of [`IOVA`].
    pub physical: u64,
    tx: u64,
    completed: u64,
    posted: u64,
    received: u64,
}

/// A frame from `from` to `to`, identified by `number`.
#[must_use]
pub fn frame(to: [u8; 6], from: [u8; 6], number: u8) -> Vec<u8> {
    let mut frame = [to, from].concat();
    // The EtherType for local experiments (IEEE 802).
    frame.extend([0x88, 0xB5]);
    frame.resize(64, number);
    frame
}

impl AdiDriver {
    /// Creates an ADI with memory of its own, and sets up its queues.
    ///
    /// # Panics
    /// Panics when the device misbehaves, as all functions here do.
    pub fn new(guest: &mut Guest, pasid: u32, ext: &CreateAdiExt) -> Self {
        let created = guest.create(pasid, ext).expect("an ADI");
        let physical = guest.next_page;
        guest.next_page += LEN;
        let memory = &guest.function.datapath().queues().memory;
        guest.tables.attach(memory, pasid, Stage::Second, 4);
        for page in (0..LEN).step_by(0x1000) {
            let (iova, physical) = (IOVA + page, physical + page);
            let mut rights = READ_WRITE;
            rights.write = iova != READ_ONLY;
            guest.tables.map(memory, pasid, iova, physical, rights);
        }
        let mut driver = Self::of(created, pasid, physical);
        driver.up(guest);
        driver
    }

    /// The driver of an ADI whose memory begins at `physical`, and whose queues are not set up.
    #[must_use]
    pub fn of(created: Created, pasid: u32, physical: u64) -> Self {
        Self {
            created,
            pasid,
            physical,
            tx: 0,
            completed: 0,
            posted: 0,
            received: 0,
        }
    }

    /// The ADI's MAC address.
    #[must_use]
    pub fn mac(&self) -> [u8; 6] {
        self.created.ext.mac
    }

    /// The ADI's vport.
    #[must_use]
    pub fn vport(&self) -> U32 {
        self.created.ext.vport_id
    }

    /// The ADI's only queue of a kind; the first of its RX buffer queues.
    #[must_use]
    pub fn queue(&self, kind: QueueKind) -> u32 {
        self.created.chunk(kind).start_queue_id.get()
    }

    /// The message that configures its TX queues.
    #[must_use]
    pub fn tx_config(&self) -> Vec<u8> {
        let pasid = U32::new(self.pasid);
        let completion = self.queue(QueueKind::TxCompletion);
        let info = |type_, id, ring| TxqInfo {
            type_: U32::new(type_),
            queue_id: U32::new(id),
            model: U16::new(queue_model::SPLIT),
            sched_mode: U16::new(sched_mode::FLOW),
            dma_ring_addr: U64::new(ring),
            ring_len: U16::new(RING),
            tx_compl_queue_id: U16::new(completion as u16),
            egress_pasid: pasid,
            egress_hdr_pasid: pasid,
            egress_buf_pasid: pasid,
            ..TxqInfo::default()
        };
        let header = ConfigTxQueues {
            vport_id: self.vport(),
            num_qinfo: U16::new(2),
            ..ConfigTxQueues::default()
        };
        let tx = info(queue_type::TX, self.queue(QueueKind::Tx), TX);
        let done = info(queue_type::TX_COMPLETION, completion, COMPLETIONS);
        [header.as_bytes(), tx.as_bytes(), done.as_bytes()].concat()
    }

    /// The message that configures its RX queues.
    #[must_use]
    pub fn rx_config(&self) -> Vec<u8> {
        let pasid = U32::new(self.pasid);
        let buffers = self.queue(QueueKind::RxBuffer);
        let info = |type_, id, ring| RxqInfo {
            type_: U32::new(type_),
            queue_id: U32::new(id),
            desc_ids: U64::new(rxdid_m::FLEX_SPLITQ),
            model: U16::new(queue_model::SPLIT),
            dma_ring_addr: U64::new(ring),
            ring_len: U16::new(RING),
            rx_bufq1_id: U16::new(buffers as u16),
            data_buffer_size: U32::new(BUFFER as u32),
            max_pkt_size: U32::new(1522),
            ingress_pasid: pasid,
            ingress_hdr_pasid: pasid,
            ingress_buf_pasid: pasid,
            ..RxqInfo::default()
        };
        let header = ConfigRxQueues {
            vport_id: self.vport(),
            num_qinfo: U16::new(2),
            ..ConfigRxQueues::default()
        };
        let rx = info(queue_type::RX, self.queue(QueueKind::Rx), RX);
        let pool = info(queue_type::RX_BUFFER, buffers, BUFFERS);
        [header.as_bytes(), rx.as_bytes(), pool.as_bytes()].concat()
    }

    /// The message that lists all its queues.
    #[must_use]
    pub fn all_queues(&self) -> Vec<u8> {
        let chunks = self.created.chunks.iter().map(|c| QueueChunk {
            type_: c.type_,
            start_queue_id: c.start_queue_id,
            num_queues: U32::new(1),
            ..QueueChunk::default()
        });
        let chunks: Vec<_> = chunks.collect();
        let header = DelEnaDisQueues {
            vport_id: self.vport(),
            chunks: QueueChunks {
                num_chunks: U16::new(chunks.len() as u16),
                ..QueueChunks::default()
            },
            ..DelEnaDisQueues::default()
        };
        [header.as_bytes(), chunks.as_bytes()].concat()
    }

    /// The message that maps its TX and RX queue to a vector.
    #[must_use]
    pub fn vector_map(&self, vector: u16) -> Vec<u8> {
        let map = |kind| QueueVector {
            queue_id: U32::new(self.queue(kind)),
            vector_id: U16::new(vector),
            queue_type: U32::new(kind as u32),
            ..QueueVector::default()
        };
        let header = QueueVectorMaps {
            vport_id: self.vport(),
            num_qv_maps: U16::new(2),
            ..QueueVectorMaps::default()
        };
        let maps = [map(QueueKind::Tx), map(QueueKind::Rx)];
        [header.as_bytes(), maps.as_bytes()].concat()
    }

    /// Zeroes the rings, then configures, maps and enables everything.
    pub fn up(&mut self, guest: &mut impl Host) {
        self.queues_up(guest);
        guest.ok(op::ENABLE_VPORT, self.named().as_bytes());
    }

    /// The message that names its vport.
    #[must_use]
    pub fn named(&self) -> Vport {
        Vport {
            vport_id: self.vport(),
            ..Vport::default()
        }
    }

    /// Zeroes the rings, then configures, maps and enables the queues.
    pub fn queues_up(&mut self, guest: &mut impl Host) {
        let zeros = vec![0; (TX_DATA - TX) as usize];
        guest.memory().write(self.physical, &zeros).expect("RAM");
        (self.tx, self.completed, self.posted, self.received) = (0, 0, 0, 0);
        guest.ok(op::CONFIG_TX_QUEUES, &self.tx_config());
        guest.ok(op::CONFIG_RX_QUEUES, &self.rx_config());
        guest.ok(op::MAP_QUEUE_VECTOR, &self.vector_map(0));
        guest.ok(op::ENABLE_QUEUES, &self.all_queues());
    }

    /// Disables its queues, as far as they run, and sets them up again.
    pub fn restart(&mut self, guest: &mut impl Host) {
        guest.ok(op::DISABLE_QUEUES, &self.all_queues());
        self.up(guest);
    }

    fn physical(&self, iova: u64) -> u64 {
        self.physical + (iova - IOVA)
    }

    /// The tail of its TX queue, or of its first buffer queue, in BAR0.
    #[must_use]
    pub fn tail(&self, kind: QueueKind) -> u32 {
        self.created.chunk(kind).qtail_reg_start.get() as u32
    }

    /// Its interrupt control register in BAR0.
    #[must_use]
    pub fn dyn_ctl(&self) -> u32 {
        self.created.adi.vchunk.dynctl_reg_start.get()
    }

    /// Writes a register and kicks the ADI if it is asleep, as the contract requires; returns
    /// whether it kicked.
    pub fn ring(&self, guest: &mut impl Host, register: u32, value: u32) -> bool {
        guest.write(register, value);
        let asleep = guest.read(register + ASLEEP_OFFSET) != 0;
        if asleep {
            guest.write(self.created.ext.kick_offset.get() as u32, 0);
        }
        asleep
    }

    /// Writes a descriptor for `len` bytes at `iova` to the TX ring, without ringing the doorbell.
    pub fn describe(&mut self, guest: &mut impl Host, iova: u64, len: u16) {
        let desc = FlexTxSchedDesc::new(iova, sched_cmd::EOP, self.tx as u16, len);
        let at = TX + self.tx % u64::from(RING) * 16;
        guest
            .memory()
            .write_obj(self.physical(at), &desc)
            .expect("RAM");
        self.tx += 1;
    }

    /// Rings the doorbell of its TX queue.
    pub fn ring_tx(&self, guest: &mut impl Host) -> bool {
        let tail = (self.tx % u64::from(RING)) as u32;
        self.ring(guest, self.tail(QueueKind::Tx), tail)
    }

    /// Sends a frame.
    pub fn send(&mut self, guest: &mut impl Host, frame: &[u8]) {
        let at = TX_DATA + self.tx % 8 * BUFFER;
        guest.memory().write(self.physical(at), frame).expect("RAM");
        self.describe(guest, at, frame.len() as u16);
        self.ring_tx(guest);
    }

    /// The tag of the next completion, if there is one.
    pub fn completion(&mut self, guest: &impl Host) -> Option<u16> {
        let n = self.completed;
        let at = self.physical(COMPLETIONS + n % u64::from(RING) * 8);
        let done: SplitqTxComplDesc = guest.memory().read_obj(at).expect("RAM");
        if done.common.generation() != (n / u64::from(RING) % 2 == 0) {
            return None;
        }
        self.completed += 1;
        Some(done.common.q_head_compl_tag.get())
    }

    /// Posts buffers.
    pub fn post(&mut self, guest: &mut impl Host, buffers: u64) {
        self.post_at(guest, buffers, RX_DATA);
    }

    /// Posts consecutive buffers from `iova` on.
    pub fn post_at(&mut self, guest: &mut impl Host, buffers: u64, iova: u64) {
        for _ in 0..buffers {
            let entry = self.posted % u64::from(RING);
            let desc = SplitqRxBufDesc {
                buf_id: U16::new(entry as u16),
                pkt_addr: U64::new(iova + entry % 16 * BUFFER),
                ..SplitqRxBufDesc::default()
            };
            let at = self.physical(BUFFERS + entry * 32);
            guest.memory().write_obj(at, &desc).expect("RAM");
            self.posted += 1;
        }
        let tail = (self.posted % u64::from(RING)) as u32;
        self.ring(guest, self.tail(QueueKind::RxBuffer), tail);
    }

    /// Returns the next frame, if there is one.
    pub fn recv(&mut self, guest: &impl Host) -> Option<Vec<u8>> {
        let n = self.received;
        let at = self.physical(RX + n % u64::from(RING) * 32);
        let desc: RxFlexDescAdvNic3 = guest.memory().read_obj(at).expect("RAM");
        if desc.generation() != (n / u64::from(RING) % 2 == 0) {
            return None;
        }
        assert_ne!(desc.status_err0_qw1 & status0_qw1::EOF, 0, "one buffer");
        self.received += 1;
        let entry = u64::from(desc.buf_id.get());
        let mut frame = vec![0; usize::from(desc.len_pbuf())];
        let at = self.physical(RX_DATA + entry % 16 * BUFFER);
        guest.memory().read(at, &mut frame).expect("RAM");
        Some(frame)
    }

    /// Arms its vector; returns whether a kick was needed.
    pub fn arm(&self, guest: &mut impl Host) -> bool {
        self.ring(guest, self.dyn_ctl(), dyn_ctl::INTENA_M)
    }

    /// Reads its fault record.
    pub fn fault(&self, guest: &mut impl Host, flags: u16) -> AdiFault {
        let ask = AdiFault {
            adi_id: self.created.adi.adi_id,
            flags: U16::new(flags),
            ..AdiFault::default()
        };
        let reply = guest.ok(adi_op::GET_ADI_FAULT, ask.as_bytes());
        AdiFault::read_from_bytes(&reply).expect("a fault record")
    }
}
