// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Suspension of an ADI, and the states of its queues and vectors.

use adit_uapi::virtchnl2::adi::{
    queue_state_flags, vector_state_flags, AdiQueueState, AdiQueueStates, AdiVectorState,
    AdiVectorStates, SuspendAdi,
};
use zerocopy::little_endian::U16;
use zerocopy::IntoBytes;

use super::super::queue_set::State;
use super::super::{wire, Control, Refusal};
use super::Adi;
use crate::dataplane::{DataPlane, QueueId, QueuePosition};
use crate::ids::{AdiId, VectorId};

/// The bits of [`AdiQueueState::flags`] that have a meaning.
const QUEUE_FLAGS: u16 =
    queue_state_flags::ENABLED | queue_state_flags::GENERATION | queue_state_flags::STOPPED;

impl Control {
    pub(in super::super) fn suspend_adi(
        &mut self,
        payload: &[u8],
        dp: &mut impl DataPlane,
        suspend: bool,
    ) -> Result<(), Refusal> {
        let id = AdiId(wire::header::<SuspendAdi>(payload)?.0.adi_id.get());
        for id in self.adis.led_by(id)? {
            let adi = self.adis.get_mut(id).ok_or(Refusal::NoSuchVport)?;
            if adi.suspended != suspend {
                adi.suspended = suspend;
                dp.set_suspended(adi.config.vport, suspend);
            }
        }
        Ok(())
    }

    pub(in super::super) fn get_adi_queue_state(
        &mut self,
        payload: &[u8],
        dp: &impl DataPlane,
        reply: &mut Vec<u8>,
    ) -> Result<(), Refusal> {
        let (header, _) = wire::header::<AdiQueueStates>(payload)?;
        let (_, queues) = self.suspended_queues(header)?;
        reply.extend_from_slice(header.as_bytes());
        for queue in queues {
            let position = dp.position(queue);
            let state = position.map_or_else(AdiQueueState::default, AdiQueueState::from);
            reply.extend_from_slice(state.as_bytes());
        }
        Ok(())
    }

    pub(in super::super) fn set_adi_queue_state(
        &mut self,
        payload: &[u8],
        dp: &mut impl DataPlane,
    ) -> Result<(), Refusal> {
        let (header, rest) = wire::header::<AdiQueueStates>(payload)?;
        let states = wire::elements::<AdiQueueState>(rest, header.num_states.get())?;
        let (adi, queues) = self.suspended_queues(header)?;
        let mut positions = Vec::with_capacity(states.len());
        for (queue, state) in queues.into_iter().zip(states) {
            if let Some(position) = adi.check_state(queue, state)? {
                positions.push((queue, position));
            }
        }
        for (queue, position) in positions {
            dp.set_position(queue, position);
        }
        Ok(())
    }

    pub(in super::super) fn get_adi_vector_state(
        &mut self,
        payload: &[u8],
        dp: &impl DataPlane,
        reply: &mut Vec<u8>,
    ) -> Result<(), Refusal> {
        let (header, _) = wire::header::<AdiVectorStates>(payload)?;
        let vectors = self.suspended_vectors(header)?;
        reply.extend_from_slice(header.as_bytes());
        for vector in vectors {
            let flags = match dp.is_pending(vector) {
                true => vector_state_flags::PENDING,
                false => 0,
            };
            let state = AdiVectorState {
                flags: U16::new(flags),
                ..AdiVectorState::default()
            };
            reply.extend_from_slice(state.as_bytes());
        }
        Ok(())
    }

    pub(in super::super) fn set_adi_vector_state(
        &mut self,
        payload: &[u8],
        dp: &mut impl DataPlane,
    ) -> Result<(), Refusal> {
        let (header, rest) = wire::header::<AdiVectorStates>(payload)?;
        let states = wire::elements::<AdiVectorState>(rest, header.num_states.get())?;
        let vectors = self.suspended_vectors(header)?;
        let unknown =
            |state: &AdiVectorState| state.flags.get() & !vector_state_flags::PENDING != 0;
        if states.iter().any(unknown) {
            return Err(Refusal::BadField);
        }
        for (vector, state) in vectors.zip(states) {
            dp.set_pending(vector, state.flags.get() & vector_state_flags::PENDING != 0);
        }
        Ok(())
    }

    fn suspended_adi(&mut self, id: u16) -> Result<&mut Adi, Refusal> {
        let adi = self.adis.get_mut(AdiId(id)).ok_or(Refusal::NoSuchVport)?;
        match adi.suspended {
            true => Ok(adi),
            false => Err(Refusal::NotSuspended),
        }
    }

    /// The ADI and the queues that a message is about.
    fn suspended_queues(
        &mut self,
        header: &AdiQueueStates,
    ) -> Result<(&mut Adi, Vec<QueueId>), Refusal> {
        let adi = self.suspended_adi(header.adi_id.get())?;
        let (first, count) = (header.start_queue_id.get(), header.num_states.get());
        let queues = &mut adi.vport.queues;
        let queues = queues.range(header.type_.get(), first, count.into())?;
        let queues = queues.collect();
        Ok((adi, queues))
    }

    /// The vectors that a message is about.
    fn suspended_vectors(
        &mut self,
        header: &AdiVectorStates,
    ) -> Result<impl Iterator<Item = VectorId>, Refusal> {
        let adi = self.suspended_adi(header.adi_id.get())?;
        let resources = adi.vport.adi.ok_or(Refusal::DataPlane)?;
        let (first, count) = (header.start_vector_id.get(), header.num_states.get());
        if count == 0 {
            return Err(Refusal::BadField);
        }
        let end = first.checked_add(count).ok_or(Refusal::OutOfRange)?;
        if end > resources.vectors {
            return Err(Refusal::OutOfRange);
        }
        Ok((first..end).map(move |vector| resources.first_vector.nth(vector)))
    }
}

impl Adi {
    /// Checks a state to be set in a queue; `None` if the queue is not enabled.
    fn check_state(
        &mut self,
        queue: QueueId,
        state: &AdiQueueState,
    ) -> Result<Option<QueuePosition>, Refusal> {
        let (next, flags) = (state.next.get(), state.flags.get());
        let slot = self.vport.queues.slot(queue)?;
        let enabled = flags & queue_state_flags::ENABLED != 0;
        if flags & !QUEUE_FLAGS != 0 || (!enabled && (flags, next) != (0, 0)) {
            return Err(Refusal::BadField);
        }
        if enabled != (slot.state == State::Enabled) {
            return Err(Refusal::OutOfOrder);
        }
        let Some(config) = slot.config.filter(|_| enabled) else {
            return Ok(None);
        };
        if next >= config.ring().len {
            return Err(Refusal::OutOfRange);
        }
        Ok(QueuePosition::of(state))
    }
}
