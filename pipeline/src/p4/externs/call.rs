// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Resolved calls of externs, by what they access.
//!
//! A call is executed by an exhaustive match for each enum (`environment/`), so that a call that is
//! added here is also executed, and its order is decided ([`Call::order`]).

use super::conntrack::ConntrackCall;
use super::messages::{Assertion, Log};
use super::operand::{Algorithms, Operand};
use crate::p4::hash::Algorithm;
use crate::p4::metadata::Field;

/// A program's values for green, yellow and red.
pub(in crate::p4) type Colors = [u64; 3];

/// A resolved call.
pub(in crate::p4) enum Call {
    /// Has no effect.
    Nothing,
    Counter(CounterCall),
    Meter(MeterCall),
    Register(RegisterCall),
    Hash(HashCall),
    Checksum(ChecksumCall),
    Sum(SumCall),
    Random(RandomCall),
    Message(MessageCall),
    Entry(EntryCall),
    Direction(DirectionCall),
    Forward(ForwardCall),
    Receive(ReceiveCall),
    /// Reads the packet's transmit queue (`adit.p4`); the result.
    InputQueue(Operand),
    /// Reads the number of packets on the wire that the packet stands for (`adit.p4`); the result.
    Segments(Operand),
    /// Reads whether the packet of this pass is an answer (`adit.p4`); the result.
    IsAnswer(Operand),
    /// Reads the size of the fragments that the packet came in (`adit.p4`); the result.
    FragmentSize(Operand),
    /// Verifies the packet's transport checksum (`adit.p4`); the result.
    HasRightChecksum(Operand),
    Conntrack(Box<ConntrackCall>),
    V1model(V1modelCall),
}

/// Counters.
pub(in crate::p4) enum CounterCall {
    Count {
        object: usize,
        index: Operand,
        /// The packet's length if omitted.
        bytes: Option<Operand>,
    },
    /// Counts for the entry that was hit last.
    CountDirect {
        object: usize,
        /// The packet's length if omitted.
        bytes: Option<Operand>,
    },
}

/// Meters: mark the packet with a color.
pub(in crate::p4) enum MeterCall {
    Mark {
        object: usize,
        index: Operand,
        /// The packet's color; green if omitted.
        color: Option<Operand>,
        /// The packet's length if omitted.
        bytes: Option<Operand>,
        result: Operand,
        colors: Colors,
    },
    /// Marks with the meter of the entry that was hit last.
    MarkDirect {
        object: usize,
        /// The packet's color; green if omitted.
        color: Option<Operand>,
        /// The packet's length if omitted.
        bytes: Option<Operand>,
        result: Operand,
        colors: Colors,
    },
}

/// Registers.
pub(in crate::p4) enum RegisterCall {
    Read {
        object: usize,
        result: Operand,
        index: Operand,
    },
    Write {
        object: usize,
        index: Operand,
        value: Operand,
    },
}

/// Hash functions.
pub(in crate::p4) enum HashCall {
    /// v1model: the algorithm is an argument; the result is `base` if `max` is 0.
    Selected {
        result: Operand,
        algorithm: Algorithms,
        base: Operand,
        data: Operand,
        max: Operand,
    },
    /// The algorithm is the object's.
    Fixed {
        algorithm: Algorithm,
        data: Operand,
        /// The first value, and the number of values.
        range: Option<(Operand, Operand)>,
        result: Operand,
    },
    Checksum16 {
        data: Operand,
        result: u32,
    },
}

/// Checksums over data that is collected in a buffer.
#[allow(
    clippy::large_enum_variant,
    reason = "a program has few calls, and they are executed without indirection"
)]
pub(in crate::p4) enum ChecksumCall {
    /// v1model: verifies or updates a field.
    Field {
        condition: Operand,
        data: Operand,
        checksum: Operand,
        algorithm: Algorithms,
        is_update: bool,
        with_payload: bool,
    },
    Clear {
        object: usize,
    },
    Update {
        object: usize,
        data: Operand,
    },
    Get {
        object: usize,
        algorithm: Algorithm,
        result: Operand,
    },
}

