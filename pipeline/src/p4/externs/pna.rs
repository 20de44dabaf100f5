// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The extern functions and methods of PNA.

use adit_p4_frontend::ir::{Argument, Constant, Layout};

use super::call::{
    Call, ChecksumCall, Colors, CounterCall, DirectionCall, EntryCall, ForwardCall, HashCall,
    LifetimeOperand, MessageCall, MeterCall, RandomCall, ReceiveCall, RegisterCall, SumCall,
};
use super::conntrack::ConntrackCall;
use super::messages::{Assertion, Log};
use super::operand::Operand;
use super::unresolved::Unresolved;
use crate::p4::hash::Algorithm;
use crate::p4::unsupported::Unsupported;

/// `PNA_MeterColor_t`: the indices of its members, in the order of [`Color`](crate::p4::objects::Color).
const COLORS: Colors = [1, 2, 0];

/// Resolves a call.
pub(super) fn resolve(call: &Unresolved<'_>) -> Result<Call, Unsupported> {
    let (operand, value) = (|n| call.operand(n), |n| call.value(n));
    let object = call.object();
    let chosen = || match call.constructed(0) {
        Some(Constant::Enum(name)) => Algorithm::pna(name)
            .ok_or_else(|| call.without(format!("the algorithm `{name}` of `{}`", call.name))),
        _ => Err(call.unsupported()),
    };
    let number = |n| match call.constructed(n) {
        Some(Constant::Int(value)) => Ok(*value as u64),
        _ => Err(call.unsupported()),
    };
    let given = |n: usize| matches!(call.call.arguments.get(n), Some(Some(_)));
    let add_entry = |condition, first: usize, lifetime: fn(Operand) -> LifetimeOperand| {
        Ok(Call::Entry(EntryCall::Add {
            condition,
            action: match call.call.arguments.get(first) {
                Some(Some(Argument::Text(name))) => name.clone(),
                _ => return Err(call.unsupported()),
            },
            arguments: operand(first + 1)?,
            lifetime: lifetime(operand(first + 2)?),
            result: call.result()?,
            // `true` in the older form, ADD_ENTRY_SUCCESS in 0.7.
            done: match &call.call.result {
                Some((_, Layout::Bool)) => [0, 1],
                _ => [1, 0],
            },
        }))
    };
    Ok(match (call.name.as_str(), call.count()) {
        ("drop_packet", 0) => Call::Forward(ForwardCall::Drop),
        ("reject", 0) => Call::Forward(ForwardCall::Reject),
        ("reject_with", 3) | ("reject_behind", 4) => Call::Forward(ForwardCall::RejectWith {
            reason: operand(0)?,
            source: operand(1)?,
            mtu: operand(2)?,
            offset: (call.count() == 4).then(|| operand(3)).transpose()?,
        }),
        ("send_to_port", 1) => Call::Forward(ForwardCall::Port(operand(0)?)),
        ("multicast", 1) => Call::Forward(ForwardCall::Group(operand(0)?)),
        ("recirculate", 0) => Call::Forward(ForwardCall::Recirculate),
        ("recirculate_inner", 0) => Call::Forward(ForwardCall::RecirculateInner),
        ("input_queue", 0) => Call::InputQueue(call.result()?),
        ("is_answer", 0) => Call::IsAnswer(call.result()?),
        ("segments", 0) => Call::Segments(call.result()?),
        ("has_right_checksum", 0) => Call::HasRightChecksum(call.result()?),
        ("fragment_size", 0) => Call::FragmentSize(call.result()?),
        ("fragment_packet", 2) => Call::Forward(ForwardCall::Fragments {
            mtu: operand(0)?,
            offset: operand(1)?,
        }),
        ("set_queue", 1) => Call::Receive(ReceiveCall::Queue(operand(0)?)),
        ("set_flow_id", 1) => Call::Receive(ReceiveCall::FlowId(operand(0)?)),
        ("set_hash", 1) => Call::Receive(ReceiveCall::Hash(operand(0)?)),
        ("mirror_packet", 2) => Call::Forward(ForwardCall::Mirror {
            slot: operand(0)?,
            session: operand(1)?,
        }),
        ("add_entry", 3) => add_entry(None, 0, LifetimeOperand::Profile)?,
        ("add_entry_if", 4) => add_entry(Some(operand(0)?), 1, LifetimeOperand::Profile)?,
        ("add_entry_for", 3) => add_entry(None, 0, LifetimeOperand::Seconds)?,
        ("allocate_flow_id", 0) => Call::Entry(EntryCall::AllocateFlowId(call.result()?)),
        ("set_entry_expire_time", 1) => Call::Entry(EntryCall::SetExpireTime {
            condition: None,
            lifetime: LifetimeOperand::Profile(operand(0)?),
        }),
        ("set_entry_lifetime", 1) => Call::Entry(EntryCall::SetExpireTime {
            condition: None,
            lifetime: LifetimeOperand::Seconds(operand(0)?),
        }),
        ("set_entry_expire_time_if", 2) => Call::Entry(EntryCall::SetExpireTime {
            condition: Some(operand(0)?),
            lifetime: LifetimeOperand::Profile(operand(1)?),
        }),
        ("restart_expire_timer", 0) => Call::Entry(EntryCall::RestartTimer),
        ("update_expire_info", 3) => Call::Entry(EntryCall::UpdateExpireInfo {
            restart: operand(0)?,
            set: operand(1)?,
            profile: operand(2)?,
        }),
        ("is_net_port" | "is_host_port", 1) => Call::Direction(DirectionCall::IsPort {
            port: operand(0)?,
            is_host: call.name == "is_host_port",
            result: call.result()?,
        }),
        ("SelectByDirection", 3) => {
            // The value 0 is NET_TO_HOST in the older form; in 0.7 it is `false`, not a network
            // port.
            let is_truth_value = matches!(value(0)?, (_, Layout::Bool));
            let (zero, other) = if is_truth_value { (2, 1) } else { (1, 2) };
            Call::Direction(DirectionCall::Select {
                direction: operand(0)?,
                first: operand(zero)?,
                second: operand(other)?,
                result: call.result()?,
            })
        }
        ("Hash.get_hash", 1) => Call::Hash(HashCall::Fixed {
            algorithm: chosen()?,
            data: operand(0)?,
            range: None,
            result: call.result()?,
        }),
        ("Crc64.get_hash", 1) => Call::Hash(HashCall::Fixed {
            algorithm: Algorithm::Crc64,
            data: operand(0)?,
            range: None,
            result: call.result()?,
        }),
        ("Hash.get_hash", 3) => Call::Hash(HashCall::Fixed {
            algorithm: chosen()?,
            data: operand(1)?,
            range: Some((operand(0)?, operand(2)?)),
            result: call.result()?,
        }),
        ("Checksum.clear", 0) => Call::Checksum(ChecksumCall::Clear { object }),
        ("Checksum.update", 1) => Call::Checksum(ChecksumCall::Update {
            object,
            data: operand(0)?,
        }),
        ("Checksum.get", 0) => Call::Checksum(ChecksumCall::Get {
            object,
            algorithm: chosen()?,
            result: call.result()?,
        }),
        ("InternetChecksum.clear", 0) => Call::Sum(SumCall::Clear { object }),
        ("InternetChecksum.add", 1) => Call::Sum(SumCall::Add {
            object,
            data: operand(0)?,
            subtract: false,
        }),
        ("InternetChecksum.subtract", 1) => Call::Sum(SumCall::Add {
            object,
            data: operand(0)?,
            subtract: true,
        }),
        ("InternetChecksum.get", 0) => Call::Sum(SumCall::Get {
            object,
            result: call.result()?,
            inverted: true,
        }),
        ("InternetChecksum.get_state", 0) => Call::Sum(SumCall::Get {
            object,
            result: call.result()?,
            inverted: false,
        }),
        ("InternetChecksum.set_state", 1) => Call::Sum(SumCall::Set {
            object,
            value: operand(0)?,
        }),
        ("Counter.count", 1) => Call::Counter(CounterCall::Count {
            object,
            index: operand(0)?,
            bytes: None,
        }),
        ("Counter.count", 2) => Call::Counter(CounterCall::Count {
            object,
            index: operand(0)?,
            bytes: Some(operand(1)?),
        }),
        ("DirectCounter.count", 0 | 1) => Call::Counter(CounterCall::CountDirect {
            object,
            bytes: given(0).then(|| operand(0)).transpose()?,
        }),
        ("Meter.execute", 1 | 2) => Call::Meter(MeterCall::Mark {
            object,
            index: operand(0)?,
            color: given(1).then(|| operand(1)).transpose()?,
            bytes: None,
            result: call.result()?,
            colors: COLORS,
        }),
        ("Meter.dpdk_execute", count @ 2..=3) => Call::Meter(MeterCall::Mark {
            object,
            index: operand(0)?,
            color: (count == 3).then(|| operand(1)).transpose()?,
            bytes: Some(operand(count - 1)?),
            result: call.result()?,
            colors: COLORS,
        }),
        ("DirectMeter.execute" | "DirectMeter.dpdk_execute", _) => {
            // The form with a color has it first; a length is a number.
            let colored = matches!(value(0), Ok((_, Layout::Enum(_))));
            let length = usize::from(colored);
            Call::Meter(MeterCall::MarkDirect {
                object,
                color: colored.then(|| operand(0)).transpose()?,
                bytes: given(length).then(|| operand(length)).transpose()?,
                result: call.result()?,
                colors: COLORS,
            })
        }
        ("Register.read", 1) => Call::Register(RegisterCall::Read {
            object,
            result: call.result()?,
            index: operand(0)?,
        }),
        ("Register.write", 2) => Call::Register(RegisterCall::Write {
            object,
            index: operand(0)?,
            value: operand(1)?,
        }),
        ("Random.read", 0) => Call::Random(RandomCall::BetweenConstants {
            low: number(0)?,
            high: number(1)?,
            result: call.result()?,
        }),
        ("Conntrack.track", 3) => Call::Conntrack(Box::new(ConntrackCall::track(call)?)),
        ("Conntrack.forget", 1) => Call::Conntrack(Box::new(ConntrackCall::forget(call)?)),
        ("Conntrack.commit", _) => Call::Conntrack(Box::new(ConntrackCall::commit(call)?)),
        ("Digest.pack", 1) => Call::Message(MessageCall::Digest {
            object: call.call.object,
            receiver: None,
            data: operand(0)?,
        }),
        ("assert" | "assume", 1) => {
            Call::Message(MessageCall::Assert(Assertion::new(call, operand(0)?)))
        }
        ("log_msg", _) => Call::Message(MessageCall::Log(Log::new(call)?)),
        _ => return Err(call.unsupported()),
    })
}
