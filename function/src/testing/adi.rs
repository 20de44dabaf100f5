// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A driver that creates ADIs and sets their queues up.

use adit_uapi::desc::ids::rxdid_m;
use adit_uapi::virtchnl2::adi::{
    op as adi_op, AdiGroup, ConfigAdiCauseRing, CreateAdiExt, NonFlexCreateAdi,
    CREATE_ADI_EXT_MAGIC,
};
use adit_uapi::virtchnl2::{
    op, queue_model, sched_mode, AllocVectors, ConfigRxQueues, ConfigTxQueues, QueueVector,
    QueueVectorMaps, RxqInfo, TxqInfo, Vport,
};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, IntoBytes};

use super::driver::{message, named, Driver};
use crate::dataplane::{DataPlane, QueueKind};

/// An ADI that a driver has created.
#[derive(Clone, Debug)]
pub struct CreatedAdi {
    /// Its id.
    pub id: u16,
    /// Its virtual port.
    pub vport: u32,
    /// Its MAC address.
    pub mac: [u8; 6],
    pasid: u32,
    pairs: u16,
    /// The first queue of each kind.
    first: [u32; QueueKind::ALL.len()],
}

impl CreatedAdi {
    /// Its first queue of a kind.
    #[must_use]
    pub fn first(&self, kind: QueueKind) -> u32 {
        self.first[kind as usize]
    }

    /// The message that names its virtual port.
    #[must_use]
    pub fn named(&self) -> Vport {
        Vport {
            vport_id: U32::new(self.vport),
            ..Vport::default()
        }
    }
}

/// A request for `pairs` queue pairs with all their queues and vectors.
#[must_use]
pub fn wanted(pairs: u16) -> CreateAdiExt {
    CreateAdiExt {
        num_tx_q: U16::new(pairs),
        num_tx_complq: U16::new(pairs),
        num_rx_q: U16::new(pairs),
        num_rx_bufq: U16::new(2 * pairs),
        num_vectors: U16::new(pairs),
        magic: U32::new(CREATE_ADI_EXT_MAGIC),
        ..CreateAdiExt::default()
    }
}

impl<D: DataPlane> Driver<D> {
    /// Allocates a vector, and sets up cause ring 0 with it.
    pub fn cause_ring(&mut self) {
        let ask = AllocVectors {
            num_vectors: U16::new(1),
            ..AllocVectors::default()
        };
        self.ok(op::ALLOC_VECTORS, ask.as_bytes());
        let ring = ConfigAdiCauseRing {
            vector_id: U16::new(1),
            ring_len: U32::new(8),
            ring_addr: U64::new(0x1000),
            head_addr: U64::new(0x2000),
            ..ConfigAdiCauseRing::default()
        };
        self.ok(adi_op::CONFIG_ADI_CAUSE_RING, ring.as_bytes());
    }

    /// Creates an ADI as [`wanted`].
    ///
    /// # Panics
    /// When it is refused.
    pub fn create_adi(&mut self, pasid: u32, wanted: &CreateAdiExt) -> CreatedAdi {
        let request = NonFlexCreateAdi {
            pasid: U32::new(pasid),
            ..NonFlexCreateAdi::default()
        };
        let payload = message(&request, std::slice::from_ref(wanted));
        self.ok(op::NON_FLEX_CREATE_ADI, &payload);
        let (created, rest) = self.answer::<NonFlexCreateAdi>();
        let (ext, _) = CreateAdiExt::read_from_prefix(rest).expect("the extension");
        let skip = NonFlexCreateAdi::LEN + CreateAdiExt::LEN;
        let chunks = self.chunks(skip, ext.num_chunks);
        let first = QueueKind::ALL.map(|kind| {
            let chunk = chunks.iter().find(|chunk| chunk.type_.get() == kind as u32);
            chunk.map_or(0, |chunk| chunk.start_queue_id.get())
        });
        CreatedAdi {
            id: created.adi_id.get(),
            vport: ext.vport_id.get(),
            mac: ext.mac,
            pasid,
            pairs: ext.num_tx_q.get(),
            first,
        }
    }

