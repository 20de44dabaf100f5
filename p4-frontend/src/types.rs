// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Interned types: each is stored once and has an index, so that equal types have equal indices.

use std::collections::HashMap;

use crate::lexer::Name;
use crate::syntax::ast::StructKind;

/// The maximum width of an integer and length of a varbit, in bits.
pub(crate) const MAX_WIDTH: u32 = 32 << 10;

/// The index of an interned type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct TypeId(u32);

/// A definition, by its index in the checker's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct DefId(pub(crate) u32);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::enum_variant_names, reason = "a match kind is called that")]
pub(crate) enum Kind {
    /// The type after a reported error: it is compatible with every type.
    Unknown,
    Void,
    Bool,
    Error,
    String,
    MatchKind,
    /// Integers of arbitrary size, known at compile time.
    Integer,
    Bit(u32),
    Int(u32),
    Varbit(u32),
    Enum(DefId),
    /// An enum with values of the second type.
    Serializable(DefId, TypeId),
    /// A `type`, and its underlying type.
    New(DefId, TypeId),
    Struct(StructKind, DefId, Vec<TypeId>),
    Stack(TypeId, u32),
    Tuple(Vec<TypeId>),
    List(TypeId),
    Set(TypeId),
    /// A type parameter.
    Parameter(u32),
    /// A type variable, to be inferred.
    Infer(u32),
    Extern(DefId, Vec<TypeId>),
    Parser(DefId, Vec<TypeId>),
    Control(DefId, Vec<TypeId>),
    Package(DefId, Vec<TypeId>),
    Table(DefId),
    /// The result of applying a table.
    Applied(DefId),
    /// The action that a table ran.
    ActionRun(DefId),
    /// `{ a, b }` before its type is known.
    ListLiteral(Vec<TypeId>),
    /// `{ f = a }` before its type is known.
    RecordLiteral(Vec<(Name, TypeId)>),
    /// `{#}`.
    InvalidHeader,
    /// `...`: the zero value of any type.
    Default,
    /// `_`.
    DontCare,
}

/// All types, interned.
pub(crate) struct Types {
    kinds: Vec<Kind>,
    ids: HashMap<Kind, TypeId>,
    /// `true` for each type with a part that is still to be inferred or substituted.
    open: Vec<bool>,
}

pub(crate) const UNKNOWN: TypeId = TypeId(0);
pub(crate) const VOID: TypeId = TypeId(1);
pub(crate) const BOOL: TypeId = TypeId(2);
pub(crate) const ERROR: TypeId = TypeId(3);
pub(crate) const STRING: TypeId = TypeId(4);
pub(crate) const MATCH_KIND: TypeId = TypeId(5);
pub(crate) const INTEGER: TypeId = TypeId(6);
pub(crate) const DONT_CARE: TypeId = TypeId(7);
pub(crate) const DEFAULT: TypeId = TypeId(8);
pub(crate) const INVALID_HEADER: TypeId = TypeId(9);

impl Types {
    pub(crate) fn new() -> Types {
        let mut types = Types {
            kinds: Vec::new(),
            ids: HashMap::new(),
            open: Vec::new(),
        };
        for kind in [
            Kind::Unknown,
            Kind::Void,
            Kind::Bool,
            Kind::Error,
            Kind::String,
            Kind::MatchKind,
            Kind::Integer,
            Kind::DontCare,
            Kind::Default,
            Kind::InvalidHeader,
        ] {
            types.id(kind);
        }
        types
    }

    pub(crate) fn id(&mut self, kind: Kind) -> TypeId {
        if let Some(id) = self.ids.get(&kind) {
            return *id;
        }
        let id = TypeId(self.kinds.len() as u32);
        let open = self.kind_is_open(&kind);
        self.open.push(open);
        self.kinds.push(kind.clone());
        self.ids.insert(kind, id);
        id
    }

