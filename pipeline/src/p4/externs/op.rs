// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Resolved calls of externs.

use adit_p4_frontend::ir::Layout;

use crate::p4::bits::mask;
use crate::p4::fields::Flat;
use crate::p4::hash::Algorithm;
use crate::p4::metadata::Field;

use super::logs::{Assertion, Log};

/// The drop port of v1model.
pub(in crate::p4) const DROP_PORT: u64 = 511;

/// A value in the frame.
#[derive(Clone, Debug)]
pub(in crate::p4) struct Operand {
    pub(super) slot: u32,
    pub(super) width: u32,
    pub(super) flat: Flat,
}

impl Operand {
    pub(super) fn new(slot: u32, layout: &Layout) -> Operand {
        Operand {
            slot,
            width: layout.bits(),
            flat: Flat::new(layout),
        }
    }

    pub(super) fn get(&self, frame: &[u64]) -> u64 {
        frame[self.slot as usize]
    }

    #[cfg_attr(not(feature = "jit"), allow(dead_code, reason = "for machine code"))]
    pub(in crate::p4) fn slot(&self) -> u32 {
        self.slot
    }

    #[cfg_attr(not(feature = "jit"), allow(dead_code, reason = "for machine code"))]
    pub(in crate::p4) fn width(&self) -> u32 {
        self.width
    }

    #[cfg_attr(not(feature = "jit"), allow(dead_code, reason = "for machine code"))]
    pub(in crate::p4) fn limbs(&self) -> u32 {
        self.flat.limbs
    }

    /// Returns whether its bits fit in one word and do not depend on a header's validity or a
    /// varbit's length.
    fn is_one_word(&self) -> bool {
        let mut leaves = self.flat.leaves.iter();
        (1..=64).contains(&self.flat.bits) && leaves.all(|l| !l.is_varbit && l.header.is_none())
    }

    /// The slots and widths of its parts, if they fit in one word.
    #[cfg_attr(not(feature = "jit"), allow(dead_code, reason = "for machine code"))]
    pub(in crate::p4) fn parts_of_one_word(&self) -> Option<Vec<(u32, u32)>> {
        let leaves = self.flat.leaves.iter();
        let parts = leaves.map(|leaf| (self.slot + leaf.offset, leaf.width));
        self.is_one_word().then(|| parts.collect())
    }

    /// Its bits left-aligned in one word, padded with zeros, if they fit.
    pub(super) fn in_one_word(&self, frame: &[u64]) -> Option<u64> {
        if !self.is_one_word() {
            return None;
        }
        let mut word = 0u64;
        for leaf in &self.flat.leaves {
            let value = frame[self.slot as usize + leaf.offset as usize];
            word = word.checked_shl(leaf.width).unwrap_or(0) | value;
        }
        Some(word << (64 - self.flat.bits))
    }

    pub(super) fn set(&self, frame: &mut [u64], value: u64) {
        let value = value & mask(self.width);
        let limbs = &mut frame[self.slot as usize..][..self.flat.limbs as usize];
        limbs.fill(0);
        limbs[0] = value;
    }
}

/// A program's values for green, yellow and red.
pub(in crate::p4) type Colors = [u64; 3];

