// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The ids in the messages of `adit_adi`, which are relative to the ADI: from 0.

use adit_uapi::virtchnl2::{
    op, ConfigRxQueues, ConfigTxQueues, DelEnaDisQueues, QueueChunk, QueueVector, QueueVectorMaps,
    RxqInfo, TxqInfo, Vport, VportStats,
};
use anyhow::{bail, Context, Result};
use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The resources of one ADI as the receiver of its messages numbers them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ids {
    pub(crate) vport: u32,
    /// The PASID of the queues; 0 if the receiver adds it.
    pub(crate) pasid: u32,
    /// The first queue of each type, by the type's number.
    pub(crate) first_queues: [u32; 4],
    pub(crate) first_vector: u16,
}

impl Ids {
    /// Replaces the relative ids in a message.
    pub(crate) fn absolute(&self, opcode: u32, payload: &mut [u8]) -> Result<()> {
        let vport = U32::new(self.vport);
        match opcode {
            op::ENABLE_VPORT | op::DISABLE_VPORT => head::<Vport>(payload)?.0.vport_id = vport,
            op::GET_STATS => head::<VportStats>(payload)?.0.vport_id = vport,
            op::CONFIG_TX_QUEUES => {
                let (header, rest) = head::<ConfigTxQueues>(payload)?;
                header.vport_id = vport;
                each(rest, |queue: &mut TxqInfo| self.tx(queue))?;
            }
            op::CONFIG_RX_QUEUES => {
                let (header, rest) = head::<ConfigRxQueues>(payload)?;
                header.vport_id = vport;
                each(rest, |queue: &mut RxqInfo| self.rx(queue))?;
            }
            op::ENABLE_QUEUES | op::DISABLE_QUEUES => {
                let (header, rest) = head::<DelEnaDisQueues>(payload)?;
                header.vport_id = vport;
                each(rest, |chunk: &mut QueueChunk| {
                    let first = self.first(chunk.type_)?;
                    add(&mut chunk.start_queue_id, first);
                    Ok(())
                })?;
            }
            op::MAP_QUEUE_VECTOR | op::UNMAP_QUEUE_VECTOR => {
                let (header, rest) = head::<QueueVectorMaps>(payload)?;
                header.vport_id = vport;
                each(rest, |map: &mut QueueVector| {
                    let first = self.first(map.queue_type)?;
                    add(&mut map.queue_id, first);
                    map.vector_id = U16::new(map.vector_id.get() + self.first_vector);
                    Ok(())
                })?;
            }
            _ => bail!("message {opcode} is not one of a queue pair"),
        }
        Ok(())
    }

    fn first(&self, type_: U32) -> Result<u32> {
        let first = self.first_queues.get(type_.get() as usize);
        first
            .copied()
            .with_context(|| format!("no queues have type {type_}"))
    }

    fn tx(&self, queue: &mut TxqInfo) -> Result<()> {
        let first = self.first(queue.type_)?;
        add(&mut queue.queue_id, first);
        let [_, _, completion, _] = self.first_queues;
        let id = u32::from(queue.tx_compl_queue_id.get()) + completion;
        queue.tx_compl_queue_id = U16::new(u16::try_from(id)?);
        let pasid = U32::new(self.pasid);
        queue.egress_pasid = pasid;
        queue.egress_hdr_pasid = pasid;
        queue.egress_buf_pasid = pasid;
        Ok(())
    }

    fn rx(&self, queue: &mut RxqInfo) -> Result<()> {
        let first = self.first(queue.type_)?;
        add(&mut queue.queue_id, first);
        let [.., buffers] = self.first_queues;
        for id in [&mut queue.rx_bufq1_id, &mut queue.rx_bufq2_id] {
            *id = U16::new(u16::try_from(u32::from(id.get()) + buffers)?);
        }
        let pasid = U32::new(self.pasid);
        queue.ingress_pasid = pasid;
        queue.ingress_hdr_pasid = pasid;
        queue.ingress_buf_pasid = pasid;
        Ok(())
    }
}

fn add(id: &mut U32, first: u32) {
    *id = U32::new(id.get() + first);
}

/// The structure at the start of a payload, and what follows it.
fn head<T>(payload: &mut [u8]) -> Result<(&mut T, &mut [u8])>
where
    T: FromBytes + IntoBytes + Immutable + KnownLayout + Unaligned,
{
    let len = payload.len();
    T::mut_from_prefix(payload)
        .ok()
        .with_context(|| format!("a payload of {len} bytes is too short"))
}

/// Calls `change` for each structure of an array.
fn each<T>(payload: &mut [u8], mut change: impl FnMut(&mut T) -> Result<()>) -> Result<()>
where
    T: FromBytes + IntoBytes + Immutable + KnownLayout + Unaligned,
{
    for element in payload.chunks_exact_mut(size_of::<T>()) {
        change(head(element)?.0)?;
    }
    Ok(())
}
