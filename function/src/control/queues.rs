// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Queue operations: configure, enable, disable, add, delete, map to vectors.

use adit_uapi::virtchnl2::adi::GROUP_VECTOR;
use adit_uapi::virtchnl2::{
    AddQueues, ConfigRxQueues, ConfigTxQueues, DelEnaDisQueues, QueueChunk, QueueRegChunks,
    QueueVector, QueueVectorMaps, RxqInfo, TxqInfo,
};
use zerocopy::little_endian::{U16, U32};
use zerocopy::IntoBytes;

use super::queue_config::QueueInfo;
use super::queue_set::{kind_of, Counts, QueueSet, State};
use super::vport::Vport;
use super::{wire, Control, Refusal};
use crate::dataplane::{DataPlane, QueueError, QueueId, QueueKind};
use crate::ids::{VectorId, VectorMapping, VportId};

/// The number of throttling intervals of a vector.
pub(super) const ITR_INDEXES: u32 = 3;

impl Control {
    pub(super) fn config_tx_queues(
        &mut self,
        payload: &[u8],
        dp: &mut impl DataPlane,
    ) -> Result<(), Refusal> {
        let (header, rest) = wire::header::<ConfigTxQueues>(payload)?;
        let infos = wire::elements::<TxqInfo>(rest, header.num_qinfo.get())?;
        self.configure(VportId(header.vport_id.get()), infos, dp)
    }

    pub(super) fn config_rx_queues(
        &mut self,
        payload: &[u8],
        dp: &mut impl DataPlane,
    ) -> Result<(), Refusal> {
        let (header, rest) = wire::header::<ConfigRxQueues>(payload)?;
        let infos = wire::elements::<RxqInfo>(rest, header.num_qinfo.get())?;
        self.configure(VportId(header.vport_id.get()), infos, dp)
    }

    /// Configures queues, after all of them have been validated. Their doorbells are left
    /// unchanged: Linux rings those of buffer queues before it configures them.
    fn configure(
        &mut self,
        id: VportId,
        infos: &[impl QueueInfo],
        dp: &mut impl DataPlane,
    ) -> Result<(), Refusal> {
        let vport = self.vport(id)?;
        vport.check_pasids(infos.iter().flat_map(|info| info.pasids()))?;
        let queues = &mut vport.queues;
        let configs = infos.iter().map(|info| info.config(queues));
        let configs = configs.collect::<Result<Vec<_>, _>>()?;
        for &(queue, _) in &configs {
            if queues.slot(queue)?.state == State::Enabled {
                return Err(Refusal::Busy);
            }
        }
        for (queue, config) in configs {
            dp.configure(id, queue.index, config).map_err(refusal)?;
            let slot = queues.slot(queue)?;
            (slot.state, slot.config) = (State::Configured, Some(config));
        }
        Ok(())
    }

    pub(super) fn enable_queues(
        &mut self,
        payload: &[u8],
        dp: &mut impl DataPlane,
    ) -> Result<(), Refusal> {
        let (_, named, queues) = self.named_queues(payload)?;
        for &queue in &named {
            if queues.slot(queue)?.state < State::Configured {
                return Err(Refusal::OutOfOrder);
            }
        }
        for queue in named {
            dp.enable(queue).map_err(refusal)?;
            queues.slot(queue)?.state = State::Enabled;
        }
        Ok(())
    }

    pub(super) fn disable_queues(
        &mut self,
        payload: &[u8],
        dp: &mut impl DataPlane,
    ) -> Result<(), Refusal> {
        let (_, named, queues) = self.named_queues(payload)?;
        let mut running = Vec::with_capacity(named.len());
        for queue in named {
            let slot = queues.slot(queue)?;
            // A queue that is listed twice stops once.
            if slot.state == State::Enabled {
                slot.state = State::Configured;
                running.push(queue);
            }
        }
        dp.disable(&running);
        Ok(())
    }

    pub(super) fn add_queues(
        &mut self,
        payload: &[u8],
        dp: &mut impl DataPlane,
        reply: &mut Vec<u8>,
    ) -> Result<(), Refusal> {
        let (request, _) = wire::header::<AddQueues>(payload)?;
        let id = VportId(request.vport_id.get());
        let counts = Counts {
            tx: request.num_tx_q.get(),
            tx_completion: request.num_tx_complq.get(),
            rx: request.num_rx_q.get(),
            rx_buffer: request.num_rx_bufq.get(),
        };
        if counts == Counts::default() {
            return Err(Refusal::BadField);
        }
        let queues = &mut self.own_vport(id)?.queues;
        let chunks = queues.allocate(counts)?;
        dp.set_rx_queues(id, queues.allocated(QueueKind::Rx));
        dp.set_tx_queues(id, &queues.allocated(QueueKind::Tx));
        let granted = AddQueues {
            chunks: QueueRegChunks {
                num_chunks: U16::new(chunks.len() as u16),
                ..QueueRegChunks::default()
            },
            ..*request
        };
        reply.extend_from_slice(granted.as_bytes());
        reply.extend_from_slice(chunks.as_bytes());
        Ok(())
    }

