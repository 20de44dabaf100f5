// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Paths to variables, parameters and their fields.

use crate::check::{DefKind, Info};
use crate::syntax::ast::{Expr, ExprKind};

/// A variable or parameter, by the index of its definition, and the fields that follow.
pub(super) type Path = Vec<String>;

/// The maximum length in bytes of a field's name in a path: paths are compared often.
const MAX_NAME: usize = 256;

/// The path that an expression names, and whether it names all of it: for an element of a stack or
/// a slice of a number, the path is that of the stack or number, and for a field with a name longer
/// than `MAX_NAME` that of the struct.
pub(super) fn path(info: &Info<'_>, expr: &Expr) -> Option<(Path, bool)> {
    match &expr.kind {
        ExprKind::Name(..) => {
            let def = info.def_of.get(&expr.id)?;
            match &info.defs[def.0 as usize].kind {
                DefKind::Variable(_) | DefKind::Parameter(..) => {
                    Some((vec![def.0.to_string()], true))
                }
                _ => None,
            }
        }
        ExprKind::Member(base, name) => {
            let (mut path, whole) = path(info, base)?;
            let ty = info.type_of.get(&base.id)?;
            let is_field = matches!(info.types.kind(*ty), crate::types::Kind::Struct(..))
                && name.name.len() <= MAX_NAME;
            if whole && is_field {
                path.push(name.name.to_string());
            }
            Some((path, whole && is_field))
        }
        ExprKind::Index(base, _) | ExprKind::Slice(base, ..) | ExprKind::Part(base, ..) => {
            path(info, base).map(|(path, _)| (path, false))
        }
        _ => None,
    }
}

/// A path as written in source.
pub(super) fn shown(expr: &Expr) -> String {
    match &expr.kind {
        ExprKind::Name(name, _) => name.name.to_string(),
        ExprKind::Member(base, name) => format!("{}.{}", shown(base), name.name),
        _ => "this".to_owned(),
    }
}
