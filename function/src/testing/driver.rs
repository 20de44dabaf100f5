// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A driver that exchanges messages with a control plane.

use adit_uapi::desc::ids::rxdid_m;
use adit_uapi::virtchnl2::{
    mac_addr_type, op, queue_model, sched_mode, AllocVectors, ConfigRxQueues, ConfigTxQueues,
    CreateVport, DelEnaDisQueues, Event, MacAddr, MacAddrList, QueueChunk, QueueRegChunk,
    QueueVector, QueueVectorMaps, RxqInfo, TxqInfo, VectorChunk, Vport,
};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::control::{Control, Profile};
use crate::dataplane::{DataPlane, QueueKind};

/// The profile of a function with `vports` vports of `queues` RX queues each. The address of vport
/// N is 02:00:00:00:N:01.
///
/// # Panics
/// When a number is too large.
#[must_use]
pub fn profile(vports: u8, queues: u16) -> Profile {
    let macs = (0..vports).map(|n| [2, 0, 0, 0, n, 1]).collect();
    Profile::new(macs, queues).expect("a valid profile")
}

/// A driver that uses only a control plane.
pub struct Driver<D> {
    /// The control plane.
    pub control: Control,
    /// The data plane.
    pub dp: D,
    /// The payload of the last reply.
    pub reply: Vec<u8>,
}

impl<D: DataPlane> Driver<D> {
    /// A driver of the control plane of a function with `profile`, which controls `dp`.
    #[must_use]
    pub fn with(profile: Profile, dp: D) -> Self {
        Self {
            control: Control::new(profile),
            dp,
            reply: Vec::new(),
        }
    }

    /// Sends a request and returns its status.
    pub fn send(&mut self, opcode: u32, payload: &[u8]) -> u32 {
        self.control
            .handle(opcode, payload, &mut self.dp, &mut self.reply)
    }

    /// Sends a request that must succeed.
    ///
    /// # Panics
    /// When it is refused.
    #[track_caller]
    pub fn ok(&mut self, opcode: u32, payload: &[u8]) -> &[u8] {
        let status = self.send(opcode, payload);
        assert_eq!(status, 0, "{:?}", op::name(opcode));
        &self.reply
    }

    /// The struct at the start of the last reply, and the bytes that follow it.
    ///
    /// # Panics
    /// When the reply is shorter.
    #[must_use]
    pub fn answer<T: FromBytes>(&self) -> (T, &[u8]) {
        T::read_from_prefix(&self.reply).expect("a reply as long as its struct")
    }

    /// The `count` queue chunks of the last reply, after `skip` bytes.
    ///
    /// # Panics
    /// When the reply has another length.
    #[must_use]
    pub fn chunks(&self, skip: usize, count: U16) -> Vec<QueueRegChunk> {
        let bytes = &self.reply[skip..];
        assert_eq!(bytes.len(), usize::from(count.get()) * QueueRegChunk::LEN);
        bytes
            .chunks(QueueRegChunk::LEN)
            .map(|c| QueueRegChunk::read_from_bytes(c).unwrap())
            .collect()
    }

    /// Takes the events for the driver.
    pub fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.control.take_event(&self.dp)).collect()
    }

    /// Creates a vport with `n` queues of each kind (`2 * n` buffer queues), as Linux does.
    pub fn create(&mut self, index: u16, n: u16) -> CreateVport {
        self.ok(op::CREATE_VPORT, create_vport(index, n).as_bytes());
        self.answer::<CreateVport>().0
    }

    /// Brings up a vport: see [`bring_up`].
    ///
    /// # Panics
    /// When a message is refused.
    pub fn bring_up(&mut self, vport: u16, n: u16) {
        let profile = self.control.profile().clone();
        bring_up(&profile, vport, n, |opcode, payload| {
            self.ok(opcode, payload).to_vec()
        });
    }
}

/// The message that creates a vport with `n` queues of each kind (`2 * n` buffer queues), as Linux
/// does.
#[must_use]
pub fn create_vport(index: u16, n: u16) -> CreateVport {
    CreateVport {
        txq_model: U16::new(queue_model::SPLIT),
        rxq_model: U16::new(queue_model::SPLIT),
        num_tx_q: U16::new(n),
        num_tx_complq: U16::new(n),
        num_rx_q: U16::new(n),
        num_rx_bufq: U16::new(2 * n),
        vport_index: U16::new(index),
        ..CreateVport::default()
    }
}

