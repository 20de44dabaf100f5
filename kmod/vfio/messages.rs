// SPDX-License-Identifier: GPL-2.0

//! Checks and rewrites messages between the owner of an ADI and the device.
//!
//! The owner's ids are relative to the ADI, from 0; the device's are device-wide, and PASIDs are
//! filled in here. Free of kernel dependencies, so that the host tests compile the same source.

use adit_uapi::virtchnl2::{
    adi::{
        self,
        fault_flags,
        AdiFault,
        AdiLogRange,
        AdiQueueState,
        AdiQueueStates,
        AdiVectorState,
        AdiVectorStates,
        ConfigAdiDoorbells,
        ReadAdiLog,
        ResetAdi,
        StartAdiLog,
        StopAdiLog,
        SuspendAdi, //
    },
    op,
    queue_type,
    ConfigRxQueues,
    ConfigTxQueues,
    DelEnaDisQueues,
    MacAddr,
    MacAddrList,
    PromiscInfo,
    QueueChunk,
    QueueVector,
    QueueVectorMaps,
    RssHash,
    RssLut,
    RxqInfo,
    TxqInfo,
    Vport, //
};
use zerocopy::{
    little_endian::{
        U16,
        U32, //
    },
    FromBytes,
    Immutable,
    IntoBytes,
    KnownLayout, //
};

use crate::{
    ids::Pasid,
    messages::{
        AdiLayout,
        QueueRange, //
    },
};

/// The reason why a message is not passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The message contradicts itself, or has a reserved field set.
    Malformed,
    /// The message requests something that the owner may not request.
    NotPermitted,
    /// The message refers to a queue, a vector or a vport that the ADI does not have.
    NotThere,
    /// Owners may not send this message.
    Unknown,
}

impl Refusal {
    /// Returns the errno (include/uapi/asm-generic/errno-base.h and errno.h).
    pub(crate) const fn errno(self) -> i32 {
        match self {
            Self::Malformed => 22,
            Self::NotPermitted => 1,
            Self::NotThere => 6,
            Self::Unknown => 95,
        }
    }
}

/// Resources of an ADI, by their ids in the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ids {
    /// Its id, vport and queues.
    pub(crate) layout: AdiLayout,
    /// RX queues of its vport: its own, and those of the members of the group that it leads.
    pub(crate) vport_rx_queues: u32,
    /// Its PASID.
    pub(crate) pasid: Pasid,
}

impl Ids {
    /// Returns the queues of a type.
    fn queues(&self, kind: u32) -> Result<&QueueRange, Refusal> {
        self.layout.queues(kind).ok_or(Refusal::NotThere)
    }

    /// Returns the device's id of the first of `count` queues of the ADI.
    fn queue(&self, kind: u32, first: u32, count: u32) -> Result<u32, Refusal> {
        let queues = self.queues(kind)?;
        match first.checked_add(count) {
            Some(end) if end <= queues.count => Ok(queues.start.0 + first),
            _ => Err(Refusal::NotThere),
        }
    }

    fn queue16(&self, kind: u32, id: U16) -> Result<U16, Refusal> {
        let id = self.queue(kind, id.get().into(), 1)?;
        u16::try_from(id)
            .map(U16::new)
            .map_err(|_| Refusal::NotThere)
    }

    /// Fills in the vport; the owner has one, with id 0.
    fn vport(&self, id: &mut U32) -> Result<(), Refusal> {
        if id.get() != 0 {
            return Err(Refusal::NotThere);
        }
        id.set(self.layout.vport_id.0);
        Ok(())
    }

    /// Fills in the ADI; the owner has one, with id 0.
    fn adi(&self, id: &mut U16) -> Result<(), Refusal> {
        if id.get() != 0 {
            return Err(Refusal::NotThere);
        }
        id.set(self.layout.adi_id.0);
        Ok(())
    }

    /// Fills in PASIDs, which must be 0 in the owner's message.
    fn pasids(&self, fields: [&mut U32; 3]) -> Result<(), Refusal> {
        for field in fields {
            if field.get() != 0 {
                return Err(Refusal::NotPermitted);
            }
            field.set(self.pasid.0);
        }
        Ok(())
    }
}

