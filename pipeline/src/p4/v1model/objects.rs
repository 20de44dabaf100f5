// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Objects that keep something from packet to packet.

use std::collections::BTreeMap;

use adit_p4_frontend::ir::{Constant, ExternInstance};

use super::externs::Unsupported;
use crate::p4::tables::EntryId;

/// The most limbs that one object may keep.
const MAX_LIMBS: u128 = 64 << 20;

/// Packets and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// How many packets.
    pub packets: u64,
    /// How many bytes.
    pub bytes: u64,
}

impl Count {
    pub(super) fn add(&mut self, bytes: u64) {
        self.packets += 1;
        self.bytes += bytes;
    }
}

/// An instance of an extern type.
#[derive(Clone, Debug)]
pub enum Object {
    /// `counter`.
    Counter(Vec<Count>),
    /// `direct_counter`: for each entry that was hit.
    DirectCounter(BTreeMap<EntryId, Count>),
    /// `register`: limbs of each element, and the elements one after the other.
    Register {
        /// How many limbs an element has.
        limbs: usize,
        /// All limbs.
        values: Vec<u64>,
    },
    /// `meter` and `direct_meter` that nothing has set rates of: everything is green.
    Meter,
    /// `action_profile`: entries have their actions themselves.
    Profile,
    /// `Checksum16`.
    Checksum16,
}

impl Object {
    pub(super) fn new(instance: &ExternInstance) -> Result<Object, Unsupported> {
        let size = match instance.arguments.first() {
            Some(Constant::Int(size)) => *size,
            _ => 0,
        };
        let limbs = instance.types.first().map_or(1, |t| t.limbs());
        let room = |limbs: u32| -> Result<usize, Unsupported> {
            let all = size * u128::from(limbs);
            match all <= MAX_LIMBS {
                true => Ok(all as usize),
                false => Err(Unsupported(format!(
                    "`{}` of {size} elements",
                    instance.name
                ))),
            }
        };
        Ok(match instance.kind.as_str() {
            "counter" => Object::Counter(vec![Count::default(); room(2)? / 2]),
            "direct_counter" => Object::DirectCounter(BTreeMap::new()),
            "register" => Object::Register {
                limbs: limbs as usize,
                values: vec![0; room(limbs)?],
            },
            "meter" | "direct_meter" => Object::Meter,
            "action_profile" => Object::Profile,
            "Checksum16" => Object::Checksum16,
            other => {
                return Err(Unsupported(format!(
                    "`{}`, which is a `{other}`",
                    instance.name
                )))
            }
        })
    }
}
