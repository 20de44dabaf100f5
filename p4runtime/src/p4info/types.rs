// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Types and annotations in P4Info.

use adit_p4_frontend::control::{values, Annotation, Api, Body, Definition, Item, Type, Value};
use adit_p4_frontend::ir::Program;

use crate::proto::config as pb;

/// Returns whether P4Info has an annotation in another field.
fn is_told(name: &str) -> bool {
    ["name", "id", "brief", "description"].contains(&name)
}

/// Returns the unstructured annotations as written in the program.
pub(super) fn plain(annotations: &[Annotation], except: &[&str]) -> Vec<String> {
    annotations
        .iter()
        .filter(|a| !is_told(&a.name) && !except.contains(&&*a.name))
        .filter_map(|a| match &a.body {
            Body::Empty => Some(format!("@{}", a.name)),
            Body::Text(text, _) => Some(format!("@{}({text})", a.name)),
            Body::List(_) | Body::Record(_) => None,
        })
        .collect()
}

/// Returns the structured annotations.
pub(super) fn structured(annotations: &[Annotation]) -> Vec<pb::StructuredAnnotation> {
    use pb::structured_annotation::Body as Said;
    let list = annotations.iter().filter_map(|annotation| {
        let body = match &annotation.body {
            Body::List(values) => Said::ExpressionList(pb::ExpressionList {
                expressions: values.iter().map(expression).collect(),
            }),
            Body::Record(fields) => Said::KvPairList(pb::KeyValuePairList {
                kv_pairs: fields
                    .iter()
                    .map(|(key, value)| pb::KeyValuePair {
                        key: key.clone(),
                        value: Some(expression(value)),
                    })
                    .collect(),
            }),
            _ => return None,
        };
        Some(pb::StructuredAnnotation {
            name: annotation.name.clone(),
            source_location: None,
            body: Some(body),
        })
    });
    list.collect()
}

fn expression(value: &Value) -> pb::Expression {
    use pb::expression::Value as Said;
    pb::Expression {
        value: Some(match value {
            Value::Int(value) => Said::Int64Value(*value),
            Value::Bool(value) => Said::BoolValue(*value),
            Value::Text(text) | Value::Name(text) => Said::StringValue(text.clone()),
            Value::Bits(width) => Said::Int64Value(i64::from(*width)),
        }),
    }
}

/// Returns the documentation from `@brief` and `@description`.
pub(super) fn documentation(annotations: &[Annotation]) -> Option<pb::Documentation> {
    let text = |name| adit_p4_frontend::control::text(annotations, name);
    let (brief, description) = (text("brief"), text("description"));
    (brief.is_some() || description.is_some()).then(|| pb::Documentation {
        brief: brief.unwrap_or_default().to_owned(),
        description: description.unwrap_or_default().to_owned(),
    })
}

fn named(name: &str) -> pb::P4NamedType {
    pb::P4NamedType {
        name: name.to_owned(),
    }
}

/// Returns the name of a `type`; `None` for other types.
pub(super) fn type_name(ty: &Type) -> Option<pb::P4NamedType> {
    match ty {
        Type::New(name) => Some(named(name)),
        _ => None,
    }
}

fn bits(ty: &Type) -> Option<pb::P4BitstringLikeTypeSpec> {
    use pb::p4_bitstring_like_type_spec::TypeSpec as Said;
    let spec = match ty {
        Type::Bit(width) => Said::Bit(pb::P4BitTypeSpec {
            bitwidth: *width as i32,
        }),
        Type::Int(width) => Said::Int(pb::P4IntTypeSpec {
            bitwidth: *width as i32,
        }),
        Type::Varbit(width) => Said::Varbit(pb::P4VarbitTypeSpec {
            max_bitwidth: *width as i32,
        }),
        _ => return None,
    };
    Some(pb::P4BitstringLikeTypeSpec {
        type_spec: Some(spec),
        ..Default::default()
    })
}

/// Converts a type.
pub(super) fn spec(ty: &Type) -> pb::P4DataTypeSpec {
    use pb::p4_data_type_spec::TypeSpec as Said;
    let said = match ty {
        Type::Bit(_) | Type::Int(_) | Type::Varbit(_) => bits(ty).map(Said::Bitstring),
        Type::Bool => Some(Said::Bool(pb::P4BoolType {})),
        Type::Error => Some(Said::Error(pb::P4ErrorType {})),
        Type::Tuple(parts) => Some(Said::Tuple(pb::P4TupleTypeSpec {
            members: parts.iter().map(spec).collect(),
        })),
        Type::Struct(name) => Some(Said::Struct(named(name))),
        Type::Header(name) => Some(Said::Header(named(name))),
        Type::Union(name) => Some(Said::HeaderUnion(named(name))),
        Type::Enum(name) => Some(Said::Enum(named(name))),
        Type::Serializable(name) => Some(Said::SerializableEnum(named(name))),
        Type::New(name) => Some(Said::NewType(named(name))),
        Type::Stack(element, count) => match &**element {
            Type::Union(name) => Some(Said::HeaderUnionStack(pb::P4HeaderUnionStackTypeSpec {
                header_union: Some(named(name)),
                size: *count as i32,
            })),
            Type::Header(name) => Some(Said::HeaderStack(pb::P4HeaderStackTypeSpec {
                header: Some(named(name)),
                size: *count as i32,
            })),
            _ => None,
        },
        Type::Other => None,
    };
    pb::P4DataTypeSpec { type_spec: said }
}