/// Splits off the header of fixed size.
fn header<T>(payload: &mut [u8]) -> Result<(&mut T, &mut [u8]), Refusal>
where
    T: FromBytes + IntoBytes + KnownLayout + Immutable,
{
    T::mut_from_prefix(payload).map_err(|_| Refusal::Malformed)
}

/// Returns the elements after a header, which contains their number.
fn elements<T>(rest: &mut [u8], count: u16) -> Result<&mut [T], Refusal>
where
    T: FromBytes + IntoBytes + Immutable,
{
    let elements = <[T]>::mut_from_bytes(rest).map_err(|_| Refusal::Malformed)?;
    match elements.len() {
        n if n == usize::from(count) => Ok(elements),
        _ => Err(Refusal::Malformed),
    }
}

/// Returns the whole of a message without elements.
fn whole<T>(payload: &mut [u8]) -> Result<&mut T, Refusal>
where
    T: FromBytes + IntoBytes + KnownLayout + Immutable,
{
    T::mut_from_bytes(payload).map_err(|_| Refusal::Malformed)
}

/// Checks a request of the owner and rewrites it for the device.
pub(crate) fn request(opcode: u32, payload: &mut [u8], ids: &Ids) -> Result<(), Refusal> {
    match opcode {
        op::CONFIG_TX_QUEUES => config_tx_queues(payload, ids),
        op::CONFIG_RX_QUEUES => config_rx_queues(payload, ids),
        op::ENABLE_QUEUES | op::DISABLE_QUEUES => switch_queues(payload, ids),
        op::MAP_QUEUE_VECTOR | op::UNMAP_QUEUE_VECTOR => map_vectors(payload, ids),
        op::ENABLE_VPORT | op::DISABLE_VPORT => ids.vport(&mut whole::<Vport>(payload)?.vport_id),
        op::ADD_MAC_ADDR | op::DEL_MAC_ADDR => addresses(payload, ids),
        op::CONFIG_PROMISCUOUS_MODE => {
            let info = whole::<PromiscInfo>(payload)?;
            if info.flags.get() != 0 {
                return Err(Refusal::NotPermitted);
            }
            ids.vport(&mut info.vport_id)
        }
        // These begin with the vport; the device checks the rest, which concerns the vport alone.
        op::GET_STATS | op::GET_RSS_KEY | op::SET_RSS_KEY | op::GET_RSS_LUT => {
            ids.vport(header::<U32>(payload)?.0)
        }
        op::SET_RSS_LUT => set_rss_lut(payload, ids),
        op::GET_RSS_HASH | op::SET_RSS_HASH => ids.vport(&mut whole::<RssHash>(payload)?.vport_id),
        adi::op::GET_ADI_FAULT => {
            let fault = whole::<AdiFault>(payload)?;
            if fault.flags.get() & !fault_flags::CLEAR != 0 {
                return Err(Refusal::Malformed);
            }
            ids.adi(&mut fault.adi_id)
        }
        // The device refuses flags that it does not know.
        adi::op::CONFIG_ADI_DOORBELLS => ids.adi(&mut whole::<ConfigAdiDoorbells>(payload)?.adi_id),
        adi::op::RESET_ADI => ids.adi(&mut whole::<ResetAdi>(payload)?.adi_id),
        adi::op::SUSPEND_ADI | adi::op::RESUME_ADI => {
            ids.adi(&mut whole::<SuspendAdi>(payload)?.adi_id)
        }
        adi::op::GET_ADI_QUEUE_STATE => queue_states(whole(payload)?, ids),
        adi::op::SET_ADI_QUEUE_STATE => {
            let (head, rest) = header::<AdiQueueStates>(payload)?;
            elements::<AdiQueueState>(rest, head.num_states.get())?;
            queue_states(head, ids)
        }
        adi::op::GET_ADI_VECTOR_STATE => vector_states(whole(payload)?, ids),
        adi::op::SET_ADI_VECTOR_STATE => {
            let (head, rest) = header::<AdiVectorStates>(payload)?;
            elements::<AdiVectorState>(rest, head.num_states.get())?;
            vector_states(head, ids)
        }
        // The device checks the ranges: they are of the ADI's own address space.
        adi::op::START_ADI_LOG => {
            let (head, rest) = header::<StartAdiLog>(payload)?;
            elements::<AdiLogRange>(rest, head.num_ranges.get())?;
            ids.adi(&mut head.adi_id)
        }
        adi::op::STOP_ADI_LOG => ids.adi(&mut whole::<StopAdiLog>(payload)?.adi_id),
        adi::op::READ_ADI_LOG => ids.adi(&mut whole::<ReadAdiLog>(payload)?.adi_id),
        _ => Err(Refusal::Unknown),
    }
}

