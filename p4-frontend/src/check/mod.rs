// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Names, types and compile-time values. The results are recorded beside the syntax tree, by the
//! ids of its nodes; later stages read both.

mod annotations;
mod arguments;
mod calls;
mod coerce;
mod constants;
mod construct;
mod declarations;
mod entries;
mod expressions;
mod externs;
mod fields;
mod generics;
mod operators;
mod parsers;
mod show;
mod site;
mod statements;
mod tables;
mod types;

pub(crate) use annotations::{given_name, has};
pub(crate) use constants::{convert, value};
pub(crate) use statements::falls_through;

use std::collections::HashMap;

use crate::diagnostics::{Diagnostic, Diagnostics};
use crate::eval::Value;
use crate::lexer::Name;
use crate::source::Span;
use crate::syntax::ast::{
    Block, Decl, Direction, Expr, Ident, Method, NodeId, Parameter, Program, StructKind,
};
use crate::types::{DefId, Kind, TypeId, Types, UNKNOWN};

/// A definition.
#[derive(Debug)]
pub(crate) struct Def<'a> {
    pub(crate) name: Name,
    pub(crate) span: Span,
    pub(crate) decl: Option<&'a Decl>,
    pub(crate) kind: DefKind<'a>,
}

#[derive(Debug)]
pub(crate) enum DefKind<'a> {
    Const(TypeId, Option<Value>),
    Variable(TypeId),
    Parameter(TypeId, Direction, Role),
    Instance(TypeId),
    Function(Signature<'a>, Option<&'a Block>),
    Action(Signature<'a>, &'a Block),
    Table(TableInfo<'a>),
    ValueSet(TypeId),
    /// An alias of a type.
    Alias(TypeId),
    New(TypeId),
    Struct(StructKind, Vec<u32>, Vec<StructField<'a>>),
    /// The members; with the underlying type and values if the enum is serializable.
    Enum(Vec<Name>, Option<(TypeId, Vec<num_bigint::BigInt>)>),
    Extern(Vec<u32>, Vec<MethodDef<'a>>),
    /// A parser or control, or the type of one; the second signature is the constructor's.
    Parser(Signature<'a>, Signature<'a>, Option<Block0>),
    Control(Signature<'a>, Signature<'a>, Option<Block0>),
    Package(Signature<'a>),
    /// Still being checked: a use of it inside itself is an error.
    Pending,
}

/// Marks a parser or control that has a body; the body is in its declaration.
pub(crate) type Block0 = ();

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Ordinary,
    Constructor,
    Action,
}

#[derive(Debug)]
pub(crate) struct StructField<'a> {
    pub(crate) name: Name,
    pub(crate) ty: TypeId,
    pub(crate) field: &'a crate::syntax::ast::Field,
}

#[derive(Debug)]
pub(crate) struct MethodDef<'a> {
    pub(crate) method: &'a Method,
    pub(crate) signature: Signature<'a>,
}

#[derive(Clone, Debug)]
pub(crate) struct Signature<'a> {
    pub(crate) type_parameters: Vec<u32>,
    pub(crate) parameters: Vec<Param<'a>>,
    pub(crate) result: TypeId,
}

#[derive(Clone, Debug)]
pub(crate) struct Param<'a> {
    pub(crate) name: Name,
    pub(crate) ty: TypeId,
    pub(crate) direction: Direction,
    pub(crate) ast: &'a Parameter,
    pub(crate) optional: bool,
}

/// A table's declaration, with names resolved.
#[derive(Debug, Default)]
pub(crate) struct TableInfo<'a> {
    pub(crate) actions: Vec<(DefId, &'a crate::syntax::ast::ActionRef)>,
}

/// The kind of a call.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Callee {
    /// A function with a body, or an extern one.
    Function(DefId),
    Action(DefId),
    /// A method of an extern object: the extern and the method's index.
    Method(DefId, usize),
    /// `apply` of a table, or of a parser or control, by instance or by type.
    ApplyTable(DefId),
    Apply(DefId),
    Construct(TypeId),
    Builtin(Builtin),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Builtin {
    SetValid,
    SetInvalid,
    IsValid,
    PushFront,
    PopFront,
    MinSizeInBits,
    MinSizeInBytes,
    MaxSizeInBits,
    MaxSizeInBytes,
}

