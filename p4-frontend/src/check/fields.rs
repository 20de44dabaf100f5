// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Legal field types of structs, headers and header unions.

use super::Checker;
use crate::syntax::ast::{Field, StructKind};
use crate::types::{Kind, TypeId};

impl<'a> Checker<'a, '_> {
    /// Returns whether a struct, header or header union can have a field of that type.
    pub(super) fn field_fits(&mut self, kind: StructKind, ty: TypeId) -> bool {
        let shape = self.kind(ty);
        match kind {
            StructKind::Union => matches!(
                shape,
                Kind::Struct(StructKind::Header, ..) | Kind::Parameter(_) | Kind::Unknown
            ),
            StructKind::Header => matches!(shape, Kind::Varbit(_)) || self.is_plain(ty),
            StructKind::Struct => !matches!(
                shape,
                Kind::Integer
                    | Kind::String
                    | Kind::MatchKind
                    | Kind::List(_)
                    | Kind::Extern(..)
                    | Kind::Table(_)
                    | Kind::Parser(..)
                    | Kind::Control(..)
                    | Kind::Package(..)
                    | Kind::Void
                    | Kind::Set(_)
            ),
        }
    }

    /// Returns whether a value is a fixed number of bits and nothing else, as a header requires.
    fn is_plain(&mut self, ty: TypeId) -> bool {
        match self.kind(ty) {
            Kind::Bit(_)
            | Kind::Int(_)
            | Kind::Bool
            | Kind::Serializable(..)
            | Kind::New(..)
            | Kind::Parameter(_)
            | Kind::Unknown => true,
            Kind::Stack(element, _) => self.is_plain(element),
            Kind::Struct(StructKind::Struct, ..) => {
                let inner = self.fields(ty);
                inner.into_iter().all(|(_, ty)| self.is_plain(ty))
            }
            _ => false,
        }
    }

    pub(super) fn field_type(&mut self, kind: StructKind, ty: TypeId, field: &'a Field) {
        if !self.field_fits(kind, ty) {
            let shown = self.show(ty);
            let what = match kind {
                StructKind::Struct => "structure",
                StructKind::Header => "header",
                StructKind::Union => "header union",
            };
            self.fail(
                field.ty.span,
                format!("a {what} has no fields of type `{shown}`"),
            );
        }
    }
}
