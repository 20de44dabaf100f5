// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Suspension of the ADIs of a device, and the positions of their queues.

use adit_function::dataplane::{QueueKind, QueuePosition};

use super::messages::{causes, positions, Message};
use super::{Composition, Port};
use crate::backend::AdiError;
use crate::protocol::TraceEvent;
use crate::snapshot::{QueueState, StateError};
use crate::trace::opcode_name;

/// The state of an ADI that messages carry.
pub(crate) struct PortState {
    /// The queues that are enabled, by kind and number in the ADI.
    pub(crate) queues: Vec<QueueState>,
    /// Set for each vector that has a cause latched.
    pub(crate) pending: Vec<bool>,
}

impl Composition {
    /// Suspends all ADIs: they access no memory and signal no vector when this returns.
    ///
    /// # Errors
    /// Fails when an ADI is gone or cannot be suspended; none is then.
    pub(crate) fn suspend(&self) -> Result<(), StateError> {
        for port in 0..self.ports.len() {
            if let Err(error) = self.suspend_port(port, true) {
                for port in 0..port {
                    // One that fails now is found to be gone by its next message.
                    let _ = self.suspend_port(port, false);
                }
                return Err(error);
            }
        }
        Ok(())
    }

    /// Resumes all ADIs, also those that a predecessor of this process has suspended.
    ///
    /// # Errors
    /// Fails when an ADI is gone. The others are resumed.
    pub(crate) fn resume(&self) -> Result<(), StateError> {
        self.ports.iter().for_each(Port::take_over);
        let results: Vec<_> = (0..self.ports.len())
            .map(|port| self.suspend_port(port, false))
            .collect();
        results.into_iter().collect()
    }

    fn suspend_port(&self, port: usize, suspend: bool) -> Result<(), StateError> {
        let message = self.ports[port].encoder.suspend(suspend);
        self.exchange(port, &message).map(drop)
    }

    /// The state of a suspended ADI.
    ///
    /// # Errors
    /// Fails when the ADI does.
    pub(crate) fn save_port(&self, port: usize) -> Result<PortState, StateError> {
        let mut queues = Vec::new();
        for kind in QueueKind::ALL {
            let count = self.queues_of_adi(kind);
            let message = self.ports[port].encoder.get_positions(kind, count);
            let reply = self.exchange(port, &message)?;
            let states = positions(&reply, count).ok_or_else(|| self.malformed(port, &message))?;
            let enabled = (0..).zip(states);
            let enabled = enabled.filter_map(|(index, position)| Some((index, position?)));
            queues.extend(enabled.map(|(index, position)| QueueState {
                kind,
                index,
                position,
            }));
        }
        let count = self.frames.vectors;
        let message = self.ports[port].encoder.get_causes(count);
        let reply = self.exchange(port, &message)?;
        let pending = causes(&reply, count).ok_or_else(|| self.malformed(port, &message))?;
        Ok(PortState { queues, pending })
    }

    /// Sets the state of a suspended ADI whose queues have been enabled.
    ///
    /// # Errors
    /// Fails when the ADI does, or has enabled other queues.
    pub(crate) fn restore_port(&self, port: usize, state: &PortState) -> Result<(), StateError> {
        for kind in QueueKind::ALL {
            let mut positions: Vec<Option<QueuePosition>> =
                vec![None; self.queues_of_adi(kind).into()];
            for queue in state.queues.iter().filter(|queue| queue.kind == kind) {
                if let Some(place) = positions.get_mut(queue.index as usize) {
                    *place = Some(queue.position);
                }
            }
            let message = self.ports[port].encoder.set_positions(kind, &positions);
            self.exchange(port, &message)?;
        }
        let message = self.ports[port].encoder.set_causes(&state.pending);
        self.exchange(port, &message).map(drop)
    }

    /// The number of queues of a kind of each ADI, of which the virtual port may use fewer.
    fn queues_of_adi(&self, kind: QueueKind) -> u16 {
        match kind {
            QueueKind::Tx | QueueKind::TxCompletion | QueueKind::Rx => self.frames.pairs,
            QueueKind::RxBuffer => 2 * self.frames.pairs,
        }
    }

    /// Sends a message that is not part of a driver's request.
    fn exchange(&self, port: usize, message: &Message) -> Result<Vec<u8>, StateError> {
        let mut reply = Vec::new();
        let result = self.ports[port].send(message, &mut reply);
        self.record(TraceEvent::AdiRequest {
            vport: port as u32,
            opcode: message.opcode,
            name: opcode_name(message.opcode).to_owned(),
            error: result.as_ref().err().map(ToString::to_string),
        });
        match result {
            Ok(()) => Ok(reply),
            Err(error) => Err(self.failed(port, error)),
        }
    }

    fn malformed(&self, port: usize, message: &Message) -> StateError {
        let source = std::io::Error::other(format!(
            "the reply to {} has another length",
            opcode_name(message.opcode)
        ));
        let what = "reading the state of an ADI";
        self.failed(port, AdiError::Io { what, source })
    }

    fn failed(&self, port: usize, error: AdiError) -> StateError {
        let adi = self.ports[port].name.clone();
        StateError::Adi { adi, error }
    }
}
