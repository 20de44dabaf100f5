// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Execution of calls: one exhaustive match for each enum of calls.

use adit_conntrack::Checksums;

use super::{Environment, Extra, Forward};
use crate::checksum::verify::{verify, Check};
use crate::fragment::Fragmentation;
use crate::p4::events::Digest;
use crate::p4::externs::{
    Call, DirectionCall, ForwardCall, MessageCall, Operand, ReceiveCall, V1modelCall,
};
use crate::p4::metadata::NO_FIELDS;
use crate::p4::packets::{DROP_PORT, FIRST_HOST_PORT};
use crate::parse::Parsed;
use crate::reject::{Reason, Rejection};

/// The list of fields to preserve; if omitted, an empty one.
fn kept(list: &Option<Operand>, frame: &[u64]) -> u32 {
    list.as_ref()
        .map_or(NO_FIELDS, |list| list.get(frame) as u32)
}

impl Environment<'_> {
    /// Executes a call.
    pub(super) fn execute(&mut self, call: &Call, frame: &mut [u64]) {
        match call {
            Call::Nothing => {}
            Call::Counter(call) => self.count(call, frame),
            Call::Meter(call) => self.meter(call, frame),
            Call::Register(call) => self.register(call, frame),
            Call::Hash(call) => self.hash(call, frame),
            Call::Checksum(call) => self.checksum(call, frame),
            Call::Sum(call) => self.internet_checksum(call, frame),
            Call::Random(call) => self.random(call, frame),
            Call::Message(call) => self.message(call, frame),
            Call::Entry(call) => self.entry(call, frame),
            Call::Direction(call) => direction(call, frame),
            Call::Forward(call) => self.forward(call, frame),
            Call::Receive(call) => self.receive(call, frame),
            Call::InputQueue(result) => result.set(frame, self.local.input_queue.into()),
            Call::IsAnswer(result) => result.set(frame, self.local.is_answer.into()),
            Call::HasRightChecksum(result) => result.set(frame, self.has_right_checksum().into()),
            Call::FragmentSize(result) => result.set(frame, self.local.fragment_size.into()),
            Call::Segments(result) => result.set(frame, self.local.segments()),
            Call::Conntrack(call) => self.conntrack(call, frame),
            Call::V1model(call) => self.v1model(call, frame),
        }
    }

    /// Verifies the transport checksum of the packet of this pass, unless that is known.
    fn has_right_checksum(&self) -> bool {
        let data = self.data;
        self.local.packet_checksums == Checksums::Valid
            || Parsed::new(data, data.len())
                .is_ok_and(|parsed| verify(&parsed, &[data]).l4 != Check::Bad)
    }

    /// Executes a call that sends a message to a control plane or operator.
    fn message(&mut self, call: &MessageCall, frame: &mut [u64]) {
        match call {
            MessageCall::Digest {
                object,
                receiver,
                data,
            } => {
                self.local.gather(data, frame);
                self.state.digests.push(|| Digest {
                    object: *object,
                    receiver: receiver.as_ref().map_or(0, |r| r.get(frame)),
                    data: self.local.bytes.clone(),
                });
            }
            MessageCall::Assert(assertion) => {
                if !assertion.holds(frame) {
                    self.local.assertion_failed = true;
                    self.state.logs.push(|| assertion.message());
                }
            }
            MessageCall::Log(log) => {
                self.state.logs.push(|| log.message(frame));
            }
        }
    }

    /// Executes a call that requests a destination or a mirror.
    fn forward(&mut self, call: &ForwardCall, frame: &mut [u64]) {
        match call {
            ForwardCall::Port(port) => self.local.requests.forward = Forward::Port(port.get(frame)),
            ForwardCall::Group(group) => {
                self.local.requests.forward = Forward::Group(group.get(frame));
            }
            ForwardCall::Drop => self.local.requests.forward = Forward::Drop,
            ForwardCall::Reject => self.local.requests.forward = Forward::Reject,
            ForwardCall::RejectWith {
                reason,
                source,
                mtu,
                offset,
            } => {
                self.local.rejection = Rejection {
                    // The members of `RejectReason_t`; another value is no member.
                    reason: match reason.get(frame) {
                        1 => Reason::HopsExceeded,
                        2 => Reason::TooBig(mtu.get(frame) as u16),
                        _ => Reason::Refused,
                    },
                    source: source.wide(frame),
                };
                self.local.requests.forward = match offset {
                    None => Forward::RejectWith,
                    Some(offset) => Forward::RejectBehind(offset.get(frame) as u16),
                };
            }
            ForwardCall::Recirculate => self.local.requests.forward = Forward::Again,
            ForwardCall::RecirculateInner => self.local.requests.forward = Forward::AgainInner,
            ForwardCall::Mirror { slot, session } => {
                // One mirror for each slot: the last call for it wins.
                let (slot, session) = (slot.get(frame), session.get(frame));
                let extras = &mut self.local.extras;
                extras.retain(|it| !matches!(it, Extra::Mirror { slot: of, .. } if *of == slot));
                extras.push(Extra::Mirror { slot, session });
            }
            ForwardCall::Fragments { mtu, offset } => {
                let fragmentation = Fragmentation {
                    mtu: mtu.get(frame) as u16,
                    offset: offset.get(frame) as u16,
                };
                let extras = &mut self.local.extras;
                extras.retain(|it| !matches!(it, Extra::Fragments(_)));
                extras.push(Extra::Fragments(fragmentation));
            }
        }
    }

    /// Executes a call that sets receive metadata.
    fn receive(&mut self, call: &ReceiveCall, frame: &mut [u64]) {
        match call {
            ReceiveCall::Queue(queue) => {
                self.local.requests.receive.queue = Some(queue.get(frame) as u16);
            }
            ReceiveCall::FlowId(id) => {
                self.local.requests.receive.flow_id = Some(id.get(frame) as u32);
            }
            ReceiveCall::Hash(hash) => {
                self.local.requests.receive.hash = Some(hash.get(frame) as u32);
            }
        }
    }

    /// Executes a call whose request is processed at the end of ingress or egress.
    fn v1model(&mut self, call: &V1modelCall, frame: &mut [u64]) {
        match call {
            V1modelCall::MarkToDrop {
                base,
                egress_spec,
                mcast_grp,
            } => {
                egress_spec.set(frame, *base, DROP_PORT);
                mcast_grp.set(frame, *base, 0);
            }
            V1modelCall::DropAny => self.local.requests.drop = true,
            V1modelCall::Clone {
                kind,
                session,
                list,
            } => {
                let list = list.as_ref().map(|l| l.get(frame) as u32);
                let request = Some((session.get(frame), list));
                match kind.get(frame) {
                    0 => self.local.requests.clone_ingress = request,
                    _ => self.local.requests.clone_egress = request,
                }
            }
            V1modelCall::Resubmit(list) => self.local.requests.resubmit = Some(kept(list, frame)),
            V1modelCall::Recirculate(list) => {
                self.local.requests.recirculate = Some(kept(list, frame))
            }
            V1modelCall::Truncate(length) => {
                // Of several calls the shortest length applies.
                let (length, before) = (length.get(frame), self.local.requests.truncate);
                self.local.requests.truncate = Some(before.map_or(length, |b| b.min(length)));
            }
        }
    }
}

/// Executes a function of the packet's direction.
fn direction(call: &DirectionCall, frame: &mut [u64]) {
    match call {
        DirectionCall::IsPort {
            port,
            is_host,
            result,
        } => {
            let from_host = port.get(frame) >= FIRST_HOST_PORT.into();
            result.set(frame, (from_host == *is_host).into());
        }
        DirectionCall::Select {
            direction,
            first,
            second,
            result,
        } => {
            let chosen = match direction.get(frame) {
                0 => first,
                _ => second,
            };
            let from = chosen.slot() as usize;
            let limbs = result.limbs() as usize;
            frame.copy_within(from..from + limbs, result.slot() as usize);
        }
    }
}