/// `InternetChecksum`: sums in ones' complement.
pub(in crate::p4) enum SumCall {
    Clear {
        object: usize,
    },
    Add {
        object: usize,
        data: Operand,
        subtract: bool,
    },
    Get {
        object: usize,
        result: Operand,
        inverted: bool,
    },
    Set {
        object: usize,
        value: Operand,
    },
}

/// Random numbers; both bounds are included.
pub(in crate::p4) enum RandomCall {
    /// v1model: the bounds are arguments.
    Between {
        result: Operand,
        bounds: Box<[Operand; 2]>,
    },
    /// The bounds are the object's.
    BetweenConstants {
        low: u64,
        high: u64,
        result: Operand,
    },
}

/// Messages to control planes and the program's operator.
pub(in crate::p4) enum MessageCall {
    Digest {
        /// The `Digest` object, if it is one.
        object: Option<u32>,
        receiver: Option<Operand>,
        data: Operand,
    },
    Assert(Assertion),
    Log(Log),
}

/// PNA: adds the key that was looked up last, or changes the lifetime of the entry hit.
pub(in crate::p4) enum EntryCall {
    Add {
        /// The entry is added only if it is true.
        condition: Option<Operand>,
        action: String,
        arguments: Operand,
        lifetime: LifetimeOperand,
        result: Operand,
        /// The result value for failure, and for success.
        done: [u64; 2],
    },
    AllocateFlowId(Operand),
    SetExpireTime {
        /// The time is set only if it is true.
        condition: Option<Operand>,
        lifetime: LifetimeOperand,
    },
    UpdateExpireInfo {
        restart: Operand,
        set: Operand,
        profile: Operand,
    },
    RestartTimer,
}

/// The lifetime of an entry that a packet adds.
pub(in crate::p4) enum LifetimeOperand {
    /// The number of an expire-time profile.
    Profile(Operand),
    Seconds(Operand),
}

/// PNA: functions of the packet's direction.
#[allow(
    clippy::large_enum_variant,
    reason = "a program has few calls, and they are executed without indirection"
)]
pub(in crate::p4) enum DirectionCall {
    IsPort {
        port: Operand,
        is_host: bool,
        result: Operand,
    },
    Select {
        direction: Operand,
        first: Operand,
        second: Operand,
        result: Operand,
    },
}

/// PNA: the packet's destination, and its mirrors.
#[allow(
    clippy::large_enum_variant,
    reason = "a program has few calls, and they are executed without indirection"
)]
pub(in crate::p4) enum ForwardCall {
    Port(Operand),
    Group(Operand),
    Drop,
    /// `adit.p4`: drops the packet, and answers it.
    Reject,
    /// The same with a reason, a source, and the MTU of a link.
    RejectWith {
        reason: Operand,
        source: Operand,
        mtu: Operand,
        /// The offset of the packet that is answered, which came out of another one.
        offset: Option<Operand>,
    },
    Recirculate,
    /// `adit.p4`: the same with what was inside of the packet.
    RecirculateInner,
    Mirror {
        slot: Operand,
        session: Operand,
    },
    /// `adit.p4`: has the packet leave in fragments.
    Fragments {
        mtu: Operand,
        /// That of its IP header.
        offset: Operand,
    },
}

/// PNA: sets receive metadata (`adit.p4`).
pub(in crate::p4) enum ReceiveCall {
    Queue(Operand),
    FlowId(Operand),
    Hash(Operand),
}