/// Configures and enables the first `n` queues of each kind of a vport (`2 * n` buffer queues) that has
/// its maximum number of queues, maps each pair to a vector that this allocates, and enables the vport.
/// Rings are at multiples of 64 KiB, by kind and queue. `ok` sends a message that must succeed, and
/// returns the payload of the reply.
///
/// # Panics
/// When a reply is malformed.
pub fn bring_up(profile: &Profile, vport: u16, n: u16, mut ok: impl FnMut(u32, &[u8]) -> Vec<u8>) {
    let first = |kind| vport * profile.queues(kind);
    let (tx, rx) = (first(QueueKind::Tx), first(QueueKind::Rx));
    let vport_id = U32::new(vport.into());
    let ring =
        |kind: QueueKind, queue: u16| U64::new((u64::from(queue) << 18) + ((kind as u64) << 16));
    let txq = |kind: QueueKind, queue: u16| TxqInfo {
        dma_ring_addr: ring(kind, queue),
        type_: U32::new(kind as u32),
        queue_id: U32::new(queue.into()),
        model: U16::new(queue_model::SPLIT),
        sched_mode: U16::new(sched_mode::FLOW),
        ring_len: U16::new(512),
        tx_compl_queue_id: U16::new(queue),
        ..TxqInfo::default()
    };
    let infos: Vec<_> = (tx..tx + n)
        .flat_map(|queue| {
            [
                txq(QueueKind::Tx, queue),
                txq(QueueKind::TxCompletion, queue),
            ]
        })
        .collect();
    let header = ConfigTxQueues {
        vport_id,
        num_qinfo: U16::new(infos.len() as u16),
        ..ConfigTxQueues::default()
    };
    ok(op::CONFIG_TX_QUEUES, &message(&header, &infos));
    let rxq = |kind: QueueKind, queue: u16| RxqInfo {
        desc_ids: U64::new(rxdid_m::FLEX_SPLITQ),
        dma_ring_addr: ring(kind, queue),
        type_: U32::new(kind as u32),
        queue_id: U32::new(queue.into()),
        model: U16::new(queue_model::SPLIT),
        ring_len: U16::new(512),
        rx_bufq1_id: U16::new(2 * queue),
        rx_bufq2_id: U16::new(2 * queue + 1),
        bufq2_ena: 1,
        data_buffer_size: U32::new(2048),
        max_pkt_size: U32::new(1522),
        ..RxqInfo::default()
    };
    let infos: Vec<_> = (rx..rx + n)
        .flat_map(|queue| {
            [
                rxq(QueueKind::RxBuffer, 2 * queue),
                rxq(QueueKind::RxBuffer, 2 * queue + 1),
                rxq(QueueKind::Rx, queue),
            ]
        })
        .collect();
    let header = ConfigRxQueues {
        vport_id,
        num_qinfo: U16::new(infos.len() as u16),
        ..ConfigRxQueues::default()
    };
    ok(op::CONFIG_RX_QUEUES, &message(&header, &infos));
    let num_vectors = U16::new(n);
    let alloc = AllocVectors {
        num_vectors,
        ..AllocVectors::default()
    };
    let reply = ok(op::ALLOC_VECTORS, alloc.as_bytes());
    let (_, rest) = AllocVectors::read_from_prefix(&reply).expect("a reply");
    let (chunk, _) = VectorChunk::read_from_prefix(rest).expect("a chunk");
    let map = |kind: QueueKind, queue: u16, nth: u16| QueueVector {
        queue_id: U32::new(queue.into()),
        vector_id: U16::new(chunk.start_vector_id.get() + nth),
        itr_idx: U32::new(kind as u32),
        queue_type: U32::new(kind as u32),
        ..QueueVector::default()
    };
    let maps: Vec<_> = (0..n)
        .flat_map(|q| [map(QueueKind::Tx, tx + q, q), map(QueueKind::Rx, rx + q, q)])
        .collect();
    let header = QueueVectorMaps {
        vport_id,
        num_qv_maps: U16::new(maps.len() as u16),
        ..QueueVectorMaps::default()
    };
    ok(op::MAP_QUEUE_VECTOR, &message(&header, &maps));
    let all: Vec<_> = (0..n)
        .flat_map(|q| {
            let buffer = (QueueKind::RxBuffer, 2 * (rx + q));
            [
                (QueueKind::Tx, tx + q),
                (QueueKind::TxCompletion, tx + q),
                (QueueKind::Rx, rx + q),
                buffer,
                (buffer.0, buffer.1 + 1),
            ]
        })
        .map(|(kind, queue)| (kind as u32, queue.into()))
        .collect();
    ok(op::ENABLE_QUEUES, &named(vport.into(), &all));
    let name = Vport {
        vport_id,
        ..Vport::default()
    };
    ok(op::ENABLE_VPORT, name.as_bytes());
}

/// A message with elements after its header.
#[must_use]
pub fn message<H, E>(header: &H, elements: &[E]) -> Vec<u8>
where
    H: IntoBytes + Immutable,
    E: IntoBytes + Immutable,
{
    [header.as_bytes(), elements.as_bytes()].concat()
}

/// A message that lists additional MAC addresses.
#[must_use]
pub fn extra_addresses(vport: u32, addresses: &[[u8; 6]]) -> Vec<u8> {
    let header = MacAddrList {
        vport_id: U32::new(vport),
        num_mac_addr: U16::new(addresses.len() as u16),
        ..MacAddrList::default()
    };
    let entry = |&addr| MacAddr {
        addr,
        type_: mac_addr_type::EXTRA,
        pad: 0,
    };
    message(&header, &addresses.iter().map(entry).collect::<Vec<_>>())
}

/// A message that lists queues, one chunk each, as Linux sends it.
#[must_use]
pub fn named(vport: u32, queues: &[(u32, u32)]) -> Vec<u8> {
    let chunks: Vec<_> = queues
        .iter()
        .map(|&(type_, id)| QueueChunk {
            type_: U32::new(type_),
            start_queue_id: U32::new(id),
            num_queues: U32::new(1),
            ..QueueChunk::default()
        })
        .collect();
    let mut header = DelEnaDisQueues {
        vport_id: U32::new(vport),
        ..DelEnaDisQueues::default()
    };
    header.chunks.num_chunks = U16::new(chunks.len() as u16);
    message(&header, &chunks)
}
