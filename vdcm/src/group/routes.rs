// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The messages to a group, as messages to its members.

use adit_function::dataplane::QueueKind;
use adit_uapi::virtchnl2::adi::{
    fault_reason, op as adi_op, AdiFault, AdiQueueState, AdiQueueStates, AdiVectorState,
    AdiVectorStates, SuspendAdi, GROUP_VECTOR,
};
use adit_uapi::virtchnl2::{
    op, queue_type, ConfigRxQueues, ConfigTxQueues, DelEnaDisQueues, MacAddrList, QueueChunk,
    QueueVector, QueueVectorMaps, RssHash, RssKey, RssLut, RxqInfo, TxqInfo, Vport, VportStats,
};
use thiserror::Error;
use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::parts::Parts;

/// The reason why a group cannot execute a message.
#[derive(Debug, Error, PartialEq, Eq)]
pub(super) enum Unroutable {
    /// No member executes it.
    #[error("it is not one for a group")]
    Opcode,
    /// It is shorter than its header and elements.
    #[error("the message is too short")]
    Short,
    /// There is no such queue.
    #[error("the group has no queue {0} of type {1}")]
    NoQueue(u32, u32),
    /// There is no such vector.
    #[error("the group has no vector {0}")]
    NoVector(u16),
    /// Two resources that belong together are of different members.
    #[error(
        "{what} {other} is not one of the ADI that has queue {queue}: both must be of one ADI"
    )]
    Apart {
        /// The resource.
        what: &'static str,
        /// Its number in the group.
        other: u16,
        /// The queue in the group.
        queue: u32,
    },
    /// An id of a member does not fit its field.
    #[error("the id {0} of a queue does not fit the message")]
    TooLarge(u32),
}

type Result<T> = std::result::Result<T, Unroutable>;

/// A message to a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Routed {
    pub(super) member: usize,
    pub(super) payload: Vec<u8>,
}

/// The way in which the reply of the group is made of those of its members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Replies {
    /// It is the first one.
    First,
    /// The states in them follow the request's header of this length.
    States(usize),
    /// It has the first fault, and the sum of their counts.
    Faults,
}

impl Replies {
    /// Makes the reply to a request.
    pub(super) fn merge(self, request: &[u8], replies: &[Vec<u8>]) -> Vec<u8> {
        match self {
            Self::First => replies.first().cloned().unwrap_or_default(),
            Self::States(header) => {
                let mut all = request.get(..header).unwrap_or_default().to_vec();
                let states = replies.iter().filter_map(|reply| reply.get(header..));
                states.for_each(|states| all.extend(states));
                all
            }
            Self::Faults => {
                let faults = replies
                    .iter()
                    .map(|reply| AdiFault::read_from_prefix(reply));
                let faults: Vec<_> = faults.flatten().map(|(fault, _)| fault).collect();
                let found = faults
                    .iter()
                    .find(|it| it.reason.get() != fault_reason::NONE);
                let mut first = found.or(faults.first()).copied().unwrap_or_default();
                let sum = faults
                    .iter()
                    .fold(0_u64, |sum, it| sum.saturating_add(it.count.get()));
                first.count.set(sum);
                first.as_bytes().to_vec()
            }
        }
    }
}

