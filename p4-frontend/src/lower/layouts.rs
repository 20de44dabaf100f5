// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Layouts of types in limbs.

use std::sync::Arc;

use num_traits::ToPrimitive;

use super::{Lower, Result};
use crate::check::{fields, DefKind};
use crate::ir::{Field, Fields, Layout};
use crate::source::Span;
use crate::syntax::ast::{Annotation, AnnotationBody, ExprKind, StructKind};
use crate::types::{DefId, Kind, TypeId};

impl Lower<'_, '_> {
    pub(super) fn layout(&mut self, ty: TypeId, span: Span) -> Result<Layout> {
        if let Some(layout) = self.layouts.get(&ty) {
            return Ok(layout.clone());
        }
        let layout = match self.kind(ty) {
            Kind::Bit(width) => Layout::Bits(width, false),
            Kind::Int(width) => Layout::Bits(width, true),
            Kind::Bool => Layout::Bool,
            Kind::Error => Layout::Error,
            Kind::Varbit(width) => Layout::Varbit(width),
            // A number without a width, where any width will do.
            Kind::Integer => Layout::Bits(64, false),
            Kind::New(_, base) | Kind::Serializable(_, base) => self.layout(base, span)?,
            Kind::Enum(def) => match &self.def(def).kind {
                DefKind::Enum(members, _) => {
                    Layout::Enum(members.iter().map(|m| m.to_string()).collect())
                }
                _ => return self.unsupported(span, "this enum"),
            },
            Kind::ActionRun(_) => Layout::Bits(32, false),
            Kind::Tuple(parts) | Kind::ListLiteral(parts) => {
                let named = parts
                    .into_iter()
                    .enumerate()
                    .map(|(n, ty)| (n.to_string(), ty, Vec::new()))
                    .collect();
                Layout::Struct(self.placed(String::new(), named, 0, span)?)
            }
            Kind::RecordLiteral(parts) => {
                let named = parts
                    .into_iter()
                    .map(|(n, ty)| (n.to_string(), ty, Vec::new()))
                    .collect();
                Layout::Struct(self.placed(String::new(), named, 0, span)?)
            }
            Kind::Struct(kind, def, _) => self.structure(ty, kind, def, span)?,
            Kind::Stack(element, count) => {
                Layout::Stack(Arc::new(self.layout(element, span)?), count)
            }
            Kind::Void => Layout::Struct(self.placed(String::new(), Vec::new(), 0, span)?),
            other => {
                return self.unsupported(
                    span,
                    &format!("values of this type at run time ({other:?})"),
                )
            }
        };
        self.layouts.insert(ty, layout.clone());
        Ok(layout)
    }

    fn structure(
        &mut self,
        ty: TypeId,
        kind: StructKind,
        def: DefId,
        span: Span,
    ) -> Result<Layout> {
        let shape = self.kind(ty);
        let types = fields(&mut self.info, &shape);
        let name = self.def(def).name.to_string();
        let lists: Vec<_> = match &self.def(def).kind {
            DefKind::Struct(_, _, fields) => fields
                .iter()
                .map(|f| field_lists(&f.field.annotations))
                .collect(),
            _ => Vec::new(),
        };
        let named = types
            .into_iter()
            .zip(lists)
            .map(|((name, ty), lists)| (name.to_string(), ty, lists))
            .collect();
        // The first limb of a header is its validity.
        let first = u32::from(kind == StructKind::Header);
        let placed = self.placed(name, named, first, span)?;
        Ok(match kind {
            StructKind::Struct => Layout::Struct(placed),
            StructKind::Header => Layout::Header(placed),
            StructKind::Union => Layout::Union(placed),
        })
    }

    fn placed(
        &mut self,
        name: String,
        parts: Vec<(String, TypeId, Vec<u32>)>,
        first: u32,
        span: Span,
    ) -> Result<Arc<Fields>> {
        let mut limbs = first;
        let mut fields = Vec::with_capacity(parts.len());
        for (name, ty, field_lists) in parts {
            let layout = self.layout(ty, span)?;
            let offset = limbs;
            limbs = limbs.saturating_add(layout.limbs());
            if limbs as usize > super::MAX_FRAME {
                return self.fail(span, "values of this type are too large");
            }
            fields.push(Field {
                name,
                offset,
                layout,
                field_lists,
            });
        }
        Ok(Arc::new(Fields {
            name,
            fields,
            limbs,
        }))
    }

    /// The index by which code refers to a layout.
    pub(super) fn layout_index(&mut self, layout: &Layout) -> u32 {
        let list = &mut self.out.layouts;
        let found = list.iter().position(|l| l == layout);
        found.unwrap_or_else(|| {
            list.push(layout.clone());
            list.len() - 1
        }) as u32
    }
}

/// The numbers in `@field_list(…)`.
fn field_lists(annotations: &[Annotation]) -> Vec<u32> {
    let mut lists = Vec::new();
    for annotation in annotations.iter().filter(|a| &*a.name.name == "field_list") {
        if let AnnotationBody::Unstructured(expressions, _) = &annotation.body {
            for expression in expressions {
                if let ExprKind::Int(value, _) = &expression.kind {
                    lists.extend(value.to_u32());
                }
            }
        }
    }
    lists
}
