// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Calls of extern functions and methods. They are resolved when a program is loaded; unsupported
//! ones are refused then, by name. Each architecture determines its set of calls; their semantics
//! are implemented once, in `environment/`.

mod call;
mod conntrack;
mod messages;
mod operand;
mod pna;
mod unresolved;
mod v1model;

use adit_p4_frontend::ir::{ExternCall, Program};

use super::unsupported::Unsupported;
pub(super) use call::{
    Call, ChecksumCall, Colors, CounterCall, DirectionCall, EntryCall, ForwardCall, HashCall,
    LifetimeOperand, MessageCall, MeterCall, Order, RandomCall, ReceiveCall, RegisterCall, SumCall,
    V1modelCall,
};
pub(super) use conntrack::{CommitCall, ConntrackCall, Masked, PacketOperands, RangeOperands};
pub(super) use operand::Operand;
use unresolved::Unresolved;

/// The architecture whose externs are available.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Architecture {
    V1model,
    Pna,
}

/// Resolves a program's calls.
pub(super) fn resolve(program: &Program, of: Architecture) -> Result<Vec<Call>, Unsupported> {
    let resolve = |call: &ExternCall| match of {
        Architecture::V1model => v1model::resolve(&Unresolved::new(program, call)),
        Architecture::Pna => pna::resolve(&Unresolved::new(program, call)),
    };
    program.calls.iter().map(resolve).collect()
}