fn config_tx_queues(payload: &mut [u8], ids: &Ids) -> Result<(), Refusal> {
    let (head, rest) = header::<ConfigTxQueues>(payload)?;
    ids.vport(&mut head.vport_id)?;
    for info in elements::<TxqInfo>(rest, head.num_qinfo.get())? {
        let kind = info.type_.get();
        match kind {
            queue_type::TX => {
                info.tx_compl_queue_id =
                    ids.queue16(queue_type::TX_COMPLETION, info.tx_compl_queue_id)?;
            }
            queue_type::TX_COMPLETION => {}
            _ => return Err(Refusal::NotThere),
        }
        info.queue_id.set(ids.queue(kind, info.queue_id.get(), 1)?);
        ids.pasids([
            &mut info.egress_pasid,
            &mut info.egress_hdr_pasid,
            &mut info.egress_buf_pasid,
        ])?;
    }
    Ok(())
}

fn config_rx_queues(payload: &mut [u8], ids: &Ids) -> Result<(), Refusal> {
    let (head, rest) = header::<ConfigRxQueues>(payload)?;
    ids.vport(&mut head.vport_id)?;
    for info in elements::<RxqInfo>(rest, head.num_qinfo.get())? {
        let kind = info.type_.get();
        match kind {
            queue_type::RX => {
                info.rx_bufq1_id = ids.queue16(queue_type::RX_BUFFER, info.rx_bufq1_id)?;
                info.rx_bufq2_id = match info.bufq2_ena {
                    0 => U16::ZERO,
                    _ => ids.queue16(queue_type::RX_BUFFER, info.rx_bufq2_id)?,
                };
            }
            queue_type::RX_BUFFER => {}
            _ => return Err(Refusal::NotThere),
        }
        info.queue_id.set(ids.queue(kind, info.queue_id.get(), 1)?);
        ids.pasids([
            &mut info.ingress_pasid,
            &mut info.ingress_hdr_pasid,
            &mut info.ingress_buf_pasid,
        ])?;
    }
    Ok(())
}

fn switch_queues(payload: &mut [u8], ids: &Ids) -> Result<(), Refusal> {
    let (head, rest) = header::<DelEnaDisQueues>(payload)?;
    ids.vport(&mut head.vport_id)?;
    for chunk in elements::<QueueChunk>(rest, head.chunks.num_chunks.get())? {
        let (first, count) = (chunk.start_queue_id.get(), chunk.num_queues.get());
        let first = ids.queue(chunk.type_.get(), first, count)?;
        chunk.start_queue_id.set(first);
    }
    Ok(())
}

fn map_vectors(payload: &mut [u8], ids: &Ids) -> Result<(), Refusal> {
    let (head, rest) = header::<QueueVectorMaps>(payload)?;
    ids.vport(&mut head.vport_id)?;
    for map in elements::<QueueVector>(rest, head.num_qv_maps.get())? {
        if map.vector_id.get() >= ids.layout.vectors() {
            return Err(Refusal::NotThere);
        }
        let queue = ids.queue(map.queue_type.get(), map.queue_id.get(), 1)?;
        map.queue_id.set(queue);
    }
    Ok(())
}

/// Names the queues whose states are read or set; the device checks the states.
fn queue_states(head: &mut AdiQueueStates, ids: &Ids) -> Result<(), Refusal> {
    ids.adi(&mut head.adi_id)?;
    let (first, count) = (head.start_queue_id.get(), head.num_states.get());
    let first = ids.queue(head.type_.get(), first, count.into())?;
    head.start_queue_id.set(first);
    Ok(())
}

/// Names the vectors whose states are read or set, which the device numbers from 0, too.
fn vector_states(head: &mut AdiVectorStates, ids: &Ids) -> Result<(), Refusal> {
    ids.adi(&mut head.adi_id)?;
    let (first, count) = (head.start_vector_id.get(), head.num_states.get());
    match first.checked_add(count) {
        Some(end) if end <= ids.layout.vectors() => Ok(()),
        _ => Err(Refusal::NotThere),
    }
}