    pub(super) fn del_queues(
        &mut self,
        payload: &[u8],
        dp: &mut impl DataPlane,
    ) -> Result<(), Refusal> {
        let (id, named, _) = self.named_queues(payload)?;
        let queues = &mut self.own_vport(id)?.queues;
        for queue in named {
            queues.remove(queue, dp);
        }
        dp.set_rx_queues(id, queues.allocated(QueueKind::Rx));
        dp.set_tx_queues(id, &queues.allocated(QueueKind::Tx));
        Ok(())
    }

    /// Handles MAP_QUEUE_VECTOR and UNMAP_QUEUE_VECTOR. Only TX and RX queues interrupt: activity
    /// of their completion and buffer queues is reported through them.
    pub(super) fn map_queue_vector(
        &mut self,
        payload: &[u8],
        dp: &mut impl DataPlane,
        map: bool,
    ) -> Result<(), Refusal> {
        let (header, rest) = wire::header::<QueueVectorMaps>(payload)?;
        let maps = wire::elements::<QueueVector>(rest, header.num_qv_maps.get())?;
        let id = VportId(header.vport_id.get());
        self.vport(id)?;
        for entry in maps {
            let queue = interrupting(entry)?;
            self.vport(id)?.queues.slot(queue)?;
            let vector = entry.vector_id.get();
            if map && self.device_vector(id, vector)?.is_none() {
                return Err(Refusal::NotAllocated);
            }
            if map && entry.itr_idx.get() >= ITR_INDEXES {
                return Err(Refusal::OutOfRange);
            }
        }
        for entry in maps {
            let queue = interrupting(entry)?;
            let vector = map.then(|| entry.vector_id.get());
            let device = match vector {
                Some(vector) => self.device_vector(id, vector)?,
                None => None,
            };
            let itr = if map { entry.itr_idx.get() } else { 0 };
            let slot = self.vport(id)?.queues.slot(queue)?;
            (slot.vector, slot.itr) = (vector, itr);
            dp.map_vector(queue, device.map(|vector| VectorMapping { vector, itr }));
        }
        Ok(())
    }

    /// The data plane's number of a vector of a vport: an ADI's own, one of its group's, or one that was
    /// allocated.
    fn device_vector(&mut self, vport: VportId, vector: u16) -> Result<Option<VectorId>, Refusal> {
        let own = self.vport(vport)?.adi;
        Ok(match own {
            Some(_) if vector & GROUP_VECTOR != 0 => self.vector_of_group(vport, vector),
            Some(adi) => (vector < adi.vectors).then(|| adi.first_vector.nth(vector)),
            None => self
                .vectors
                .allocated(vector)
                .then(|| VectorId::from(vector)),
        })
    }

    /// The queues in an ENABLE_QUEUES, DISABLE_QUEUES or DEL_QUEUES message, all of which must be
    /// allocated to the vport.
    fn named_queues(
        &mut self,
        payload: &[u8],
    ) -> Result<(VportId, Vec<QueueId>, &mut QueueSet), Refusal> {
        let (header, rest) = wire::header::<DelEnaDisQueues>(payload)?;
        let chunks = wire::elements::<QueueChunk>(rest, header.chunks.num_chunks.get())?;
        let id = VportId(header.vport_id.get());
        let queues = &mut self.vport(id)?.queues;
        let mut named = Vec::new();
        for chunk in chunks {
            let (start, count) = (chunk.start_queue_id.get(), chunk.num_queues.get());
            named.extend(queues.range(chunk.type_.get(), start, count)?);
        }
        Ok((id, named, queues))
    }
}

impl Vport {
    /// Checks that queues use the PASID of their ADI, and none outside of an ADI.
    fn check_pasids(&self, mut pasids: impl Iterator<Item = U32>) -> Result<(), Refusal> {
        let own = self.adi.map_or(0, |adi| adi.pasid);
        match pasids.all(|pasid| pasid.get() == own) {
            true => Ok(()),
            false => Err(Refusal::NotYours),
        }
    }
}

fn interrupting(entry: &QueueVector) -> Result<QueueId, Refusal> {
    match kind_of(entry.queue_type.get())? {
        kind @ (QueueKind::Tx | QueueKind::Rx) => Ok(QueueId {
            kind,
            index: entry.queue_id.get(),
        }),
        QueueKind::TxCompletion | QueueKind::RxBuffer => Err(Refusal::BadField),
    }
}

fn refusal(error: QueueError) -> Refusal {
    match error {
        QueueError::NoSuchQueue(_) => Refusal::DataPlane,
        QueueError::NotConfigured(_) => Refusal::OutOfOrder,
        QueueError::Enabled(_) => Refusal::Busy,
    }
}
