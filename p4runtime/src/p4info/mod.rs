// SPDX-License-Identifier: Apache-2.0 OR MIT
//! P4Info: the entities of a program that control planes see, with ids.

mod ids;
mod objects;
pub mod text;
mod types;

use std::collections::BTreeSet;

use adit_p4_frontend::control::{self, has, Annotation, Api, Body, Item, Type, Value};
use adit_p4_frontend::ir::{Constant, Program, Table};

use crate::proto::config::{self as pb, p4_ids::Prefix};
pub use ids::IdError;
use ids::{local_ids, Symbols};
use types::{documentation, plain, shown_width, structured, type_info, type_name};

/// The size of a table that declares none.
const DEFAULT_SIZE: u64 = 1024;

/// The P4Info of a program, and the ids of its entities.
#[derive(Clone, Debug, PartialEq)]
pub struct Info {
    /// P4Info.
    pub p4info: pb::P4Info,
    /// The ids of the tables, in the program's order. Hidden ones are not in P4Info.
    pub tables: Vec<u32>,
    /// The ids of the extern objects, in the program's order; 0 for those that have none.
    pub externs: Vec<u32>,
    /// The ids of the value sets, in the program's order.
    pub value_sets: Vec<u32>,
    /// The ids of `Api::digests`.
    pub digests: Vec<u32>,
}

pub(crate) fn id_of(preamble: &Option<pb::Preamble>) -> u32 {
    preamble.as_ref().map_or(0, |p| p.id)
}

/// Returns the kind of entity of an extern object; `None` if it is hidden from control planes.
fn prefix_of(kind: &str) -> Option<Prefix> {
    Some(match kind {
        "counter" | "Counter" => Prefix::Counter,
        "direct_counter" | "DirectCounter" => Prefix::DirectCounter,
        "meter" | "Meter" => Prefix::Meter,
        "direct_meter" | "DirectMeter" => Prefix::DirectMeter,
        "register" | "Register" => Prefix::Register,
        "action_profile" | "action_selector" | "ActionProfile" | "ActionSelector" => {
            Prefix::ActionProfile
        }
        "Digest" => Prefix::Digest,
        _ => return None,
    })
}

/// Generates the P4Info of a program.
pub fn p4info(program: &Program) -> Result<Info, IdError> {
    let api = &program.control;
    let mut symbols = Symbols::default();
    for action in &api.actions {
        symbols.add(Prefix::Action, &action.name, &action.annotations)?;
    }
    for (table, shown) in program.tables.iter().zip(&api.tables) {
        symbols.add(Prefix::Table, &table.name, &shown.annotations)?;
        for action in &table.actions {
            symbols.add(Prefix::Action, &action.name, &[])?;
        }
    }
    for (object, shown) in program.externs.iter().zip(&api.externs) {
        if let Some(prefix) = prefix_of(&object.kind) {
            symbols.add(prefix, &object.name, &shown.annotations)?;
        }
    }
    for (set, shown) in program.value_sets.iter().zip(&api.value_sets) {
        symbols.add(Prefix::ValueSet, &set.name, &shown.annotations)?;
    }
    for (name, _) in &api.digests {
        symbols.add(Prefix::Digest, name, &[])?;
    }
    for header in &api.headers {
        let annotations = &header.annotations;
        symbols.add(Prefix::ControllerHeader, &header.type_name, annotations)?;
    }
    symbols.assign();

    let mut info = pb::P4Info {
        pkg_info: Some(package(program)),
        type_info: Some(type_info(program)),
        ..Default::default()
    };
    for (table, shown) in program.tables.iter().zip(&api.tables) {
        if !has(&shown.annotations, "hidden") {
            info.tables
                .push(table_info(program, table, shown, &symbols));
        }
    }
    actions(program, &symbols, &mut info);
    objects::objects(program, &symbols, &mut info);
    for (set, shown) in program.value_sets.iter().zip(&api.value_sets) {
        let ids = local_ids(shown.fields.iter().map(|f| &f.annotations[..]));
        let fields = shown.fields.iter().zip(ids);
        info.value_sets.push(pb::ValueSet {
            preamble: Some(preamble(
                &symbols,
                Prefix::ValueSet,
                &set.name,
                &shown.annotations,
            )),
            r#match: fields.map(|(f, id)| member_field(api, f, id)).collect(),
            size: i32::try_from(set.size).unwrap_or(i32::MAX),
        });
    }
    for header in api
        .headers
        .iter()
        .filter(|h| !has(&h.annotations, "hidden"))
    {
        info.controller_packet_metadata
            .push(controller_header(api, header, &symbols));
    }
    Ok(Info {
        p4info: info,
        tables: program
            .tables
            .iter()
            .map(|t| symbols.id(Prefix::Table, &t.name))
            .collect(),
        externs: program
            .externs
            .iter()
            .map(|e| prefix_of(&e.kind).map_or(0, |p| symbols.id(p, &e.name)))
            .collect(),
        value_sets: program
            .value_sets
            .iter()
            .map(|s| symbols.id(Prefix::ValueSet, &s.name))
            .collect(),
        digests: api
            .digests
            .iter()
            .map(|(name, _)| symbols.id(Prefix::Digest, name))
            .collect(),
    })
}