/// The messages to the members, and the way to make the reply.
pub(super) fn route(parts: &Parts, opcode: u32, payload: &[u8]) -> Result<(Vec<Routed>, Replies)> {
    let routed = match opcode {
        op::CONFIG_TX_QUEUES => config_tx(parts, payload),
        op::CONFIG_RX_QUEUES => config_rx(parts, payload),
        op::ENABLE_QUEUES | op::DISABLE_QUEUES => queues(parts, payload),
        op::MAP_QUEUE_VECTOR | op::UNMAP_QUEUE_VECTOR => vector_maps(parts, payload),
        op::ENABLE_VPORT | op::DISABLE_VPORT => {
            leaders(parts, payload, |it: &mut Vport| &mut it.vport_id)
        }
        op::GET_STATS => leaders(parts, payload, |it: &mut VportStats| &mut it.vport_id),
        op::SET_RSS_KEY => leaders(parts, payload, |it: &mut RssKey| &mut it.vport_id),
        op::SET_RSS_LUT => leaders(parts, payload, |it: &mut RssLut| &mut it.vport_id),
        op::SET_RSS_HASH => leaders(parts, payload, |it: &mut RssHash| &mut it.vport_id),
        op::ADD_MAC_ADDR | op::DEL_MAC_ADDR => {
            leaders(parts, payload, |it: &mut MacAddrList| &mut it.vport_id)
        }
        // The leader's suspension is that of all.
        adi_op::SUSPEND_ADI | adi_op::RESUME_ADI => {
            let adi = |it: &mut SuspendAdi| it.adi_id.set(parts.ids(0).adi);
            to(0, payload, adi).map(|routed| vec![routed])
        }
        adi_op::GET_ADI_FAULT => {
            let faults = parts.members().map(|member| {
                let adi = |it: &mut AdiFault| it.adi_id.set(parts.ids(member).adi);
                to(member, payload, adi)
            });
            return Ok((faults.collect::<Result<_>>()?, Replies::Faults));
        }
        adi_op::GET_ADI_QUEUE_STATE | adi_op::SET_ADI_QUEUE_STATE => {
            let routed = queue_states(parts, payload, opcode == adi_op::SET_ADI_QUEUE_STATE)?;
            return Ok((routed, Replies::States(AdiQueueStates::LEN)));
        }
        adi_op::GET_ADI_VECTOR_STATE | adi_op::SET_ADI_VECTOR_STATE => {
            let routed = vector_states(parts, payload, opcode == adi_op::SET_ADI_VECTOR_STATE)?;
            return Ok((routed, Replies::States(AdiVectorStates::LEN)));
        }
        _ => Err(Unroutable::Opcode),
    };
    Ok((routed?, Replies::First))
}

fn header<T: FromBytes + KnownLayout + Immutable + Unaligned>(
    payload: &[u8],
) -> Result<(&T, &[u8])> {
    T::ref_from_prefix(payload).map_err(|_| Unroutable::Short)
}

fn elements<T: FromBytes + KnownLayout + Immutable + Unaligned>(
    rest: &[u8],
    count: U16,
) -> Result<&[T]> {
    let elements = <[T]>::ref_from_prefix_with_elems(rest, count.get().into());
    elements
        .map(|(elements, _)| elements)
        .map_err(|_| Unroutable::Short)
}

/// A message to a member whose header is changed.
fn to<T>(member: usize, payload: &[u8], change: impl FnOnce(&mut T)) -> Result<Routed>
where
    T: FromBytes + IntoBytes + KnownLayout + Immutable,
{
    let mut payload = payload.to_vec();
    let (header, _) = T::mut_from_prefix(&mut payload).map_err(|_| Unroutable::Short)?;
    change(header);
    Ok(Routed { member, payload })
}

/// A message about the virtual port, which is the leader's.
fn leaders<T>(
    parts: &Parts,
    payload: &[u8],
    vport: impl FnOnce(&mut T) -> &mut U32,
) -> Result<Vec<Routed>>
where
    T: FromBytes + IntoBytes + KnownLayout + Immutable,
{
    let change = |header: &mut T| vport(header).set(parts.ids(0).vport);
    to(0, payload, change).map(|routed| vec![routed])
}

fn message<H, E>(member: usize, header: &H, elements: &[E]) -> Routed
where
    H: IntoBytes + Immutable,
    E: IntoBytes + Immutable,
{
    Routed {
        member,
        payload: [header.as_bytes(), elements.as_bytes()].concat(),
    }
}

fn kind_of(type_: U32) -> Option<QueueKind> {
    let mut kinds = QueueKind::ALL.into_iter();
    kinds.find(|&kind| kind as u32 == type_.get())
}

