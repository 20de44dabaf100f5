// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The extern functions and methods of v1model.

use adit_p4_frontend::ir::Layout;

use super::call::{
    Call, ChecksumCall, Colors, CounterCall, HashCall, MessageCall, MeterCall, RandomCall,
    RegisterCall, V1modelCall,
};
use super::messages::{Assertion, Log};
use super::operand::Algorithms;
use super::unresolved::Unresolved;
use crate::p4::hash::Algorithm;
use crate::p4::metadata::field;
use crate::p4::unsupported::Unsupported;

/// `V1MODEL_METER_COLOR_GREEN` and so on, in the order of [`Color`](super::Color).
const COLORS: Colors = [0, 1, 2];

/// Resolves a call.
pub(super) fn resolve(call: &Unresolved<'_>) -> Result<Call, Unsupported> {
    let unsupported = || call.unsupported();
    let value = |n| call.value(n);
    let operand = |n| call.operand(n);
    let object = call.object();
    let algorithms = |n: usize| match value(n)? {
        (slot, Layout::Enum(members)) => {
            let members: Option<Vec<_>> = members.iter().map(|m| Algorithm::v1model(m)).collect();
            Ok(Algorithms {
                slot,
                members: members.ok_or_else(unsupported)?,
            })
        }
        _ => Err(unsupported()),
    };
    let checksum = |is_update, with_payload| {
        Ok(Call::Checksum(ChecksumCall::Field {
            condition: operand(0)?,
            data: operand(1)?,
            checksum: operand(2)?,
            algorithm: algorithms(3)?,
            is_update,
            with_payload,
        }))
    };
    match (call.name.as_str(), call.count()) {
        ("mark_to_drop", 0) => Ok(Call::V1model(V1modelCall::DropAny)),
        ("mark_to_drop", 1) => match value(0)? {
            (base, Layout::Struct(fields)) => Ok(Call::V1model(V1modelCall::MarkToDrop {
                base,
                egress_spec: field(fields, "egress_spec").ok_or_else(unsupported)?,
                mcast_grp: field(fields, "mcast_grp").ok_or_else(unsupported)?,
            })),
            _ => Err(unsupported()),
        },
        ("hash", 5) => Ok(Call::Hash(HashCall::Selected {
            result: operand(0)?,
            algorithm: algorithms(1)?,
            base: operand(2)?,
            data: operand(3)?,
            max: operand(4)?,
        })),
        ("random", 3) => Ok(Call::Random(RandomCall::Between {
            result: operand(0)?,
            bounds: Box::new([operand(1)?, operand(2)?]),
        })),
        ("digest", 2) => Ok(Call::Message(MessageCall::Digest {
            object: None,
            receiver: Some(operand(0)?),
            data: operand(1)?,
        })),
        ("verify_checksum", 4) => checksum(false, false),
        ("update_checksum", 4) => checksum(true, false),
        ("verify_checksum_with_payload", 4) => checksum(false, true),
        ("update_checksum_with_payload", 4) => checksum(true, true),
        ("clone", 2) => Ok(Call::V1model(V1modelCall::Clone {
            kind: operand(0)?,
            session: operand(1)?,
            list: None,
        })),
        ("clone_preserving_field_list", 3) => Ok(Call::V1model(V1modelCall::Clone {
            kind: operand(0)?,
            session: operand(1)?,
            list: Some(operand(2)?),
        })),
        // Older forms; the front end reports that their fields are not preserved.
        ("clone3", 3) => Ok(Call::V1model(V1modelCall::Clone {
            kind: operand(0)?,
            session: operand(1)?,
            list: None,
        })),
        ("resubmit", 1) => Ok(Call::V1model(V1modelCall::Resubmit(None))),
        ("recirculate", 1) => Ok(Call::V1model(V1modelCall::Recirculate(None))),
        ("resubmit_preserving_field_list", 1) => {
            Ok(Call::V1model(V1modelCall::Resubmit(Some(operand(0)?))))
        }
        ("recirculate_preserving_field_list", 1) => {
            Ok(Call::V1model(V1modelCall::Recirculate(Some(operand(0)?))))
        }
        ("truncate", 1) => Ok(Call::V1model(V1modelCall::Truncate(operand(0)?))),
        ("assert" | "assume", 1) => Ok(Call::Message(MessageCall::Assert(Assertion::new(
            call,
            operand(0)?,
        )))),
        ("log_msg", _) => Ok(Call::Message(MessageCall::Log(Log::new(call)?))),
        ("counter.count", 1) => Ok(Call::Counter(CounterCall::Count {
            object,
            index: operand(0)?,
            bytes: None,
        })),
        // Counted when the entry is hit.
        ("direct_counter.count", 0) => Ok(Call::Nothing),
        ("meter.execute_meter", 2) => Ok(Call::Meter(MeterCall::Mark {
            object,
            index: operand(0)?,
            color: None,
            bytes: None,
            result: operand(1)?,
            colors: COLORS,
        })),
        ("direct_meter.read", 1) => Ok(Call::Meter(MeterCall::MarkDirect {
            object,
            color: None,
            bytes: None,
            result: operand(0)?,
            colors: COLORS,
        })),
        ("register.read", 2) => Ok(Call::Register(RegisterCall::Read {
            object,
            result: operand(0)?,
            index: operand(1)?,
        })),
        ("register.write", 2) => Ok(Call::Register(RegisterCall::Write {
            object,
            index: operand(0)?,
            value: operand(1)?,
        })),
        ("Checksum16.get", 1) => Ok(Call::Hash(HashCall::Checksum16 {
            data: operand(0)?,
            result: call.result()?.slot(),
        })),
        _ => Err(unsupported()),
    }
}