    fn kind_is_open(&self, kind: &Kind) -> bool {
        let any = |parts: &[TypeId]| parts.iter().any(|p| self.open[p.0 as usize]);
        match kind {
            Kind::Parameter(_) | Kind::Infer(_) => true,
            Kind::Struct(_, _, parts)
            | Kind::Extern(_, parts)
            | Kind::Parser(_, parts)
            | Kind::Control(_, parts)
            | Kind::Package(_, parts)
            | Kind::Tuple(parts)
            | Kind::ListLiteral(parts) => any(parts),
            Kind::RecordLiteral(fields) => fields.iter().any(|f| self.open[f.1 .0 as usize]),
            Kind::Stack(part, _) | Kind::List(part) | Kind::Set(part) => any(&[*part]),
            Kind::Unknown
            | Kind::Void
            | Kind::Bool
            | Kind::Error
            | Kind::String
            | Kind::MatchKind
            | Kind::Integer
            | Kind::Bit(_)
            | Kind::Int(_)
            | Kind::Varbit(_)
            | Kind::Enum(_)
            | Kind::Serializable(..)
            | Kind::New(..)
            | Kind::Table(_)
            | Kind::Applied(_)
            | Kind::ActionRun(_)
            | Kind::InvalidHeader
            | Kind::Default
            | Kind::DontCare => false,
        }
    }

    pub(crate) fn kind(&self, id: TypeId) -> &Kind {
        &self.kinds[id.0 as usize]
    }

    /// Returns whether a part of the type is still to be inferred or substituted.
    pub(crate) fn is_open(&self, id: TypeId) -> bool {
        self.open[id.0 as usize]
    }

    pub(crate) fn bit(&mut self, width: u32) -> TypeId {
        self.id(Kind::Bit(width))
    }

    /// Returns the type with every part replaced for which `replace` returns another, which it may
    /// do for type parameters and type variables.
    pub(crate) fn map(
        &mut self,
        id: TypeId,
        replace: &mut dyn FnMut(&mut Types, TypeId) -> Option<TypeId>,
    ) -> TypeId {
        // A type may contain another many times: one with nothing to replace is not entered.
        if !self.open[id.0 as usize] {
            return id;
        }
        if let Some(other) = replace(self, id) {
            return other;
        }
        let kind = self.kind(id).clone();
        let new = match kind {
            Kind::Struct(kind, def, args) => Kind::Struct(kind, def, self.map_all(args, replace)),
            Kind::Extern(def, args) => Kind::Extern(def, self.map_all(args, replace)),
            Kind::Parser(def, args) => Kind::Parser(def, self.map_all(args, replace)),
            Kind::Control(def, args) => Kind::Control(def, self.map_all(args, replace)),
            Kind::Package(def, args) => Kind::Package(def, self.map_all(args, replace)),
            Kind::Tuple(parts) => Kind::Tuple(self.map_all(parts, replace)),
            Kind::ListLiteral(parts) => Kind::ListLiteral(self.map_all(parts, replace)),
            Kind::RecordLiteral(fields) => Kind::RecordLiteral(
                fields
                    .into_iter()
                    .map(|(name, ty)| (name, self.map(ty, replace)))
                    .collect(),
            ),
            Kind::Stack(element, size) => Kind::Stack(self.map(element, replace), size),
            Kind::List(element) => Kind::List(self.map(element, replace)),
            Kind::Set(element) => Kind::Set(self.map(element, replace)),
            _ => return id,
        };
        self.id(new)
    }

    fn map_all(
        &mut self,
        parts: Vec<TypeId>,
        replace: &mut dyn FnMut(&mut Types, TypeId) -> Option<TypeId>,
    ) -> Vec<TypeId> {
        parts.into_iter().map(|p| self.map(p, replace)).collect()
    }

    /// The type with type parameters substituted.
    pub(crate) fn substitute(&mut self, id: TypeId, with: &HashMap<u32, TypeId>) -> TypeId {
        if with.is_empty() {
            return id;
        }
        self.map(id, &mut |types, part| match types.kind(part) {
            Kind::Parameter(n) => with.get(n).copied(),
            _ => None,
        })
    }

    /// The underlying type of an `enum` with values; any other type is returned unchanged.
    pub(crate) fn underlying(&self, id: TypeId) -> TypeId {
        match self.kind(id) {
            Kind::Serializable(_, base) => *base,
            _ => id,
        }
    }

    /// The width and signedness of a fixed-width integer.
    pub(crate) fn shape(&self, id: TypeId) -> Option<(u32, bool)> {
        match self.kind(id) {
            Kind::Bit(width) => Some((*width, false)),
            Kind::Int(width) => Some((*width, true)),
            _ => None,
        }
    }
}