/// A call: the callee, its type arguments, and the index of the argument for each parameter.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) callee: Callee,
    pub(crate) types: Vec<TypeId>,
    pub(crate) arguments: Vec<Option<usize>>,
}

/// The results of the checker.
pub(crate) struct Info<'a> {
    pub(crate) types: Types,
    pub(crate) defs: Vec<Def<'a>>,
    /// Types of expressions and of types as written.
    pub(crate) type_of: HashMap<NodeId, TypeId>,
    /// The type to which the value of an expression is converted after its evaluation.
    pub(crate) coerced: HashMap<NodeId, TypeId>,
    /// The definition that a name refers to, and the definition of a declaration or parameter.
    pub(crate) def_of: HashMap<NodeId, DefId>,
    pub(crate) calls: HashMap<NodeId, Call>,
    /// Values of expressions that must be known at compile time: slices, members of enums.
    pub(crate) values: HashMap<NodeId, Value>,
    pub(crate) errors: Vec<Name>,
    pub(crate) match_kinds: Vec<Name>,
    /// Definitions outside parsers, controls and functions.
    pub(crate) top_level: std::collections::HashSet<DefId>,
    /// The declaration of `main`.
    pub(crate) main: Option<&'a Decl>,
}

impl Info<'_> {
    pub(crate) fn def(&self, id: DefId) -> &Def<'_> {
        &self.defs[id.0 as usize]
    }
}

/// The names and types of a struct's fields, with its type arguments substituted.
pub(crate) fn fields(info: &mut Info<'_>, kind: &Kind) -> Vec<(Name, TypeId)> {
    let Kind::Struct(_, def, args) = kind else {
        return Vec::new();
    };
    let DefKind::Struct(_, parameters, fields) = &info.defs[def.0 as usize].kind else {
        return Vec::new();
    };
    let with = parameters
        .iter()
        .copied()
        .zip(args.iter().copied())
        .collect();
    let types = &mut info.types;
    fields
        .iter()
        .map(|f| (f.name.clone(), types.substitute(f.ty, &with)))
        .collect()
}

/// The context of the code being checked, which determines the constructs that are legal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Top,
    Parser,
    State,
    Control,
    Apply,
    Action,
    Function,
}

pub(crate) struct Checker<'a, 'd> {
    info: Info<'a>,
    diagnostics: &'d mut Diagnostics,
    scopes: Vec<HashMap<Name, Vec<DefId>>>,
    /// The number of type parameters declared so far; `infer` has the bindings of type variables.
    scoped_types: u32,
    infer: Vec<Option<TypeId>>,
    place: Place,
    loops: usize,
    /// `true` while omitted type arguments are inferred from the arguments of a constructor.
    infers: bool,
    /// Expressions that must be known at compile time, which is tested once they are checked.
    late: Vec<&'a Expr>,
    /// Names of actions and tables that are the same in all instances, with their spans.
    control_names: HashMap<(&'static str, String), Span>,
    /// Parsers and controls whose bodies are being checked, and tables whose keys are.
    open: Vec<DefId>,
    /// The number of values in the constants so far.
    constant_parts: usize,
    /// Sizes of types.
    sizes: HashMap<TypeId, types::Size>,
    /// The return type of the current function.
    result: TypeId,
}

/// Checks a program.
pub(crate) fn check<'a>(program: &'a Program, diagnostics: &mut Diagnostics) -> Info<'a> {
    let mut checker = Checker {
        info: Info {
            types: Types::new(),
            defs: Vec::new(),
            type_of: HashMap::new(),
            coerced: HashMap::new(),
            def_of: HashMap::new(),
            calls: HashMap::new(),
            values: HashMap::new(),
            errors: Vec::new(),
            match_kinds: Vec::new(),
            top_level: Default::default(),
            main: None,
        },
        diagnostics,
        scopes: vec![HashMap::new()],
        scoped_types: 0,
        infer: Vec::new(),
        place: Place::Top,
        loops: 0,
        infers: false,
        late: Vec::new(),
        control_names: HashMap::new(),
        open: Vec::new(),
        constant_parts: 0,
        sizes: HashMap::new(),
        result: UNKNOWN,
    };
    for decl in &program.decls {
        if checker.diagnostics.stopped() || checker.diagnostics.is_full() {
            break;
        }
        checker.declaration(decl);
    }
    checker.info
}

