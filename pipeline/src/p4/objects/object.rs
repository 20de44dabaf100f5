// SPDX-License-Identifier: Apache-2.0 OR MIT
//! An instance of an extern type, by its kind.

use std::sync::Arc;

use adit_p4_frontend::ir::{Constant, ExternInstance, Program, Table, TableAction};

use super::{Counter, Meter, MeterUnit, Profile, Register};
use crate::p4::hash::Algorithm;
use crate::p4::memory::Epochs;
use crate::p4::unsupported::Unsupported;

/// Maximum number of limbs of one object.
const MAX_LIMBS: u128 = 64 << 20;

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
    /// is kept between packets. `Conntrack`: the state is the engine's tracker.
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

impl Object {
    /// Creates an instance of the program; `at` is its index.
    pub(in crate::p4) fn new(
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
        // The number of elements, each of that many limbs.
        let elements = |limbs: u32| -> Result<usize, Unsupported> {
            match size <= MAX_LIMBS && size * u128::from(limbs) <= MAX_LIMBS {
                true => Ok(size as usize),
                false => Err(without(format!("`{}` of {size} elements", instance.name))),
            }
        };
        let profile = |size, selects| {
            Profile::new(&instance.name, size, selects, &actions(program, at), epochs)
        };
        Ok(match instance.kind.as_str() {
            "counter" | "Counter" => {
                let counter = Counter::new(elements(2)?);
                let what = || format!("`{}` of {size} elements: there is no memory", instance.name);
                Object::Counter(counter.ok_or_else(|| without(what()))?)
            }
            "direct_counter" | "DirectCounter" => Object::DirectCounter,
            "register" | "Register" => {
                let layout = instance.types.first();
                let limbs = layout.map_or(1, |t| t.limbs().max(1));
                let width = layout.map_or(64, |t| t.bits());
                let initial = match instance.arguments.get(1) {
                    Some(Constant::Int(value)) => *value,
                    _ => 0,
                };
                Object::Register(Register::new(elements(limbs)?, limbs, width, initial))
            }
            "meter" | "Meter" => Object::Meter(Meter::new(unit(instance, 1), elements(1)?)),
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
            | "InternetChecksum" | "Conntrack" => Object::Stateless,
            other => {
                return Err(without(format!(
                    "`{}`, which is a `{other}`",
                    instance.name
                )))
            }
        })
    }
}