/// The member that has a queue, and its id there.
fn place(parts: &Parts, type_: U32, queue: U32) -> Result<(usize, U32)> {
    let found = kind_of(type_).and_then(|kind| parts.queue(kind, queue.get()));
    let (member, id) = found.ok_or(Unroutable::NoQueue(queue.get(), type_.get()))?;
    Ok((member, U32::new(id)))
}

/// The id of a queue that another queue of a member uses.
fn used(
    parts: &Parts,
    (member, queue): (usize, U32),
    (what, kind): (&'static str, QueueKind),
    other: U16,
) -> Result<U16> {
    let (owner, id) = place(parts, U32::new(kind as u32), U32::new(other.get().into()))?;
    if owner != member {
        return Err(Unroutable::Apart {
            what,
            other: other.get(),
            queue: queue.get(),
        });
    }
    let id = id.get();
    u16::try_from(id)
        .map(U16::new)
        .map_err(|_| Unroutable::TooLarge(id))
}

fn config_tx(parts: &Parts, payload: &[u8]) -> Result<Vec<Routed>> {
    let (all, rest) = header::<ConfigTxQueues>(payload)?;
    let infos = elements::<TxqInfo>(rest, all.num_qinfo)?;
    let one = |info: &TxqInfo| {
        let (member, queue_id) = place(parts, info.type_, info.queue_id)?;
        let ids = parts.ids(member);
        let pasid = U32::new(ids.pasid);
        let mut own = TxqInfo {
            queue_id,
            egress_pasid: pasid,
            egress_hdr_pasid: pasid,
            egress_buf_pasid: pasid,
            ..*info
        };
        if info.type_.get() == queue_type::TX {
            let what = ("completion queue", QueueKind::TxCompletion);
            let target = info.tx_compl_queue_id;
            own.tx_compl_queue_id = used(parts, (member, info.queue_id), what, target)?;
        }
        let header = ConfigTxQueues {
            vport_id: U32::new(ids.vport),
            num_qinfo: U16::new(1),
            ..*all
        };
        Ok(message(member, &header, &[own]))
    };
    infos.iter().map(one).collect()
}

fn config_rx(parts: &Parts, payload: &[u8]) -> Result<Vec<Routed>> {
    let (all, rest) = header::<ConfigRxQueues>(payload)?;
    let infos = elements::<RxqInfo>(rest, all.num_qinfo)?;
    let one = |info: &RxqInfo| {
        let (member, queue_id) = place(parts, info.type_, info.queue_id)?;
        let ids = parts.ids(member);
        let pasid = U32::new(ids.pasid);
        let mut own = RxqInfo {
            queue_id,
            ingress_pasid: pasid,
            ingress_hdr_pasid: pasid,
            ingress_buf_pasid: pasid,
            ..*info
        };
        if info.type_.get() == queue_type::RX {
            let used = |other| {
                let what = ("buffer queue", QueueKind::RxBuffer);
                used(parts, (member, info.queue_id), what, other)
            };
            own.rx_bufq1_id = used(info.rx_bufq1_id)?;
            if info.bufq2_ena != 0 {
                own.rx_bufq2_id = used(info.rx_bufq2_id)?;
            }
        }
        let header = ConfigRxQueues {
            vport_id: U32::new(ids.vport),
            num_qinfo: U16::new(1),
            ..*all
        };
        Ok(message(member, &header, &[own]))
    };
    infos.iter().map(one).collect()
}

/// Enables or disables queues: one message for each member that has some, so that a TX queue stops
/// together with its completion queue.
fn queues(parts: &Parts, payload: &[u8]) -> Result<Vec<Routed>> {
    let (all, rest) = header::<DelEnaDisQueues>(payload)?;
    let mut by_member = vec![Vec::new(); parts.members().len()];
    for chunk in elements::<QueueChunk>(rest, all.chunks.num_chunks)? {
        let (first, count) = (chunk.start_queue_id.get(), chunk.num_queues.get());
        let shares = kind_of(chunk.type_).and_then(|kind| parts.queues(kind, first, count));
        for share in shares.ok_or(Unroutable::NoQueue(first, chunk.type_.get()))? {
            by_member[share.member].push(QueueChunk {
                start_queue_id: U32::new(share.first),
                num_queues: U32::new(share.count),
                ..*chunk
            });
        }
    }
    let messages = by_member.into_iter().enumerate();
    let messages = messages.filter(|(_, chunks)| !chunks.is_empty());
    let messages = messages.map(|(member, chunks)| {
        let mut header = *all;
        header.vport_id.set(parts.ids(member).vport);
        header.chunks.num_chunks.set(chunks.len() as u16);
        message(member, &header, &chunks)
    });
    Ok(messages.collect())
}

fn vector_maps(parts: &Parts, payload: &[u8]) -> Result<Vec<Routed>> {
    let (all, rest) = header::<QueueVectorMaps>(payload)?;
    let maps = elements::<QueueVector>(rest, all.num_qv_maps)?;
    let one = |map: &QueueVector| {
        let (member, queue_id) = place(parts, map.queue_type, map.queue_id)?;
        let vector = map.vector_id.get();
        let (owner, own) = parts.vector(vector).ok_or(Unroutable::NoVector(vector))?;
        let vector = match owner == member {
            true => own,
            false => GROUP_VECTOR | vector,
        };
        let own = QueueVector {
            queue_id,
            vector_id: U16::new(vector),
            ..*map
        };
        let header = QueueVectorMaps {
            vport_id: U32::new(parts.ids(member).vport),
            num_qv_maps: U16::new(1),
            ..*all
        };
        Ok(message(member, &header, &[own]))
    };
    maps.iter().map(one).collect()
}

/// Reads or sets the states of queues, which are elements of the message that sets them.
fn queue_states(parts: &Parts, payload: &[u8], set: bool) -> Result<Vec<Routed>> {
    let (all, rest) = header::<AdiQueueStates>(payload)?;
    let (first, count) = (all.start_queue_id.get(), all.num_states.get());
    let mut states = match set {
        true => elements::<AdiQueueState>(rest, all.num_states)?,
        false => &[],
    };
    let shares = kind_of(all.type_).and_then(|kind| parts.queues(kind, first, count.into()));
    let shares = shares.ok_or(Unroutable::NoQueue(first, all.type_.get()))?;
    let one = |share: super::parts::Share<u32>| {
        let header = AdiQueueStates {
            adi_id: U16::new(parts.ids(share.member).adi),
            num_states: U16::new(share.count as u16), // at most those of the message
            start_queue_id: U32::new(share.first),
            ..*all
        };
        message(
            share.member,
            &header,
            take(&mut states, share.count as usize),
        )
    };
    Ok(shares.into_iter().map(one).collect())
}

/// Reads or sets the states of vectors.
fn vector_states(parts: &Parts, payload: &[u8], set: bool) -> Result<Vec<Routed>> {
    let (all, rest) = header::<AdiVectorStates>(payload)?;
    let (first, count) = (all.start_vector_id.get(), all.num_states.get());
    let mut states = match set {
        true => elements::<AdiVectorState>(rest, all.num_states)?,
        false => &[],
    };
    let shares = parts.vectors(first, count);
    let one = |share: super::parts::Share<u16>| {
        let header = AdiVectorStates {
            adi_id: U16::new(parts.ids(share.member).adi),
            num_states: U16::new(share.count),
            start_vector_id: U16::new(share.first),
            ..*all
        };
        message(share.member, &header, take(&mut states, share.count.into()))
    };
    let shares = shares.ok_or(Unroutable::NoVector(first))?;
    Ok(shares.into_iter().map(one).collect())
}

/// Takes the first elements of a slice, as far as it has them.
fn take<'a, T>(all: &mut &'a [T], count: usize) -> &'a [T] {
    let (first, rest) = all.split_at(count.min(all.len()));
    *all = rest;
    first
}
