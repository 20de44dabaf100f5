// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The control plane API, collected during instantiation.

use num_bigint::BigInt;
use num_traits::ToPrimitive;

use super::Lower;
use crate::check::{fields, DefKind};
use crate::control::{
    Action, Annotation, Body, ControllerHeader, Definition, Item, Type, Value, ValueSet,
};
use crate::eval;
use crate::syntax::ast::{self, AnnotationBody, DeclKind, Expr, ExprKind, StructKind, TypeKind};
use crate::types::{DefId, Kind, TypeId};

impl<'a> Lower<'a, '_> {
    pub(super) fn shown_annotations(&mut self, list: &[ast::Annotation]) -> Vec<Annotation> {
        list.iter()
            .map(|annotation| Annotation {
                name: annotation.name.name.to_string(),
                body: match &annotation.body {
                    AnnotationBody::None => Body::Empty,
                    AnnotationBody::Unstructured(values, text) => {
                        let values = values.iter().filter_map(|v| self.shown_value(v));
                        Body::Text(text.clone(), values.collect())
                    }
                    AnnotationBody::List(values) => {
                        Body::List(values.iter().filter_map(|v| self.shown_value(v)).collect())
                    }
                    AnnotationBody::Record(fields) => Body::Record(
                        fields
                            .iter()
                            .filter_map(|(n, v)| Some((n.name.to_string(), self.shown_value(v)?)))
                            .collect(),
                    ),
                },
            })
            .collect()
    }

    /// Converts a value in an annotation. Annotations are unchecked: what is not a value is
    /// omitted.
    fn shown_value(&mut self, expr: &Expr) -> Option<Value> {
        Some(match &expr.kind {
            ExprKind::Str(text) => Value::Text(text.clone()),
            ExprKind::Int(value, _) => Value::Int(value.to_i64()?),
            ExprKind::Bool(value) => Value::Bool(*value),
            ExprKind::Name(name, _) => match &*name.name {
                "string" => Value::Name("string".to_owned()),
                other => Value::Name(other.to_owned()),
            },
            ExprKind::Type(ty) => match &ty.kind {
                TypeKind::String => Value::Name("string".to_owned()),
                TypeKind::Bit(Some(width)) => match &width.kind {
                    ExprKind::Int(value, _) => Value::Bits(value.to_u32()?),
                    _ => return None,
                },
                _ => return None,
            },
            ExprKind::Unary(ast::UnaryOp::Minus, inner) => match self.shown_value(inner)? {
                Value::Int(value) => Value::Int(value.checked_neg()?),
                _ => return None,
            },
            _ => match crate::check::value(&self.info, &self.scope.known, expr).ok()?? {
                eval::Value::Int(value) => Value::Int(value.to_i64()?),
                eval::Value::Bool(value) => Value::Bool(value),
                eval::Value::Str(text) => Value::Text(text),
                _ => return None,
            },
        })
    }

    /// A type as control planes know it; named types are added to the list of types.
    pub(super) fn shown_type(&mut self, ty: TypeId) -> Type {
        let ty = self.info.types.substitute(ty, &self.scope.types);
        let kind = self.kind(ty);
        match kind.clone() {
            Kind::Bit(width) => Type::Bit(width),
            Kind::Int(width) => Type::Int(width),
            Kind::Varbit(width) => Type::Varbit(width),
            Kind::Bool => Type::Bool,
            Kind::Error => {
                self.out.control.has_errors = true;
                Type::Error
            }
            Kind::Tuple(parts) | Kind::ListLiteral(parts) => {
                Type::Tuple(parts.into_iter().map(|p| self.shown_type(p)).collect())
            }
            Kind::Stack(element, count) => Type::Stack(Box::new(self.shown_type(element)), count),
            Kind::Struct(which, def, _) => {
                let name = self.shown_name(def);
                if self.is_new_name(&name) {
                    let types = fields(&mut self.info, &kind);
                    let names: Vec<_> = match &self.def(def).kind {
                        DefKind::Struct(_, _, list) => list.iter().map(|f| f.field).collect(),
                        _ => Vec::new(),
                    };
                    let mut list = Vec::new();
                    for ((_, ty), field) in types.into_iter().zip(names) {
                        list.push((field_name(field), self.shown_type(ty)));
                    }
                    let definition = match which {
                        StructKind::Struct => Definition::Struct(list),
                        StructKind::Header => Definition::Header(list),
                        StructKind::Union => Definition::Union(list),
                    };
                    self.out.control.types.insert(name.clone(), definition);
                }
                match which {
                    StructKind::Struct => Type::Struct(name),
                    StructKind::Header => Type::Header(name),
                    StructKind::Union => Type::Union(name),
                }
            }
            Kind::Enum(def) => {
                let name = self.shown_name(def);
                if let DefKind::Enum(members, _) = &self.def(def).kind {
                    let members = members.iter().map(|m| m.to_string()).collect();
                    let definition = Definition::Enum(members);
                    self.out.control.types.insert(name.clone(), definition);
                }
                Type::Enum(name)
            }
            Kind::Serializable(def, base) => {
                let name = self.shown_name(def);
                let width = self.info.types.shape(base).map_or(0, |s| s.0);
                if let DefKind::Enum(members, Some((_, values))) = &self.def(def).kind {
                    let members = members.iter().map(|m| m.to_string());
                    let values = values.iter().map(|value| bytes(value, width));
                    let definition = Definition::Serializable(width, members.zip(values).collect());
                    self.out.control.types.insert(name.clone(), definition);
                }
                Type::Serializable(name)
            }
            Kind::New(def, base) => {
                let name = self.shown_name(def);
                if self.is_new_name(&name) {
                    let mut inner = base;
                    while let Kind::New(_, base) = self.kind(inner) {
                        inner = base;
                    }
                    let original = self.shown_type(inner);
                    let annotations = self.def(def).decl.map_or(&[][..], |d| &d.annotations);
                    let annotations = self.shown_annotations(annotations);
                    let definition = Definition::New(original, annotations);
                    self.out.control.types.insert(name.clone(), definition);
                }
                Type::New(name)
            }
            _ => Type::Other,
        }
    }

    /// Returns whether no type of that name is listed yet; types of equal names are kept once. A
    /// type cannot contain itself.
    fn is_new_name(&self, name: &str) -> bool {
        !self.out.control.types.contains_key(name)
    }

    fn shown_name(&self, def: DefId) -> String {
        let def = self.def(def);
        let annotations = def.decl.map_or(&[][..], |d| &d.annotations);
        match crate::check::given_name(annotations) {
            Some(name) => name.trim_start_matches('.').to_owned(),
            None => def.name.to_string(),
        }
    }

    pub(super) fn shown_item(
        &mut self,
        name: String,
        ty: TypeId,
        annotations: &[ast::Annotation],
    ) -> Item {
        let ty = self.info.types.substitute(ty, &self.scope.types);
        let shown = self.shown_type(ty);
        let mut inner = ty;
        while let Kind::New(_, base) | Kind::Serializable(_, base) = self.kind(inner) {
            inner = base;
        }
        Item {
            name,
            width: match self.kind(inner) {
                Kind::Bit(width) | Kind::Int(width) | Kind::Varbit(width) => width,
                Kind::Bool => 1,
                _ => 0,
            },
            ty: shown,
            annotations: self.shown_annotations(annotations),
        }
    }

    /// Records an action with its directionless parameters, which entries of tables set.
    pub(super) fn show_action(&mut self, name: &str, def: DefId) {
        if self.out.control.actions.iter().any(|a| a.name == name) {
            return;
        }
        let DefKind::Action(signature, _) = &self.def(def).kind else {
            return;
        };
        let own: Vec<_> = signature
            .parameters
            .iter()
            .filter(|p| p.direction == ast::Direction::None)
            .map(|p| (p.ast, p.ty))
            .collect();
        let mut parameters = Vec::new();
        for (parameter, ty) in own {
            let name = match crate::check::given_name(&parameter.annotations) {
                Some(name) => name.to_owned(),
                None => parameter.name.name.to_string(),
            };
            parameters.push(self.shown_item(name, ty, &parameter.annotations));
        }
        let annotations = self.def(def).decl.map_or(&[][..], |d| &d.annotations);
        let annotations = self.shown_annotations(annotations);
        self.out.control.actions.push(Action {
            name: name.to_owned(),
            annotations,
            parameters,
            is_used: false,
        });
    }

    /// Marks the action as used.
    pub(super) fn use_action(&mut self, function: crate::ir::FunctionId) {
        let Some(function) = self.out.functions.get(function as usize) else {
            return;
        };
        let mut actions = self.out.control.actions.iter_mut();
        if let Some(action) = actions.find(|a| a.name == function.name) {
            action.is_used = true;
        }
    }

    pub(super) fn show_value_set(&mut self, decl: &ast::Decl, ty: TypeId) {
        let kind = self.kind(ty);
        let mut list = Vec::new();
        match kind {
            Kind::Struct(_, def, _) => {
                let types = fields(&mut self.info, &kind);
                let names: Vec<_> = match &self.def(def).kind {
                    DefKind::Struct(_, _, list) => list.iter().map(|f| f.field).collect(),
                    _ => Vec::new(),
                };
                for ((_, ty), field) in types.into_iter().zip(names) {
                    list.push(self.shown_item(field_name(field), ty, &field.annotations));
                }
            }
            Kind::Tuple(parts) => {
                for part in parts {
                    list.push(self.shown_item(String::new(), part, &[]));
                }
            }
            _ => list.push(self.shown_item(String::new(), ty, &[])),
        }
        let annotations = self.shown_annotations(&decl.annotations);
        self.out.control.value_sets.push(ValueSet {
            annotations,
            fields: list,
        });
    }

    /// Adds the fields of a controller header; those of nested structs are named by their paths.
    fn show_fields(
        &mut self,
        path: &str,
        kind: &Kind,
        list: &'a [ast::Field],
        shown: &mut Vec<Item>,
    ) {
        for ((_, ty), field) in fields(&mut self.info, kind).into_iter().zip(list) {
            let name = format!("{path}{}", field_name(field));
            let inner = self.kind(ty);
            let decl = match &inner {
                Kind::Struct(StructKind::Struct, def, _) => self.def(*def).decl,
                _ => None,
            };
            match decl.map(|d| &d.kind) {
                Some(DeclKind::Struct(_, _, list)) => {
                    self.show_fields(&format!("{name}."), &inner, list, shown);
                }
                _ => shown.push(self.shown_item(name, ty, &field.annotations)),
            }
        }
    }

    /// Adds the headers that are annotated as those of packets to and from control planes.
    pub(super) fn show_headers(&mut self, program: &'a ast::Program) {
        for decl in &program.decls {
            let DeclKind::Struct(StructKind::Header, _, list) = &decl.kind else {
                continue;
            };
            let annotations = self.shown_annotations(&decl.annotations);
            let Some(name) = crate::control::text(&annotations, "controller_header") else {
                continue;
            };
            let name = name.to_owned();
            let Some(def) = self.info.def_of.get(&decl.id).copied() else {
                continue;
            };
            let kind = Kind::Struct(StructKind::Header, def, Vec::new());
            let mut shown = Vec::new();
            self.show_fields("", &kind, list, &mut shown);
            self.out.control.headers.push(ControllerHeader {
                name,
                type_name: self.shown_name(def),
                annotations,
                fields: shown,
            });
        }
    }
}

fn field_name(field: &ast::Field) -> String {
    match crate::check::given_name(&field.annotations) {
        Some(name) => name.to_owned(),
        None => field.name.name.to_string(),
    }
}

/// The value as the number of bytes that the width requires, the most significant first.
fn bytes(value: &BigInt, width: u32) -> Vec<u8> {
    let (_, digits) = eval::wrap(value, (width, false)).to_bytes_be();
    let wanted = (width as usize).div_ceil(8).max(1);
    let mut padded = vec![0; wanted.saturating_sub(digits.len())];
    padded.extend(digits);
    padded
}