fn preamble(
    symbols: &Symbols,
    prefix: Prefix,
    name: &str,
    annotations: &[Annotation],
) -> pb::Preamble {
    pb::Preamble {
        id: symbols.id(prefix, name),
        name: name.to_owned(),
        alias: symbols.alias(name).to_owned(),
        annotations: plain(annotations, &[]),
        doc: documentation(annotations),
        structured_annotations: structured(annotations),
        ..Default::default()
    }
}

fn package(program: &Program) -> pb::PkgInfo {
    let annotations = &program.control.package;
    let mut info = pb::PkgInfo {
        arch: match program.package.as_str() {
            "V1Switch" => "v1model".to_owned(),
            "PNA_NIC" => "pna".to_owned(),
            other => other.to_owned(),
        },
        doc: documentation(annotations),
        annotations: plain(annotations, &["pkginfo", "platform_property"]),
        ..Default::default()
    };
    for annotation in annotations {
        let Body::Record(fields) = &annotation.body else {
            continue;
        };
        match annotation.name.as_str() {
            "pkginfo" => {
                for (key, value) in fields {
                    let Value::Text(text) = value else { continue };
                    let place = match key.as_str() {
                        "name" => &mut info.name,
                        "version" => &mut info.version,
                        "organization" => &mut info.organization,
                        "contact" => &mut info.contact,
                        "url" => &mut info.url,
                        _ => continue,
                    };
                    place.clone_from(text);
                }
            }
            "platform_property" => {
                let limits = info.platform_properties.get_or_insert_default();
                for (key, value) in fields {
                    let Value::Int(value) = value else { continue };
                    let place = match key.as_str() {
                        "multicast_group_table_size" => &mut limits.multicast_group_table_size,
                        "multicast_group_table_total_replicas" => {
                            &mut limits.multicast_group_table_total_replicas
                        }
                        "multicast_group_table_max_replicas_per_entry" => {
                            &mut limits.multicast_group_table_max_replicas_per_entry
                        }
                        _ => continue,
                    };
                    *place = i32::try_from(*value).unwrap_or(i32::MAX);
                }
            }
            _ => info
                .structured_annotations
                .extend(structured(std::slice::from_ref(annotation))),
        }
    }
    info
}

fn match_type(kind: &str) -> pb::match_field::Match {
    use pb::match_field::{Match, MatchType};
    Match::MatchType(match kind {
        "exact" => MatchType::Exact,
        "lpm" => MatchType::Lpm,
        "ternary" => MatchType::Ternary,
        "range" => MatchType::Range,
        "optional" => MatchType::Optional,
        other => return Match::OtherMatchType(other.to_owned()),
    } as i32)
}

fn match_field(api: &Api, item: &Item, id: u32, kind: &str) -> pb::MatchField {
    pb::MatchField {
        id,
        name: item.name.clone(),
        annotations: plain(&item.annotations, &["match"]),
        bitwidth: shown_width(api, item),
        doc: documentation(&item.annotations),
        type_name: type_name(&item.ty),
        structured_annotations: structured(&item.annotations),
        r#match: Some(match_type(kind)),
        ..Default::default()
    }
}

/// Creates a field of a value set's members; an annotation gives its match kind.
fn member_field(api: &Api, item: &Item, id: u32) -> pb::MatchField {
    let kind = match control::values(&item.annotations, "match") {
        Some([Value::Name(kind), ..]) => kind.as_str(),
        _ => "exact",
    };
    match_field(api, item, id, kind)
}

