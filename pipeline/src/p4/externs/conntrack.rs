// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Calls of `Conntrack` (`adit.p4`).

use super::operand::Operand;
use super::unresolved::Unresolved;
use crate::p4::unsupported::Unsupported;

/// Connection tracking.
#[allow(
    clippy::large_enum_variant,
    reason = "a program has few calls, each in a box of its own"
)]
pub(in crate::p4) enum ConntrackCall {
    Track {
        /// The offset of the IP header in the packet, in bytes.
        offset: Operand,
        zone: Operand,
        packet: PacketOperands,
    },
    Forget(PacketOperands),
    Commit(CommitCall),
}

/// The arguments of a commit.
pub(in crate::p4) struct CommitCall {
    pub(in crate::p4) packet: PacketOperands,
    pub(in crate::p4) mark: Option<Masked>,
    pub(in crate::p4) label: Option<Masked>,
    pub(in crate::p4) source: Option<RangeOperands>,
    pub(in crate::p4) destination: Option<RangeOperands>,
    pub(in crate::p4) helper: Option<Operand>,
    pub(in crate::p4) force: Option<Operand>,
    pub(in crate::p4) result: Operand,
}

/// A value and the bits of it that are set: all if the mask is omitted.
pub(in crate::p4) struct Masked {
    pub(in crate::p4) value: Operand,
    pub(in crate::p4) mask: Option<Operand>,
}

/// The fields of a `ConntrackPacket_t`.
pub(in crate::p4) struct PacketOperands {
    pub(in crate::p4) state: Operand,
    pub(in crate::p4) mark: Operand,
    pub(in crate::p4) label: Operand,
    pub(in crate::p4) src: Operand,
    pub(in crate::p4) dst: Operand,
    pub(in crate::p4) src_port: Operand,
    pub(in crate::p4) dst_port: Operand,
}

/// The fields of a `ConntrackRange_t`.
pub(in crate::p4) struct RangeOperands {
    pub(in crate::p4) addresses: [Operand; 2],
    pub(in crate::p4) ports: [Operand; 2],
    pub(in crate::p4) random_port: Operand,
    pub(in crate::p4) persistent: Operand,
}

impl ConntrackCall {
    /// Resolves `track(ip_offset, zone, packet)`.
    pub(super) fn track(call: &Unresolved<'_>) -> Result<ConntrackCall, Unsupported> {
        Ok(ConntrackCall::Track {
            offset: call.operand(0)?,
            zone: call.operand(1)?,
            packet: PacketOperands::new(call, 2)?,
        })
    }

    /// Resolves `forget(packet)`.
    pub(super) fn forget(call: &Unresolved<'_>) -> Result<ConntrackCall, Unsupported> {
        Ok(ConntrackCall::Forget(PacketOperands::new(call, 0)?))
    }

    /// Resolves `commit(packet, mark, mark_mask, label, label_mask, source, destination, helper,
    /// force)`, of which only the first is required.
    pub(super) fn commit(call: &Unresolved<'_>) -> Result<ConntrackCall, Unsupported> {
        Ok(ConntrackCall::Commit(CommitCall {
            packet: PacketOperands::new(call, 0)?,
            mark: Masked::new(call, 1)?,
            label: Masked::new(call, 3)?,
            source: RangeOperands::new(call, 5)?,
            destination: RangeOperands::new(call, 6)?,
            helper: call.optional(7)?,
            force: call.optional(8)?,
            result: call.result()?,
        }))
    }
}

impl Masked {
    /// The argument `n`, and its mask, which follows it.
    fn new(call: &Unresolved<'_>, n: usize) -> Result<Option<Masked>, Unsupported> {
        match (call.optional(n)?, call.optional(n + 1)?) {
            (Some(value), mask) => Ok(Some(Masked { value, mask })),
            (None, None) => Ok(None),
            (None, Some(_)) => Err(call.without(format!(
                "`{}` with a mask for a value that is omitted",
                call.name
            ))),
        }
    }

    /// The value and the mask.
    pub(in crate::p4) fn get(&self, frame: &[u64]) -> (u128, u128) {
        let mask = self.mask.as_ref().map_or(u128::MAX, |m| m.wide(frame));
        (self.value.wide(frame), mask)
    }
}

impl PacketOperands {
    fn new(call: &Unresolved<'_>, n: usize) -> Result<PacketOperands, Unsupported> {
        Ok(PacketOperands {
            state: call.field(n, "state")?,
            mark: call.field(n, "mark")?,
            label: call.field(n, "label")?,
            src: call.field(n, "src")?,
            dst: call.field(n, "dst")?,
            src_port: call.field(n, "src_port")?,
            dst_port: call.field(n, "dst_port")?,
        })
    }
}

impl RangeOperands {
    fn new(call: &Unresolved<'_>, n: usize) -> Result<Option<RangeOperands>, Unsupported> {
        if call.optional(n)?.is_none() {
            return Ok(None);
        }
        Ok(Some(RangeOperands {
            addresses: [
                call.field(n, "first_address")?,
                call.field(n, "last_address")?,
            ],
            ports: [call.field(n, "first_port")?, call.field(n, "last_port")?],
            random_port: call.field(n, "random_port")?,
            persistent: call.field(n, "persistent")?,
        }))
    }
}