/// v1model: requests that are processed at the end of ingress or egress.
#[allow(
    clippy::large_enum_variant,
    reason = "a program has few calls, and they are executed without indirection"
)]
pub(in crate::p4) enum V1modelCall {
    /// `mark_to_drop()` with the standard metadata, whose first slot is `base`.
    MarkToDrop {
        base: u32,
        egress_spec: Field,
        mcast_grp: Field,
    },
    /// Drops, regardless of the standard metadata at the end of the block.
    DropAny,
    /// A clone, selected by `CloneType`, whose first member is I2E.
    Clone {
        kind: Operand,
        session: Operand,
        list: Option<Operand>,
    },
    /// The list of fields to preserve, if any.
    Resubmit(Option<Operand>),
    Recirculate(Option<Operand>),
    Truncate(Operand),
}

/// The order in which packets in flight at once execute a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::p4) enum Order {
    /// Any: no packet's result depends on another's.
    Any,
    /// The packets' own: one reads state that another writes, or the order is visible outside. A packet
    /// waits until those before it are complete.
    Packets,
    /// The same, and the state is in the lane, so that all packets must take the same one.
    OneLane,
}

impl Call {
    /// Returns whether it gives the packet to a connection tracker.
    #[cfg_attr(not(feature = "jit"), allow(dead_code, reason = "for machine code"))]
    pub(in crate::p4) fn is_track(&self) -> bool {
        match self {
            Call::Conntrack(call) => matches!(**call, ConntrackCall::Track { .. }),
            _ => false,
        }
    }

    /// Returns the order in which packets execute this call. Counters are sums, so that any will do.
    /// v1model's packets are processed one after the other in any case.
    pub(in crate::p4) fn order(&self) -> Order {
        match self {
            Call::Nothing
            | Call::Counter(CounterCall::Count { .. } | CounterCall::CountDirect { .. })
            | Call::Forward(
                ForwardCall::Port(_)
                | ForwardCall::Group(_)
                | ForwardCall::Drop
                | ForwardCall::Reject
                | ForwardCall::RejectWith { .. }
                | ForwardCall::Recirculate
                | ForwardCall::RecirculateInner
                | ForwardCall::Mirror { .. }
                | ForwardCall::Fragments { .. },
            )
            | Call::Receive(
                ReceiveCall::Queue(_) | ReceiveCall::FlowId(_) | ReceiveCall::Hash(_),
            )
            | Call::InputQueue(_)
            | Call::Segments(_)
            | Call::IsAnswer(_)
            | Call::FragmentSize(_)
            | Call::HasRightChecksum(_)
            | Call::Entry(EntryCall::RestartTimer)
            | Call::Direction(DirectionCall::Select { .. } | DirectionCall::IsPort { .. })
            | Call::Hash(HashCall::Fixed { .. } | HashCall::Checksum16 { .. })
            | Call::Checksum(
                ChecksumCall::Clear { .. } | ChecksumCall::Update { .. } | ChecksumCall::Get { .. },
            )
            | Call::Sum(
                SumCall::Clear { .. }
                | SumCall::Add { .. }
                | SumCall::Get { .. }
                | SumCall::Set { .. },
            ) => Order::Any,
            Call::Meter(MeterCall::Mark { .. } | MeterCall::MarkDirect { .. })
            | Call::Register(RegisterCall::Read { .. } | RegisterCall::Write { .. })
            | Call::Message(
                MessageCall::Digest { .. } | MessageCall::Assert(_) | MessageCall::Log(_),
            )
            | Call::Entry(
                EntryCall::Add { .. }
                | EntryCall::AllocateFlowId(_)
                | EntryCall::SetExpireTime { .. }
                | EntryCall::UpdateExpireInfo { .. },
            )
            | Call::Conntrack(_) => Order::Packets,
            Call::Hash(HashCall::Selected { .. })
            | Call::Checksum(ChecksumCall::Field { .. })
            | Call::Random(RandomCall::Between { .. } | RandomCall::BetweenConstants { .. })
            | Call::V1model(
                V1modelCall::MarkToDrop { .. }
                | V1modelCall::DropAny
                | V1modelCall::Clone { .. }
                | V1modelCall::Resubmit(_)
                | V1modelCall::Recirculate(_)
                | V1modelCall::Truncate(_),
            ) => Order::OneLane,
        }
    }
}
