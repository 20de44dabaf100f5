// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Stateful extern objects. Packets and control planes share them: all methods take `&self`.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::Arc;

use adit_p4_frontend::ir::{Constant, ExternInstance, Program, Table, TableAction};

use super::meter::{Meter, MeterUnit};
use super::profile::Profile;
use super::Unsupported;
use crate::p4::hash::Algorithm;
use crate::p4::memory::Epochs;

/// Maximum number of limbs of one object.
const MAX_LIMBS: u128 = 64 << 20;

/// Packets and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Number of packets.
    pub packets: u64,
    /// Number of bytes.
    pub bytes: u64,
}

/// An index beyond an object's end, or a value that does not fit into it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ObjectError {
    /// The index is out of range.
    #[error("the index {index} is beyond the {size} elements")]
    Index {
        /// The index.
        index: u64,
        /// The number of elements.
        size: u64,
    },
    /// A peak rate below the committed rate.
    #[error("the peak rate {peak} is below the committed rate {committed}")]
    Rates {
        /// The committed rate.
        committed: u64,
        /// The peak rate.
        peak: u64,
    },
    /// The value has more bits than an element.
    #[error("the value does not fit into {0} bits")]
    Width(u32),
}

/// A `counter`.
#[derive(Debug)]
pub struct Counter {
    /// Packets and bytes, alternating.
    counts: Box<[AtomicU64]>,
}

impl Counter {
    /// The number of elements.
    pub fn size(&self) -> u64 {
        self.counts.len() as u64 / 2
    }

    /// An element.
    pub fn get(&self, index: u64) -> Result<Count, ObjectError> {
        let [packets, bytes] = self.element(index)?;
        Ok(Count {
            packets: packets.load(Relaxed),
            bytes: bytes.load(Relaxed),
        })
    }

    /// Sets an element.
    pub fn set(&self, index: u64, count: Count) -> Result<(), ObjectError> {
        let [packets, bytes] = self.element(index)?;
        packets.store(count.packets, Relaxed);
        bytes.store(count.bytes, Relaxed);
        Ok(())
    }

    /// Counts a packet; ignored if there is no such element.
    pub(super) fn add(&self, index: u64, weight: Count) {
        if let Ok([packets, bytes]) = self.element(index) {
            packets.fetch_add(weight.packets, Relaxed);
            bytes.fetch_add(weight.bytes, Relaxed);
        }
    }

    fn element(&self, index: u64) -> Result<[&AtomicU64; 2], ObjectError> {
        let size = self.size();
        let at = usize::try_from(index).ok().filter(|_| index < size);
        let at = at.ok_or(ObjectError::Index { index, size })? * 2;
        Ok([&self.counts[at], &self.counts[at + 1]])
    }
}

/// A `register`. Accesses to an element of more than 64 bits are not atomic.
#[derive(Debug)]
pub struct Register {
    limbs: usize,
    width: u32,
    values: Box<[AtomicU64]>,
}

impl Register {
    /// The number of elements.
    pub fn size(&self) -> u64 {
        (self.values.len() / self.limbs) as u64
    }

    /// The width of an element in bits.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// An element, as limbs.
    pub fn get(&self, index: u64) -> Result<Vec<u64>, ObjectError> {
        let element = self.element(index)?;
        Ok(element.iter().map(|limb| limb.load(Relaxed)).collect())
    }

    /// Sets an element; omitted limbs are 0.
    pub fn set(&self, index: u64, value: &[u64]) -> Result<(), ObjectError> {
        let top = value.get(self.limbs - 1).copied().unwrap_or(0);
        let high = value.iter().skip(self.limbs).any(|limb| *limb != 0);
        if high || top & !crate::p4::bits::top_mask(self.width) != 0 {
            return Err(ObjectError::Width(self.width));
        }
        for (n, limb) in self.element(index)?.iter().enumerate() {
            limb.store(value.get(n).copied().unwrap_or(0), Relaxed);
        }
        Ok(())
    }

    /// Reads an element; zeros if there is no such element.
    pub(super) fn read(&self, index: u64, to: &mut [u64]) {
        to.fill(0);
        if let Ok(element) = self.element(index) {
            to.iter_mut()
                .zip(element)
                .for_each(|(to, limb)| *to = limb.load(Relaxed));
        }
    }

    /// Writes an element; ignored if there is no such element.
    pub(super) fn write(&self, index: u64, from: &[u64]) {
        if let Ok(element) = self.element(index) {
            element
                .iter()
                .zip(from)
                .for_each(|(limb, from)| limb.store(*from, Relaxed));
        }
    }

    fn element(&self, index: u64) -> Result<&[AtomicU64], ObjectError> {
        let size = self.size();
        let at = usize::try_from(index).ok().filter(|_| index < size);
        let at = at.ok_or(ObjectError::Index { index, size })? * self.limbs;
        Ok(&self.values[at..at + self.limbs])
    }
}