impl<'a> Checker<'a, '_> {
    fn error(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }

    fn fail(&mut self, span: Span, message: impl Into<String>) -> TypeId {
        self.error(Diagnostic::error(span, message));
        UNKNOWN
    }

    fn add(&mut self, def: Def<'a>) -> DefId {
        self.info.defs.push(def);
        DefId(self.info.defs.len() as u32 - 1)
    }

    /// Declares a name in the innermost scope. Functions may share a name.
    fn declare(&mut self, name: &Ident, decl: Option<&'a Decl>, kind: DefKind<'a>) -> DefId {
        let overloads = matches!(kind, DefKind::Function(..));
        let is_instance = matches!(kind, DefKind::Instance(_) | DefKind::Function(..));
        let span = name.span;
        let id = self.add(Def {
            name: name.name.clone(),
            span,
            decl,
            kind,
        });
        if self.scopes.len() == 1 {
            if &*name.name == "main" && !is_instance {
                self.fail(span, "`main` is the name of the program's package");
            }
            self.info.top_level.insert(id);
        }
        if let Some(decl) = decl {
            self.info.def_of.insert(decl.id, id);
        }
        self.bind(name, id, overloads);
        id
    }

    fn bind(&mut self, name: &Ident, id: DefId, overloads: bool) {
        let Some(scope) = self.scopes.last_mut() else {
            return;
        };
        let list = scope.entry(name.name.clone()).or_default();
        let clash = list.first().copied().filter(|first| {
            let both =
                overloads && matches!(self.info.defs[first.0 as usize].kind, DefKind::Function(..));
            !both
        });
        list.push(id);
        if let Some(first) = clash {
            let before = self.info.def(first).span;
            self.error(
                Diagnostic::error(name.span, format!("`{}` is declared twice", name.name))
                    .label("again here")
                    .related(before, "first here"),
            );
        }
    }

    fn look_up(&self, name: &Name, global: bool) -> Option<&Vec<DefId>> {
        match global {
            true => self.scopes.first()?.get(name),
            false => self.scopes.iter().rev().find_map(|scope| scope.get(name)),
        }
    }

    fn resolve(&mut self, name: &Ident, global: bool) -> Option<DefId> {
        let found = self
            .look_up(&name.name, global)
            .and_then(|l| l.first())
            .copied();
        if found.is_none() {
            let near = self.nearest(&name.name);
            let mut error =
                Diagnostic::error(name.span, format!("`{}` is not declared", name.name));
            if let Some(near) = near {
                error = error.note(format!("`{near}` is"));
            }
            self.error(error);
        }
        found
    }

    /// The name in scope at the smallest edit distance, if that is at most 2.
    fn nearest(&self, name: &str) -> Option<String> {
        let names = self.scopes.iter().flat_map(|scope| scope.keys());
        names
            .filter(|other| other.len().abs_diff(name.len()) <= 2 && name.len() > 2)
            .map(|other| (distance(name, other), other.to_string()))
            .filter(|(d, _)| *d <= 2)
            .min()
            .map(|(_, other)| other)
    }

    fn scoped<T>(&mut self, inner: impl FnOnce(&mut Self) -> T) -> T {
        self.scopes.push(HashMap::new());
        let result = inner(self);
        self.scopes.pop();
        result
    }

    fn def(&self, id: DefId) -> &Def<'a> {
        &self.info.defs[id.0 as usize]
    }

    fn kind(&self, ty: TypeId) -> Kind {
        self.info.types.kind(self.shallow(ty)).clone()
    }

    fn note_type(&mut self, expr: &Expr, ty: TypeId) -> TypeId {
        self.info.type_of.insert(expr.id, ty);
        ty
    }
}

/// The Levenshtein distance between two names.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let cost = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = cost.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests;
