// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The messages about the suspension of an ADI, and about the states of its queues and vectors.

use adit_function::dataplane::{QueueKind, QueuePosition};
use adit_uapi::virtchnl2::adi::{
    op as adi_op, vector_state_flags, AdiQueueState, AdiQueueStates, AdiVectorState,
    AdiVectorStates, SuspendAdi,
};
use zerocopy::little_endian::{U16, U32};
use zerocopy::FromBytes;

use super::{message, type_of, Encoder, Message};

impl Encoder {
    /// Suspends or resumes the ADI.
    pub(in super::super) fn suspend(self, suspend: bool) -> Message {
        let header = SuspendAdi {
            adi_id: U16::new(self.0.adi),
            ..SuspendAdi::default()
        };
        let opcode = match suspend {
            true => adi_op::SUSPEND_ADI,
            false => adi_op::RESUME_ADI,
        };
        message::<_, u8>(opcode, &header, &[])
    }

    /// Requests the positions of all `count` queues of a kind; see [`positions`].
    pub(in super::super) fn get_positions(self, kind: QueueKind, count: u16) -> Message {
        let header = self.queue_states(kind, count);
        message::<_, u8>(adi_op::GET_ADI_QUEUE_STATE, &header, &[])
    }

    /// Sets the positions of all queues of a kind: those that are enabled have one.
    pub(in super::super) fn set_positions(
        self,
        kind: QueueKind,
        positions: &[Option<QueuePosition>],
    ) -> Message {
        let state = |position: &Option<QueuePosition>| {
            position.map_or_else(AdiQueueState::default, AdiQueueState::from)
        };
        let states: Vec<_> = positions.iter().map(state).collect();
        let header = self.queue_states(kind, states.len() as u16);
        message(adi_op::SET_ADI_QUEUE_STATE, &header, &states)
    }

    fn queue_states(self, kind: QueueKind, count: u16) -> AdiQueueStates {
        AdiQueueStates {
            adi_id: U16::new(self.0.adi),
            num_states: U16::new(count),
            type_: U32::new(type_of(kind)),
            start_queue_id: self.queue(kind, 0),
            ..AdiQueueStates::default()
        }
    }

    /// Requests the causes of all `count` vectors; see [`causes`].
    pub(in super::super) fn get_causes(self, count: u16) -> Message {
        let header = self.vector_states(count);
        message::<_, u8>(adi_op::GET_ADI_VECTOR_STATE, &header, &[])
    }

    /// Sets the causes of all vectors.
    pub(in super::super) fn set_causes(self, pending: &[bool]) -> Message {
        let state = |&pending: &bool| AdiVectorState {
            flags: U16::new(if pending {
                vector_state_flags::PENDING
            } else {
                0
            }),
            ..AdiVectorState::default()
        };
        let states: Vec<_> = pending.iter().map(state).collect();
        let header = self.vector_states(states.len() as u16);
        message(adi_op::SET_ADI_VECTOR_STATE, &header, &states)
    }

    fn vector_states(self, count: u16) -> AdiVectorStates {
        AdiVectorStates {
            adi_id: U16::new(self.0.adi),
            num_states: U16::new(count),
            ..AdiVectorStates::default()
        }
    }
}

/// The positions in the reply to [`Encoder::get_positions`], of the queues that are enabled; `None` if
/// it has another number of queues.
pub(in super::super) fn positions(reply: &[u8], count: u16) -> Option<Vec<Option<QueuePosition>>> {
    let (_, rest) = AdiQueueStates::ref_from_prefix(reply).ok()?;
    let states = <[AdiQueueState]>::ref_from_bytes(rest).ok()?;
    (states.len() == usize::from(count)).then(|| states.iter().map(QueuePosition::of).collect())
}

/// The causes in the reply to [`Encoder::get_causes`]; `None` if it has another number of vectors.
pub(in super::super) fn causes(reply: &[u8], count: u16) -> Option<Vec<bool>> {
    let (_, rest) = AdiVectorStates::ref_from_prefix(reply).ok()?;
    let states = <[AdiVectorState]>::ref_from_bytes(rest).ok()?;
    let pending = |state: &AdiVectorState| state.flags.get() & vector_state_flags::PENDING != 0;
    (states.len() == usize::from(count)).then(|| states.iter().map(pending).collect())
}