/// An instance of an extern type.
#[derive(Debug)]
pub enum Object {
    /// `counter`.
    Counter(Counter),
    /// `direct_counter`: its counts are in the table.
    DirectCounter,
    /// `register`.
    Register(Register),
    /// `meter`.
    Meter(Meter),
    /// `direct_meter`: its meters are in the table.
    DirectMeter(MeterUnit),
    /// `action_profile`, `action_selector`, with the selector's hash algorithm.
    Profile(Arc<Profile>, Algorithm),
    /// `Checksum16`, `Hash`, `Crc64`, `Random`, `Digest`, `Checksum`, `InternetChecksum`: no state
    /// is kept between packets.
    Stateless,
}

/// The unit that a meter's constructor names.
fn unit(instance: &ExternInstance, argument: usize) -> MeterUnit {
    match instance.arguments.get(argument) {
        Some(Constant::Enum(name)) if name.eq_ignore_ascii_case("packets") => MeterUnit::Packets,
        _ => MeterUnit::Bytes,
    }
}

/// The actions of all tables that use an action profile.
fn actions(program: &Program, profile: usize) -> Vec<TableAction> {
    let has = |table: &&Table| {
        let mut properties = table.properties.iter();
        properties.any(|(_, value)| *value == Constant::Object(profile as u32))
    };
    let tables = program.tables.iter().filter(has);
    let mut actions: Vec<TableAction> = Vec::new();
    for action in tables.flat_map(|table| &table.actions) {
        if actions.iter().all(|known| known.name != action.name) {
            actions.push(action.clone());
        }
    }
    actions
}

fn zeros(count: usize) -> Box<[AtomicU64]> {
    (0..count).map(|_| AtomicU64::new(0)).collect()
}

impl Object {
    pub(super) fn new(
        program: &Program,
        at: usize,
        epochs: &Arc<Epochs>,
    ) -> Result<Object, Unsupported> {
        let instance = &program.externs[at];
        let without = |what| Unsupported {
            place: instance.place.clone(),
            what,
        };
        let size = match instance.arguments.first() {
            Some(Constant::Int(size)) => *size,
            _ => 0,
        };
        let layout = instance.types.first();
        let limbs = layout.map_or(1, |t| t.limbs());
        let room = |limbs: u32| -> Result<usize, Unsupported> {
            let all = size * u128::from(limbs);
            match size <= MAX_LIMBS && all <= MAX_LIMBS {
                true => Ok(all as usize),
                false => Err(without(format!("`{}` of {size} elements", instance.name))),
            }
        };
        let profile = |size, selects| {
            Profile::new(&instance.name, size, selects, &actions(program, at), epochs)
        };
        Ok(match instance.kind.as_str() {
            "counter" | "Counter" => Object::Counter(Counter {
                counts: zeros(room(2)?),
            }),
            "direct_counter" | "DirectCounter" => Object::DirectCounter,
            "register" | "Register" => {
                let values = zeros(room(limbs)?);
                if let Some(Constant::Int(first)) = instance.arguments.get(1) {
                    for value in values.chunks_exact(limbs as usize) {
                        let parts = [*first as u64, (*first >> 64) as u64];
                        value
                            .iter()
                            .zip(parts)
                            .for_each(|(v, p)| v.store(p, Relaxed));
                    }
                }
                Object::Register(Register {
                    limbs: limbs as usize,
                    width: layout.map_or(64, |t| t.bits()),
                    values,
                })
            }
            "meter" | "Meter" => Object::Meter(Meter::new(unit(instance, 1), room(1)?)),
            "direct_meter" | "DirectMeter" => Object::DirectMeter(unit(instance, 0)),
            "action_profile" | "ActionProfile" => {
                let profile = profile(size as u64, false);
                Object::Profile(Arc::new(profile), Algorithm::Identity)
            }
            "action_selector" | "ActionSelector" => {
                let size = match instance.arguments.get(1) {
                    Some(Constant::Int(size)) => *size as u64,
                    _ => 0,
                };
                let name = match instance.arguments.first() {
                    Some(Constant::Enum(name)) => name.as_str(),
                    _ => "",
                };
                let algorithm = Algorithm::v1model(name).or_else(|| Algorithm::pna(name));
                let algorithm = algorithm.ok_or_else(|| {
                    without(format!("`{}` with the algorithm `{name}`", instance.name))
                })?;
                let profile = profile(size, true);
                Object::Profile(Arc::new(profile), algorithm)
            }
            "Checksum16" | "Hash" | "Crc64" | "Random" | "Digest" | "Checksum"
            | "InternetChecksum" => Object::Stateless,
            other => {
                return Err(without(format!(
                    "`{}`, which is a `{other}`",
                    instance.name
                )))
            }
        })
    }
}