/// Returns the underlying bits of a header's field, with `type` and `enum` resolved.
fn below<'a>(api: &'a Api, ty: &'a Type) -> Type {
    match ty {
        Type::New(name) => match api.types.get(name) {
            Some(Definition::New(inner, _)) => below(api, inner),
            _ => Type::Other,
        },
        Type::Serializable(name) => match api.types.get(name) {
            Some(Definition::Serializable(width, _)) => Type::Bit(*width),
            _ => Type::Other,
        },
        Type::Bool => Type::Bit(1),
        other => other.clone(),
    }
}

fn translation(annotations: &[Annotation]) -> Option<pb::P4NewTypeTranslation> {
    use pb::p4_new_type_translation::{SdnString, SdnType};
    let [Value::Text(uri), kind] = values(annotations, "p4runtime_translation")? else {
        return None;
    };
    Some(pb::P4NewTypeTranslation {
        uri: uri.clone(),
        sdn_type: Some(match kind {
            Value::Int(width) => SdnType::SdnBitwidth(*width as i32),
            Value::Bits(width) => SdnType::SdnBitwidth(*width as i32),
            _ => SdnType::SdnString(SdnString {}),
        }),
    })
}

/// Returns the width of a value for control planes: for a translated type the width in the
/// annotation, or 0 for strings.
pub(super) fn shown_width(api: &Api, item: &Item) -> i32 {
    use pb::p4_new_type_translation::SdnType;
    let definition = match &item.ty {
        Type::New(name) => api.types.get(name),
        _ => None,
    };
    match definition {
        Some(Definition::New(_, annotations)) => match translation(annotations) {
            Some(translation) => match translation.sdn_type {
                Some(SdnType::SdnBitwidth(width)) => width,
                _ => 0,
            },
            None => item.width as i32,
        },
        _ => item.width as i32,
    }
}

/// Returns all types with names.
pub(super) fn type_info(program: &Program) -> pb::P4TypeInfo {
    let api = &program.control;
    let mut info = pb::P4TypeInfo {
        error: api.has_errors.then(|| pb::P4ErrorTypeSpec {
            members: program.errors.clone(),
        }),
        ..Default::default()
    };
    for (name, definition) in &api.types {
        let name = name.clone();
        match definition {
            Definition::Struct(fields) => {
                let members = fields
                    .iter()
                    .map(|(name, ty)| pb::p4_struct_type_spec::Member {
                        name: name.clone(),
                        type_spec: Some(spec(ty)),
                    });
                let spec = pb::P4StructTypeSpec {
                    members: members.collect(),
                    ..Default::default()
                };
                info.structs.insert(name, spec);
            }
            Definition::Header(fields) => {
                let members = fields
                    .iter()
                    .map(|(name, ty)| pb::p4_header_type_spec::Member {
                        name: name.clone(),
                        type_spec: bits(&below(api, ty)),
                    });
                let spec = pb::P4HeaderTypeSpec {
                    members: members.collect(),
                    ..Default::default()
                };
                info.headers.insert(name, spec);
            }
            Definition::Union(fields) => {
                let members =
                    fields
                        .iter()
                        .map(|(name, ty)| pb::p4_header_union_type_spec::Member {
                            name: name.clone(),
                            header: match ty {
                                Type::Header(name) => Some(named(name)),
                                _ => None,
                            },
                        });
                let spec = pb::P4HeaderUnionTypeSpec {
                    members: members.collect(),
                    ..Default::default()
                };
                info.header_unions.insert(name, spec);
            }
            Definition::Enum(members) => {
                let members = members.iter().map(|name| pb::p4_enum_type_spec::Member {
                    name: name.clone(),
                    ..Default::default()
                });
                let spec = pb::P4EnumTypeSpec {
                    members: members.collect(),
                    ..Default::default()
                };
                info.enums.insert(name, spec);
            }
            Definition::Serializable(width, members) => {
                let members = members.iter().map(|(name, value)| {
                    let value = crate::bytes::shortest(value).to_vec();
                    pb::p4_serializable_enum_type_spec::Member {
                        name: name.clone(),
                        value,
                        ..Default::default()
                    }
                });
                let spec = pb::P4SerializableEnumTypeSpec {
                    underlying_type: Some(pb::P4BitTypeSpec {
                        bitwidth: *width as i32,
                    }),
                    members: members.collect(),
                    ..Default::default()
                };
                info.serializable_enums.insert(name, spec);
            }
            Definition::New(original, annotations) => {
                use pb::p4_new_type_spec::Representation::{OriginalType, TranslatedType};
                let representation = match translation(annotations) {
                    Some(translation) => TranslatedType(translation),
                    None => OriginalType(spec(original)),
                };
                let spec = pb::P4NewTypeSpec {
                    annotations: plain(annotations, &["p4runtime_translation"]),
                    structured_annotations: structured(annotations),
                    representation: Some(representation),
                    ..Default::default()
                };
                info.new_types.insert(name, spec);
            }
        }
    }
    info
}
