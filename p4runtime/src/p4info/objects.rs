// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Extern objects in P4Info.

use adit_p4_frontend::control::{number, text, Type};
use adit_p4_frontend::ir::{Constant, ExternInstance, Program};

use super::ids::Symbols;
use super::types::{spec, type_name};
use super::{preamble, prefix_of};
use crate::proto::config::{self as pb, p4_ids::Prefix};

/// Returns the id of an object; 0 if it is hidden from control planes.
pub(super) fn id(program: &Program, object: u32, symbols: &Symbols) -> u32 {
    let object = program.externs.get(object as usize);
    object.map_or(0, |o| {
        prefix_of(&o.kind).map_or(0, |p| symbols.id(p, &o.name))
    })
}

fn size(object: &ExternInstance) -> i64 {
    let ints = object.arguments.iter().filter_map(|a| match a {
        Constant::Int(value) => Some(*value),
        _ => None,
    });
    i64::try_from(ints.into_iter().next().unwrap_or(0)).unwrap_or(i64::MAX)
}

fn unit(object: &ExternInstance) -> &str {
    let mut names = object.arguments.iter().filter_map(|a| match a {
        Constant::Enum(name) => Some(name.rsplit('.').next().unwrap_or(name)),
        _ => None,
    });
    names.next().unwrap_or_default()
}

fn counter_spec(object: &ExternInstance) -> Option<pb::CounterSpec> {
    use pb::counter_spec::Unit;
    let unit = match unit(object) {
        "packets" | "PACKETS" => Unit::Packets,
        "bytes" | "BYTES" => Unit::Bytes,
        "packets_and_bytes" | "PACKETS_AND_BYTES" => Unit::Both,
        _ => Unit::Unspecified,
    };
    Some(pb::CounterSpec { unit: unit as i32 })
}

fn meter_spec(object: &ExternInstance) -> Option<pb::MeterSpec> {
    use pb::meter_spec::Unit;
    let unit = match unit(object) {
        "packets" | "PACKETS" => Unit::Packets,
        "bytes" | "BYTES" => Unit::Bytes,
        _ => Unit::Unspecified,
    };
    Some(pb::MeterSpec {
        unit: unit as i32,
        ..Default::default()
    })
}

/// Returns the tables that have that object as a property, in the order of their names.
fn tables_of(program: &Program, object: usize, symbols: &Symbols) -> Vec<u32> {
    let mut tables: Vec<_> = program
        .tables
        .iter()
        .filter(|t| {
            let mut values = t.properties.iter().map(|(_, value)| value);
            values.any(|v| *v == Constant::Object(object as u32))
        })
        .collect();
    tables.sort_by(|a, b| a.name.cmp(&b.name));
    let ids = tables.iter().map(|t| symbols.id(Prefix::Table, &t.name));
    ids.collect()
}

pub(super) fn objects(program: &Program, symbols: &Symbols, info: &mut pb::P4Info) {
    for (n, (object, shown)) in program
        .externs
        .iter()
        .zip(&program.control.externs)
        .enumerate()
    {
        let Some(prefix) = prefix_of(&object.kind) else {
            continue;
        };
        let annotations = &shown.annotations;
        let mut preamble = preamble(symbols, prefix, &object.name, annotations);
        let index = |at: usize| shown.types.get(at).and_then(type_name);
        let tables = tables_of(program, n, symbols);
        let direct_table_id = tables.first().copied().unwrap_or(0);
        match prefix {
            Prefix::Counter => info.counters.push(pb::Counter {
                preamble: Some(preamble),
                spec: counter_spec(object),
                size: size(object),
                index_type_name: index(1),
            }),
            // A direct counter or meter without a table counts nothing.
            Prefix::DirectCounter if direct_table_id == 0 => {}
            Prefix::DirectMeter if direct_table_id == 0 => {}
            Prefix::DirectCounter => info.direct_counters.push(pb::DirectCounter {
                preamble: Some(preamble),
                spec: counter_spec(object),
                direct_table_id,
            }),
            Prefix::Meter => info.meters.push(pb::Meter {
                preamble: Some(preamble),
                spec: meter_spec(object),
                size: size(object),
                index_type_name: index(0),
            }),
            Prefix::DirectMeter => info.direct_meters.push(pb::DirectMeter {
                preamble: Some(preamble),
                spec: meter_spec(object),
                direct_table_id,
            }),
            Prefix::Register => info.registers.push(pb::Register {
                preamble: Some(preamble),
                type_spec: shown.types.first().map(spec),
                size: i32::try_from(size(object)).unwrap_or(i32::MAX),
                index_type_name: index(1),
            }),
            Prefix::Digest => info.digests.push(digest(preamble, shown.types.first())),
            Prefix::ActionProfile => {
                let said = [
                    "max_group_size",
                    "selector_size_semantics",
                    "max_member_weight",
                ];
                preamble.annotations = super::types::plain(annotations, &said);
                let with_selector = object.kind.ends_with("elector");
                info.action_profiles.push(pb::ActionProfile {
                    preamble: Some(preamble),
                    table_ids: tables,
                    with_selector,
                    size: size(object),
                    max_group_size: match with_selector {
                        true => number(annotations, "max_group_size").unwrap_or(0) as i32,
                        false => 0,
                    },
                    weights_disallowed: false,
                    selector_size_semantics: match with_selector {
                        true => semantics(annotations),
                        false => None,
                    },
                });
            }
            _ => {}
        }
    }
    for (name, ty) in &program.control.digests {
        let preamble = preamble(symbols, Prefix::Digest, name, &[]);
        info.digests.push(digest(preamble, Some(ty)));
    }
}

fn digest(preamble: pb::Preamble, ty: Option<&Type>) -> pb::Digest {
    pb::Digest {
        preamble: Some(preamble),
        type_spec: ty.map(spec),
    }
}

fn semantics(
    annotations: &[adit_p4_frontend::control::Annotation],
) -> Option<pb::action_profile::SelectorSizeSemantics> {
    use pb::action_profile::{SelectorSizeSemantics, SumOfMembers, SumOfWeights};
    let said = text(annotations, "selector_size_semantics")?;
    match said.to_ascii_lowercase().as_str() {
        "sum_of_weights" => Some(SelectorSizeSemantics::SumOfWeights(SumOfWeights {})),
        "sum_of_members" => Some(SelectorSizeSemantics::SumOfMembers(SumOfMembers {
            max_member_weight: number(annotations, "max_member_weight").unwrap_or(0) as i32,
        })),
        _ => None,
    }
}