/// Permits multicast addresses and the ADI's own; any other would be another owner's.
fn addresses(payload: &mut [u8], ids: &Ids) -> Result<(), Refusal> {
    let (head, rest) = header::<MacAddrList>(payload)?;
    ids.vport(&mut head.vport_id)?;
    for mac in elements::<MacAddr>(rest, head.num_mac_addr.get())? {
        if mac.addr[0] & 1 == 0 && mac.addr != ids.layout.mac {
            return Err(Refusal::NotPermitted);
        }
    }
    Ok(())
}

fn set_rss_lut(payload: &mut [u8], ids: &Ids) -> Result<(), Refusal> {
    let (head, rest) = header::<RssLut>(payload)?;
    ids.vport(&mut head.vport_id)?;
    let entries = elements::<U32>(rest, head.lut_entries.get())?;
    if entries
        .iter()
        .any(|queue| queue.get() >= ids.vport_rx_queues)
    {
        return Err(Refusal::NotThere);
    }
    Ok(())
}

/// Rewrites a reply of the device for the owner, and returns the number of bytes to pass on:
/// replies that only echo the request are not passed on, nor are the device's ids.
pub(crate) fn reply(opcode: u32, payload: &mut [u8], ids: &Ids) -> usize {
    let known = match opcode {
        op::GET_STATS | op::GET_RSS_KEY | op::GET_RSS_LUT => {
            header::<U32>(payload).map(|(vport, _)| vport.set(0))
        }
        op::GET_RSS_HASH => whole::<RssHash>(payload).map(|hash| hash.vport_id.set(0)),
        adi::op::GET_ADI_FAULT => whole::<AdiFault>(payload).map(|fault| {
            fault.adi_id.set(0);
            fault.pasid.set(0);
            let first = ids
                .queues(fault.queue_type.get())
                .map_or(0, |queues| queues.start.0);
            fault
                .queue_id
                .set(fault.queue_id.get().saturating_sub(first));
        }),
        adi::op::GET_ADI_QUEUE_STATE => header::<AdiQueueStates>(payload).map(|(head, _)| {
            head.adi_id.set(0);
            let first = ids
                .queues(head.type_.get())
                .map_or(0, |queues| queues.start.0);
            head.start_queue_id
                .set(head.start_queue_id.get().saturating_sub(first));
        }),
        adi::op::GET_ADI_VECTOR_STATE => {
            header::<AdiVectorStates>(payload).map(|(head, _)| head.adi_id.set(0))
        }
        adi::op::START_ADI_LOG => whole::<StartAdiLog>(payload).map(|head| head.adi_id.set(0)),
        adi::op::READ_ADI_LOG => header::<ReadAdiLog>(payload).map(|(head, _)| head.adi_id.set(0)),
        _ => return 0,
    };
    known.map_or(0, |()| payload.len())
}

/// Writes the message that stops all queues of an ADI to `payload`.
pub(crate) fn disable_all(payload: &mut [u8; DISABLE_ALL_LEN], ids: &Ids) {
    let kinds = [
        queue_type::TX,
        queue_type::TX_COMPLETION,
        queue_type::RX,
        queue_type::RX_BUFFER,
    ];
    let mut head = DelEnaDisQueues::default();
    head.vport_id.set(ids.layout.vport_id.0);
    head.chunks.num_chunks = U16::new(kinds.len() as u16);
    let (start, mut rest) = payload.split_at_mut(DelEnaDisQueues::LEN);
    start.copy_from_slice(head.as_bytes());
    for kind in kinds {
        let queues = ids.queues(kind).copied().unwrap_or_default();
        let mut chunk = QueueChunk::default();
        chunk.type_.set(kind);
        chunk.start_queue_id.set(queues.start.0);
        chunk.num_queues.set(queues.count);
        let (at, next) = rest.split_at_mut(QueueChunk::LEN);
        at.copy_from_slice(chunk.as_bytes());
        rest = next;
    }
}

/// Length of [`disable_all`]'s message in bytes.
pub(crate) const DISABLE_ALL_LEN: usize = DelEnaDisQueues::LEN + 4 * QueueChunk::LEN;