fn table_info(
    program: &Program,
    table: &Table,
    shown: &control::Table,
    symbols: &Symbols,
) -> pb::Table {
    use pb::action_ref::Scope;
    use pb::table::IdleTimeoutBehavior;
    let ids = local_ids(shown.keys.iter().map(|k| &k.annotations[..]));
    let keys = table.keys.iter().zip(&shown.keys).zip(ids);
    let none = Vec::new();
    let refs = table.actions.iter().enumerate().map(|(n, action)| {
        let mut annotations = plain(shown.actions.get(n).unwrap_or(&none), &[]);
        let is_unlisted = shown.unlisted_default && n >= shown.actions.len();
        if is_unlisted {
            annotations.push("@defaultonly".to_owned());
        }
        pb::ActionRef {
            id: symbols.id(Prefix::Action, &action.name),
            scope: match (action.default_only, action.table_only) {
                (true, _) => Scope::DefaultOnly,
                (_, true) => Scope::TableOnly,
                _ => Scope::TableAndDefault,
            } as i32,
            annotations,
            structured_annotations: structured(shown.actions.get(n).unwrap_or(&none)),
            ..Default::default()
        }
    });
    let default = table.actions.get(table.default.action as usize);
    let default_id = default.map_or(0, |a| symbols.id(Prefix::Action, &a.name));
    let parameters = default
        .and_then(|d| program.control.actions.iter().find(|a| a.name == d.name))
        .map(|a| local_ids(a.parameters.iter().map(|p| &p.annotations[..])))
        .unwrap_or_default();
    let arguments = table.default.arguments.iter().zip(parameters);
    let mut info = pb::Table {
        preamble: Some(preamble(
            symbols,
            Prefix::Table,
            &table.name,
            &shown.annotations,
        )),
        match_fields: keys
            .filter(|((key, _), _)| key.kind != "selector")
            .map(|((key, item), id)| match_field(&program.control, item, id, &key.kind))
            .collect(),
        action_refs: refs.collect(),
        const_default_action_id: if table.const_default { default_id } else { 0 },
        initial_default_action: Some(pb::TableActionCall {
            action_id: default_id,
            arguments: arguments
                .map(|(value, param_id)| pb::table_action_call::Argument {
                    param_id,
                    value: crate::bytes::from_limbs(value),
                })
                .collect(),
        }),
        size: match table.size {
            None | Some(0) => DEFAULT_SIZE as i64,
            Some(size) => i64::try_from(size).unwrap_or(i64::MAX),
        },
        is_const_table: table.const_entries,
        has_initial_entries: !table.entries.is_empty(),
        ..Default::default()
    };
    for (name, value) in &table.properties {
        match (name.as_str(), value) {
            ("support_timeout" | "psa_idle_timeout", Constant::Bool(true)) => {
                info.idle_timeout_behavior = IdleTimeoutBehavior::NotifyControl as i32;
            }
            ("pna_idle_timeout", Constant::Enum(kind)) if kind == "NOTIFY_CONTROL" => {
                info.idle_timeout_behavior = IdleTimeoutBehavior::NotifyControl as i32;
            }
            ("implementation" | "pna_implementation", Constant::Object(object)) => {
                info.implementation_id = objects::id(program, *object, symbols);
            }
            (
                "counters" | "meters" | "pna_direct_counter" | "pna_direct_meter",
                Constant::Object(object),
            ) => {
                let id = objects::id(program, *object, symbols);
                info.direct_resource_ids.push(id);
            }
            _ => {}
        }
    }
    info
}

fn actions(program: &Program, symbols: &Symbols, info: &mut pb::P4Info) {
    let shown = &program.control.actions;
    let listed: BTreeSet<&str> = program
        .tables
        .iter()
        .flat_map(|t| t.actions.iter().map(|a| a.name.as_str()))
        .collect();
    let seen = |a: &&control::Action| a.is_used && !has(&a.annotations, "hidden");
    for action in shown.iter().filter(seen) {
        let ids = local_ids(action.parameters.iter().map(|p| &p.annotations[..]));
        let parameters = action.parameters.iter().zip(ids);
        info.actions.push(pb::Action {
            preamble: Some(preamble(
                symbols,
                Prefix::Action,
                &action.name,
                &action.annotations,
            )),
            // An action that only code calls has no parameters, since no entry sets them.
            params: parameters
                .filter(|_| listed.contains(action.name.as_str()))
                .map(|(item, id)| pb::action::Param {
                    id,
                    name: item.name.clone(),
                    annotations: plain(&item.annotations, &[]),
                    bitwidth: shown_width(&program.control, item),
                    doc: documentation(&item.annotations),
                    type_name: match &item.ty {
                        Type::Enum(name) => Some(pb::P4NamedType { name: name.clone() }),
                        other => type_name(other),
                    },
                    structured_annotations: structured(&item.annotations),
                    ..Default::default()
                })
                .collect(),
        });
    }
    // `NoAction` is included even if it is not listed anywhere.
    let id = symbols.id(Prefix::Action, "NoAction");
    let is_told = shown.iter().any(|a| a.name == "NoAction");
    if id != 0 && !is_told {
        let mut preamble = preamble(symbols, Prefix::Action, "NoAction", &[]);
        preamble.annotations.push("@noWarn(\"unused\")".to_owned());
        info.actions.push(pb::Action {
            preamble: Some(preamble),
            params: Vec::new(),
        });
    }
}

fn controller_header(
    api: &Api,
    header: &control::ControllerHeader,
    symbols: &Symbols,
) -> pb::ControllerPacketMetadata {
    let ids = local_ids(header.fields.iter().map(|f| &f.annotations[..]));
    let fields = header.fields.iter().zip(ids);
    let mut preamble = preamble(
        symbols,
        Prefix::ControllerHeader,
        &header.type_name,
        &header.annotations,
    );
    preamble.name.clone_from(&header.name);
    preamble.alias.clone_from(&header.name);
    pb::ControllerPacketMetadata {
        preamble: Some(preamble),
        metadata: fields
            .filter(|(item, _)| !has(&item.annotations, "hidden"))
            .map(|(item, id)| pb::controller_packet_metadata::Metadata {
                id,
                name: item.name.clone(),
                annotations: plain(&item.annotations, &[]),
                bitwidth: shown_width(api, item),
                type_name: type_name(&item.ty),
                structured_annotations: structured(&item.annotations),
                ..Default::default()
            })
            .collect(),
    }
}