/// A resolved call.
pub(in crate::p4) enum Op {
    /// Records a trace point.
    Mark(usize),
    Drop {
        base: u32,
        egress_spec: Field,
        mcast_grp: Field,
    },
    /// Drops, regardless of the standard metadata at the end of the block.
    DropAny,
    Hash {
        result: Operand,
        algorithm: Algorithms,
        base: Operand,
        data: Operand,
        max: Operand,
    },
    Random {
        result: Operand,
        low: Operand,
        high: Operand,
    },
    Digest {
        /// The `Digest` object, if it is one.
        object: Option<u32>,
        receiver: Option<Operand>,
        data: Operand,
    },
    Checksum {
        condition: Operand,
        data: Operand,
        checksum: Operand,
        algorithm: Algorithms,
        is_update: bool,
        with_payload: bool,
    },
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
    Assert(Assertion),
    Log(Log),
    Nothing,
    Count {
        object: usize,
        index: Operand,
        /// The packet's length if omitted.
        bytes: Option<Operand>,
    },
    CountDirect {
        object: usize,
        bytes: Option<Operand>,
    },
    Meter {
        object: usize,
        index: Operand,
        /// The packet's color; green if omitted.
        color: Option<Operand>,
        /// The packet's length if omitted.
        bytes: Option<Operand>,
        result: Operand,
        colors: Colors,
    },
    DirectMeter {
        object: usize,
        color: Option<Operand>,
        /// The packet's length if omitted.
        bytes: Option<Operand>,
        result: Operand,
        colors: Colors,
    },
    Forward(Operand),
    ForwardDrop,
    ForwardGroup(Operand),
    ForwardAgain,
    SetQueue(Operand),
    SetFlowId(Operand),
    SetHash(Operand),
    Mirror {
        slot: Operand,
        session: Operand,
    },
    AddEntry {
        /// The entry is added only if it is true.
        condition: Option<Operand>,
        action: String,
        arguments: Operand,
        profile: Operand,
        result: Operand,
        /// The result value for failure, and for success.
        done: [u64; 2],
    },
    FlowId(Operand),
    SetExpireTime {
        /// The time is set only if it is true.
        condition: Option<Operand>,
        profile: Operand,
    },
    UpdateExpire {
        restart: Operand,
        set: Operand,
        profile: Operand,
    },
    IsPort {
        port: Operand,
        is_host: bool,
        result: Operand,
    },
    RestartTimer,
    Select {
        direction: Operand,
        first: Operand,
        second: Operand,
        result: Operand,
    },
    HashOf {
        algorithm: Algorithm,
        data: Operand,
        /// The first value, and the number of values.
        range: Option<(Operand, Operand)>,
        result: Operand,
    },
    ChecksumClear {
        object: usize,
    },
    ChecksumUpdate {
        object: usize,
        data: Operand,
    },
    ChecksumGet {
        object: usize,
        algorithm: Algorithm,
        result: Operand,
    },
    SumClear {
        object: usize,
    },
    SumAdd {
        object: usize,
        data: Operand,
        subtract: bool,
    },
    SumGet {
        object: usize,
        result: Operand,
        inverted: bool,
    },
    SumSet {
        object: usize,
        value: Operand,
    },
    RandomBetween {
        low: u64,
        high: u64,
        result: Operand,
    },
    RegisterRead {
        object: usize,
        result: Operand,
        index: Operand,
    },
    RegisterWrite {
        object: usize,
        index: Operand,
        value: Operand,
    },
    Checksum16 {
        data: Operand,
        result: u32,
    },
}

/// Hash functions, selected by the enum member's index in a slot.
pub(in crate::p4) struct Algorithms {
    pub(super) slot: u32,
    pub(super) members: Vec<Algorithm>,
}

impl Algorithms {
    pub(super) fn get(&self, frame: &[u64]) -> Algorithm {
        let index = frame[self.slot as usize] as usize;
        self.members.get(index).copied().unwrap_or(Algorithm::Crc32)
    }
}

impl Op {
    /// Returns whether the order of two packets matters for this call: one reads state written by
    /// the other, or the order is visible outside. Counters are sums.
    pub(in crate::p4) fn is_ordered(&self) -> bool {
        !matches!(
            self,
            Op::Nothing
                | Op::Count { .. }
                | Op::CountDirect { .. }
                | Op::Forward(_)
                | Op::ForwardDrop
                | Op::ForwardGroup(_)
                | Op::ForwardAgain
                | Op::SetQueue(_)
                | Op::SetFlowId(_)
                | Op::SetHash(_)
                | Op::Mirror { .. }
                | Op::RestartTimer
                | Op::Select { .. }
                | Op::IsPort { .. }
                | Op::HashOf { .. }
                | Op::ChecksumClear { .. }
                | Op::ChecksumUpdate { .. }
                | Op::ChecksumGet { .. }
                | Op::SumClear { .. }
                | Op::SumAdd { .. }
                | Op::SumGet { .. }
                | Op::SumSet { .. }
                | Op::Checksum16 { .. }
        )
    }
}
