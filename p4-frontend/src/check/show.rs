// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Types in source syntax, for diagnostics.

use super::Checker;
use crate::types::{DefId, Kind, TypeId};

/// The maximum depth to which a type is shown: a type may contain another many times, and so on.
const MAX_DEPTH: usize = 6;

impl Checker<'_, '_> {
    pub(super) fn show(&self, ty: TypeId) -> String {
        self.show_at(ty, 0)
    }

    fn show_at(&self, ty: TypeId, depth: usize) -> String {
        if depth > MAX_DEPTH {
            return "…".to_owned();
        }
        let show = |part: &TypeId| self.show_at(*part, depth + 1);
        let list = |parts: &[TypeId]| {
            let parts: Vec<_> = parts.iter().map(show).collect();
            parts.join(", ")
        };
        let named = |def: &DefId, args: &[TypeId]| {
            let name = &self.def(*def).name;
            match args.is_empty() {
                true => name.to_string(),
                false => format!("{name}<{}>", list(args)),
            }
        };
        match self.info.types.kind(self.shallow(ty)) {
            Kind::Unknown => "unknown".to_owned(),
            Kind::Void => "void".to_owned(),
            Kind::Bool => "bool".to_owned(),
            Kind::Error => "error".to_owned(),
            Kind::String => "string".to_owned(),
            Kind::MatchKind => "match_kind".to_owned(),
            Kind::Integer => "int".to_owned(),
            Kind::Bit(width) => format!("bit<{width}>"),
            Kind::Int(width) => format!("int<{width}>"),
            Kind::Varbit(width) => format!("varbit<{width}>"),
            Kind::Enum(def) | Kind::Serializable(def, _) | Kind::New(def, _) => named(def, &[]),
            Kind::Struct(_, def, args)
            | Kind::Extern(def, args)
            | Kind::Parser(def, args)
            | Kind::Control(def, args)
            | Kind::Package(def, args) => named(def, args),
            Kind::Stack(element, size) => format!("{}[{size}]", show(element)),
            Kind::Tuple(parts) => format!("tuple<{}>", list(parts)),
            Kind::List(element) => format!("list<{}>", show(element)),
            Kind::Set(element) => format!("set<{}>", show(element)),
            Kind::Parameter(_) => "a type parameter".to_owned(),
            Kind::Infer(_) => "a type not known yet".to_owned(),
            Kind::Table(def) => format!("table {}", self.def(*def).name),
            Kind::Applied(def) => format!("the result of applying {}", self.def(*def).name),
            Kind::ActionRun(def) => format!("an action of {}", self.def(*def).name),
            Kind::ListLiteral(parts) => format!("{{ {} }}", list(parts)),
            Kind::RecordLiteral(fields) => {
                let fields: Vec<_> = fields
                    .iter()
                    .map(|(name, ty)| format!("{name} = {}", show(ty)))
                    .collect();
                format!("{{ {} }}", fields.join(", "))
            }
            Kind::InvalidHeader => "{#}".to_owned(),
            Kind::Default => "...".to_owned(),
            Kind::DontCare => "_".to_owned(),
        }
    }
}
