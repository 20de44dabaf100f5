// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Objects that keep something from packet to packet.

use std::collections::BTreeMap;

use adit_p4_frontend::ir::{Constant, ExternInstance};

use super::Unsupported;
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
    /// `Checksum16`, `Hash`, `Crc64`, `Random`, `Digest`: nothing is kept.
    Stateless,
    /// `Checksum`: what has been given to it for this packet.
    Checksum(Vec<u8>),
    /// `InternetChecksum`: the sum so far.
    Sum(u16),
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
            "counter" | "Counter" => Object::Counter(vec![Count::default(); room(2)? / 2]),
            "direct_counter" | "DirectCounter" => Object::DirectCounter(BTreeMap::new()),
            "register" | "Register" => {
                let mut values = vec![0; room(limbs)?];
                if let Some(Constant::Int(first)) = instance.arguments.get(1) {
                    for value in values.chunks_exact_mut(limbs as usize) {
                        let parts = [*first as u64, (*first >> 64) as u64];
                        value.iter_mut().zip(parts).for_each(|(v, p)| *v = p);
                    }
                }
                Object::Register {
                    limbs: limbs as usize,
                    values,
                }
            }
            "meter" | "direct_meter" | "Meter" | "DirectMeter" => Object::Meter,
            "action_profile" | "ActionProfile" => Object::Profile,
            "Checksum16" | "Hash" | "Crc64" | "Random" | "Digest" => Object::Stateless,
            "Checksum" => Object::Checksum(Vec::new()),
            "InternetChecksum" => Object::Sum(0),
            other => {
                return Err(Unsupported(format!(
                    "`{}`, which is a `{other}`",
                    instance.name
                )))
            }
        })
    }
}
