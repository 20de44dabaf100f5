// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The extern functions and methods of v1model.

use adit_p4_frontend::ir::Layout;

use super::logs::{Assertion, Log};
use super::op::{Algorithms, Colors, Op};
use super::{Call, Unsupported};
use crate::p4::hash::Algorithm;
use crate::p4::metadata::field;

/// `V1MODEL_METER_COLOR_GREEN` and so on, in the order of [`Color`](super::Color).
const COLORS: Colors = [0, 1, 2];

/// Resolves a call.
pub(super) fn ready(call: &Call<'_>) -> Result<Op, Unsupported> {
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
        Ok(Op::Checksum {
            condition: operand(0)?,
            data: operand(1)?,
            checksum: operand(2)?,
            algorithm: algorithms(3)?,
            is_update,
            with_payload,
        })
    };
    match (call.name.as_str(), call.count()) {
        ("mark_to_drop", 0) => Ok(Op::DropAny),
        ("mark_to_drop", 1) => match value(0)? {
            (base, Layout::Struct(fields)) => Ok(Op::Drop {
                base,
                egress_spec: field(fields, "egress_spec").ok_or_else(unsupported)?,
                mcast_grp: field(fields, "mcast_grp").ok_or_else(unsupported)?,
            }),
            _ => Err(unsupported()),
        },
        ("hash", 5) => Ok(Op::Hash {
            result: operand(0)?,
            algorithm: algorithms(1)?,
            base: operand(2)?,
            data: operand(3)?,
            max: operand(4)?,
        }),
        ("random", 3) => Ok(Op::Random {
            result: operand(0)?,
            low: operand(1)?,
            high: operand(2)?,
        }),
        ("digest", 2) => Ok(Op::Digest {
            object: None,
            receiver: Some(operand(0)?),
            data: operand(1)?,
        }),
        ("verify_checksum", 4) => checksum(false, false),
        ("update_checksum", 4) => checksum(true, false),
        ("verify_checksum_with_payload", 4) => checksum(false, true),
        ("update_checksum_with_payload", 4) => checksum(true, true),
        ("clone", 2) => Ok(Op::Clone {
            kind: operand(0)?,
            session: operand(1)?,
            list: None,
        }),
        ("clone_preserving_field_list", 3) => Ok(Op::Clone {
            kind: operand(0)?,
            session: operand(1)?,
            list: Some(operand(2)?),
        }),
        // Older forms; the front end reports that their fields are not preserved.
        ("clone3", 3) => Ok(Op::Clone {
            kind: operand(0)?,
            session: operand(1)?,
            list: None,
        }),
        ("resubmit", 1) => Ok(Op::Resubmit(None)),
        ("recirculate", 1) => Ok(Op::Recirculate(None)),
        ("resubmit_preserving_field_list", 1) => Ok(Op::Resubmit(Some(operand(0)?))),
        ("recirculate_preserving_field_list", 1) => Ok(Op::Recirculate(Some(operand(0)?))),
        ("truncate", 1) => Ok(Op::Truncate(operand(0)?)),
        ("assert" | "assume", 1) => Ok(Op::Assert(Assertion::new(call, operand(0)?))),
        ("log_msg", _) => Ok(Op::Log(Log::new(call)?)),
        ("counter.count", 1) => Ok(Op::Count {
            object,
            index: operand(0)?,
            bytes: None,
        }),
        // Counted when the entry is hit.
        ("direct_counter.count", 0) => Ok(Op::Nothing),
        ("meter.execute_meter", 2) => Ok(Op::Meter {
            object,
            index: operand(0)?,
            color: None,
            bytes: None,
            result: operand(1)?,
            colors: COLORS,
        }),
        ("direct_meter.read", 1) => Ok(Op::DirectMeter {
            object,
            color: None,
            bytes: None,
            result: operand(0)?,
            colors: COLORS,
        }),
        ("register.read", 2) => Ok(Op::RegisterRead {
            object,
            result: operand(0)?,
            index: operand(1)?,
        }),
        ("register.write", 2) => Ok(Op::RegisterWrite {
            object,
            index: operand(0)?,
            value: operand(1)?,
        }),
        ("Checksum16.get", 1) => Ok(Op::Checksum16 {
            data: operand(0)?,
            result: call.result()?.slot,
        }),
        _ => Err(unsupported()),
    }
}