    /// Makes ADIs the members of the group of another one.
    pub fn group_adis(&mut self, leader: u16, members: &[u16]) {
        let header = AdiGroup {
            adi_id: U16::new(leader),
            num_members: U16::new(members.len() as u16),
        };
        let members: Vec<_> = members.iter().map(|&id| U16::new(id)).collect();
        self.ok(adi_op::SET_ADI_GROUP, &message(&header, &members));
    }

    /// Configures, maps and enables the queues of an ADI that has all of its pairs, one buffer queue for
    /// each RX queue.
    pub fn bring_up_adi(&mut self, adi: &CreatedAdi) {
        let (vport_id, pasid) = (U32::new(adi.vport), U32::new(adi.pasid));
        let pairs = 0..u32::from(adi.pairs);
        let queue = |kind, n: u32| adi.first(kind) + n;
        let ring = |kind: QueueKind, n: u32| {
            U64::new((u64::from(queue(kind, n)) << 18) + ((kind as u64) << 16))
        };
        let txq = |kind, n| TxqInfo {
            dma_ring_addr: ring(kind, n),
            type_: U32::new(kind as u32),
            queue_id: U32::new(queue(kind, n)),
            model: U16::new(queue_model::SPLIT),
            sched_mode: U16::new(sched_mode::FLOW),
            ring_len: U16::new(512),
            tx_compl_queue_id: U16::new(queue(QueueKind::TxCompletion, n) as u16),
            egress_pasid: pasid,
            egress_hdr_pasid: pasid,
            egress_buf_pasid: pasid,
            ..TxqInfo::default()
        };
        let rxq = |kind, n, at| RxqInfo {
            desc_ids: U64::new(rxdid_m::FLEX_SPLITQ),
            dma_ring_addr: ring(kind, at),
            type_: U32::new(kind as u32),
            queue_id: U32::new(queue(kind, at)),
            model: U16::new(queue_model::SPLIT),
            ring_len: U16::new(512),
            rx_bufq1_id: U16::new(queue(QueueKind::RxBuffer, 2 * n) as u16),
            data_buffer_size: U32::new(2048),
            max_pkt_size: U32::new(1522),
            ingress_pasid: pasid,
            ingress_hdr_pasid: pasid,
            ingress_buf_pasid: pasid,
            ..RxqInfo::default()
        };
        let kinds = [QueueKind::Tx, QueueKind::TxCompletion];
        let infos: Vec<_> = pairs
            .clone()
            .flat_map(|n| kinds.map(|kind| txq(kind, n)))
            .collect();
        let header = ConfigTxQueues {
            vport_id,
            num_qinfo: U16::new(infos.len() as u16),
            ..ConfigTxQueues::default()
        };
        self.ok(op::CONFIG_TX_QUEUES, &message(&header, &infos));
        let both = |n| [rxq(QueueKind::RxBuffer, n, 2 * n), rxq(QueueKind::Rx, n, n)];
        let infos: Vec<_> = pairs.clone().flat_map(both).collect();
        let header = ConfigRxQueues {
            vport_id,
            num_qinfo: U16::new(infos.len() as u16),
            ..ConfigRxQueues::default()
        };
        self.ok(op::CONFIG_RX_QUEUES, &message(&header, &infos));
        let map = |kind, n| QueueVector {
            queue_id: U32::new(queue(kind, n)),
            vector_id: U16::new(n as u16),
            itr_idx: U32::new(kind as u32),
            queue_type: U32::new(kind as u32),
            ..QueueVector::default()
        };
        let kinds = [QueueKind::Tx, QueueKind::Rx];
        let maps: Vec<_> = pairs
            .clone()
            .flat_map(|n| kinds.map(|kind| map(kind, n)))
            .collect();
        let header = QueueVectorMaps {
            vport_id,
            num_qv_maps: U16::new(maps.len() as u16),
            ..QueueVectorMaps::default()
        };
        self.ok(op::MAP_QUEUE_VECTOR, &message(&header, &maps));
        let all: Vec<_> = pairs
            .flat_map(|n| {
                QueueKind::ALL.map(|kind| match kind {
                    QueueKind::RxBuffer => (kind as u32, queue(kind, 2 * n)),
                    _ => (kind as u32, queue(kind, n)),
                })
            })
            .collect();
        self.ok(op::ENABLE_QUEUES, &named(adi.vport, &all));
    }
}
