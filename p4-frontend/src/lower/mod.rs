// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Lowering of the checked program to the intermediate representation: creates instances, assigns
//! slots to values, and turns statements into instructions.

mod aggregates;
mod blocks;
mod calls;
mod constants;
mod control;
mod count;
mod expressions;
mod externs;
mod layouts;
mod packets;
mod parsers;
mod places;
mod slices;
mod statements;
mod tables;

use std::collections::HashMap;
use std::rc::Rc;

use crate::check::{Def, DefKind, Info as Checked};
use crate::diagnostics::{Diagnostic, Diagnostics};
use crate::eval::Value;
use crate::ir::{self, FunctionId, Inst, Slot};
use crate::lexer::Name;
use crate::source::{SourceMap, Span};
use crate::syntax::ast::{Annotation, Decl, DeclKind, Direction, Expr, NodeId, Program};
use crate::types::{DefId, Kind, TypeId};

/// The maximum nesting depth of instances, functions and actions.
const MAX_DEPTH: usize = 128;
/// The maximum number of limbs in a frame.
const MAX_FRAME: usize = 1 << 20;
/// The maximum number of instructions in a program.
const MAX_CODE: usize = 1 << 21;
/// The maximum call depth, which determines the stack that an engine needs.
const MAX_CALLS: u32 = 256;

/// An error that has been reported.
#[derive(Debug)]
pub(crate) struct Failed;

pub(crate) type Result<T> = std::result::Result<T, Failed>;

/// The entity that a name refers to during lowering.
#[derive(Clone)]
enum Storage {
    Place(places::Place),
    Extern(u32),
    Block(Rc<Callable>),
    Action(Rc<Callable>),
    Table(u32),
    ValueSet(u32),
    /// `packet_in` and `packet_out`: there is a single packet.
    Packet,
}

/// A function with the slots of its parameters.
struct Callable {
    function: FunctionId,
    parameters: Vec<Parameter>,
    result: Option<(Slot, TypeId)>,
    is_parser: bool,
}

struct Parameter {
    name: Name,
    direction: Direction,
    /// `None` for objects.
    place: Option<(Slot, TypeId)>,
    /// Its value if no argument is given.
    default: Option<Value>,
}

#[derive(Default)]
struct Loop {
    breaks: Vec<usize>,
    continues: Vec<usize>,
}

/// The state of the instance for which code is generated.
#[derive(Default)]
struct Scope {
    env: HashMap<DefId, Storage>,
    /// Values of constructor parameters.
    known: HashMap<DefId, Value>,
    /// The types substituted for type parameters.
    types: HashMap<u32, TypeId>,
    /// The control plane name of the instance with a trailing dot, or nothing.
    path: String,
    /// Instances of blocks that are applied by their type.
    direct: HashMap<NodeId, Rc<Callable>>,
}

/// The state of the function for which code is generated.
#[derive(Default)]
struct Body {
    code: Vec<Inst>,
    /// `true` if it is an action.
    is_action: bool,
    labels: Vec<(u32, String)>,
    loops: Vec<Loop>,
    /// Jumps to the end.
    returns: Vec<usize>,
    result: Option<(Slot, TypeId)>,
}

struct Lower<'a, 'd> {
    sources: &'d SourceMap,
    info: Checked<'a>,
    diagnostics: &'d mut Diagnostics,
    out: ir::Program,
    constants: HashMap<Vec<u64>, Slot>,
    layouts: HashMap<TypeId, ir::Layout>,
    globals: HashMap<DefId, Storage>,
    /// Functions, by their type arguments and the objects passed to them.
    functions: HashMap<(DefId, Vec<TypeId>, Vec<u32>), Rc<Callable>>,
    scope: Scope,
    body: Body,
    code_size: usize,
    /// The call depth of each function in `out`.
    call_depths: Vec<u32>,
    /// The current nesting depth of instances, functions and actions.
    depth: usize,
    /// The span for which code is generated.
    at: Span,
    /// `true` once a limit has been exceeded, so that no more code is generated.
    is_full: bool,
}

/// Lowers the program that `main` instantiates, if there is one and it has no errors.
pub(crate) fn lower(
    program: &Program,
    sources: &SourceMap,
    info: Checked<'_>,
    diagnostics: &mut Diagnostics,
) -> Option<ir::Program> {
    if let Err(error) = count::count(&info, program) {
        diagnostics.push(error);
        return None;
    }
    let errors: Vec<_> = info.errors.iter().map(|e| e.to_string()).collect();
    let mut lower = Lower {
        sources,
        info,
        diagnostics,
        out: ir::Program {
            errors,
            ..ir::Program::default()
        },
        constants: HashMap::new(),
        layouts: HashMap::new(),
        globals: HashMap::new(),
        functions: HashMap::new(),
        scope: Scope::default(),
        body: Body::default(),
        code_size: 0,
        call_depths: Vec::new(),
        depth: 0,
        at: Span::default(),
        is_full: false,
    };
    // The first slots are fixed; nothing depends on that except that they exist.
    lower.constant_limbs(vec![0]);
    lower.constant_limbs(vec![1]);
    let done = lower.top(program);
    match (done, lower.diagnostics.has_errors()) {
        (Ok(true), false) => Some(lower.out),
        _ => None,
    }
}

impl<'a> Lower<'a, '_> {
    /// Creates global objects and `main`; returns `false` if there is no `main`.
    fn top(&mut self, program: &'a Program) -> Result<bool> {
        for decl in &program.decls {
            let DeclKind::Instance(..) = &decl.kind else {
                continue;
            };
            let Some(def) = self.info.def_of.get(&decl.id).copied() else {
                continue;
            };
            if let DefKind::Instance(ty) = self.def(def).kind {
                if matches!(self.info.types.kind(ty), Kind::Extern(..)) {
                    let storage = self.declared_extern(decl, ty)?;
                    self.globals.insert(def, storage);
                }
            }
        }
        self.show_headers(program);
        match self.info.main {
            Some(main) => {
                self.out.control.package = self.shown_annotations(&main.annotations);
                self.package(main).map(|()| true)
            }
            None => Ok(false),
        }
    }

    fn def(&self, id: DefId) -> &Def<'a> {
        &self.info.defs[id.0 as usize]
    }

    fn fail<T>(&mut self, span: Span, message: impl Into<String>) -> Result<T> {
        self.diagnostics.push(Diagnostic::error(span, message));
        Err(Failed)
    }

    /// Reports a construct of the language that cannot be run yet.
    fn unsupported<T>(&mut self, span: Span, what: &str) -> Result<T> {
        self.fail(span, format!("not supported yet: {what}"))
    }

    fn emit(&mut self, inst: Inst) {
        if self.code_size < MAX_CODE {
            self.code_size += 1;
            self.body.code.push(inst);
        } else if !self.is_full {
            self.is_full = true;
            let error = Diagnostic::error(self.at, "too much code: this does not fit any more")
                .note(format!("a program may have {MAX_CODE} instructions"));
            self.diagnostics.push(error);
        }
    }

    /// Fails if continuing is useless: a limit is exceeded, or the compilation is cancelled.
    fn go_on(&mut self, at: Span) -> Result<()> {
        self.at = at;
        match self.is_full || self.diagnostics.stopped() || self.diagnostics.is_full() {
            true => Err(Failed),
            false => Ok(()),
        }
    }

    fn here(&self) -> u32 {
        self.body.code.len() as u32
    }

    /// Emits a jump whose target is set later; returns its index.
    fn jump(&mut self) -> usize {
        self.emit(Inst::Jump { to: u32::MAX });
        self.body.code.len().saturating_sub(1)
    }

    fn branch(&mut self, cond: Slot, when: bool) -> usize {
        self.emit(Inst::Branch {
            cond,
            when,
            to: u32::MAX,
        });
        self.body.code.len().saturating_sub(1)
    }

    /// Sets the target of a jump to the next instruction.
    fn land(&mut self, jump: usize) {
        let target = self.here();
        self.aim(jump, target);
    }

    /// The same for several jumps.
    fn land_all(&mut self, jumps: Vec<usize>) {
        jumps.into_iter().for_each(|jump| self.land(jump));
    }

    fn aim(&mut self, jump: usize, target: u32) {
        if let Some(Inst::Jump { to } | Inst::Branch { to, .. } | Inst::IfEnding { to }) =
            self.body.code.get_mut(jump)
        {
            *to = target;
        }
    }

    /// Emits a jump to the function's end, taken if an unwinding is in progress.
    fn leave_if_ending(&mut self) {
        self.emit(Inst::IfEnding { to: u32::MAX });
        let at = self.body.code.len().saturating_sub(1);
        self.body.returns.push(at);
    }

    /// Allocates space in the frame.
    fn allocate(&mut self, limbs: u32) -> Slot {
        let slot = self.out.frame.len();
        if slot + limbs as usize > MAX_FRAME {
            if !self.is_full {
                self.is_full = true;
                let error = Diagnostic::error(self.at, "too many variables: this does not fit any more")
                    .note(format!(
                        "the variables and constants of a program may have {MAX_FRAME} words of 64 bits"
                    ));
                self.diagnostics.push(error);
            }
            return 0;
        }
        self.out.frame.resize(slot + limbs as usize, 0);
        slot as Slot
    }

    fn temporary(&mut self, ty: TypeId, span: Span) -> Result<Slot> {
        let limbs = self.layout(ty, span)?.limbs();
        Ok(self.allocate(limbs))
    }

    fn constant_limbs(&mut self, limbs: Vec<u64>) -> Slot {
        if let Some(slot) = self.constants.get(&limbs) {
            return *slot;
        }
        let slot = self.allocate(limbs.len() as u32);
        for (n, limb) in limbs.iter().enumerate() {
            if let Some(place) = self.out.frame.get_mut(slot as usize + n) {
                *place = *limb;
            }
        }
        self.constants.insert(limbs, slot);
        slot
    }

    fn number(&mut self, value: u64) -> Slot {
        self.constant_limbs(vec![value])
    }

    /// Creates a function from the code that `make` emits.
    fn function(
        &mut self,
        name: String,
        result: Option<(Slot, TypeId)>,
        make: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<FunctionId> {
        if self.depth >= MAX_DEPTH {
            let message = format!("`{name}` is more than {MAX_DEPTH} instances and calls deep");
            return self.fail(self.at, message);
        }
        let body = Body {
            result,
            ..Body::default()
        };
        let outer = std::mem::replace(&mut self.body, body);
        self.depth += 1;
        let made = make(self);
        self.depth -= 1;
        for at in std::mem::take(&mut self.body.returns) {
            self.land(at);
        }
        self.emit(Inst::Return);
        let body = std::mem::replace(&mut self.body, outer);
        let depth = 1 + self.calls_in(&body.code);
        self.call_depths.push(depth);
        if depth > MAX_CALLS {
            let message = format!("`{name}` makes calls that are {depth} deep, of {MAX_CALLS}");
            return self.fail(self.at, message);
        }
        self.out.functions.push(ir::Function {
            name,
            code: body.code,
            labels: body.labels,
        });
        made.map(|()| self.out.functions.len() as FunctionId - 1)
    }

    /// The maximum call depth of a function's callees.
    fn calls_in(&self, code: &[Inst]) -> u32 {
        let depth = |function: FunctionId| {
            let depth = self.call_depths.get(function as usize);
            depth.copied().unwrap_or(0)
        };
        let deepest = |inst: &Inst| match inst {
            Inst::Call { function } => depth(*function),
            Inst::Apply { table, .. } => {
                let actions = &self.out.tables[*table as usize].actions;
                actions.iter().map(|a| depth(a.function)).max().unwrap_or(0)
            }
            _ => 0,
        };
        code.iter().map(deepest).max().unwrap_or(0)
    }

    fn lookup(&self, def: DefId) -> Option<Storage> {
        let local = self.scope.env.get(&def);
        local.or_else(|| self.globals.get(&def)).cloned()
    }

    /// The type of an expression before its conversion.
    fn natural_type(&mut self, expr: &Expr) -> TypeId {
        let ty = self.info.type_of.get(&expr.id).copied();
        let ty = ty.unwrap_or(crate::types::UNKNOWN);
        self.info.types.substitute(ty, &self.scope.types)
    }

    /// The type of an expression after its conversion, if any.
    fn type_of(&mut self, expr: &Expr) -> TypeId {
        match self.info.coerced.get(&expr.id).copied() {
            Some(ty) => self.info.types.substitute(ty, &self.scope.types),
            None => self.natural_type(expr),
        }
    }

    fn kind(&self, ty: TypeId) -> Kind {
        self.info.types.kind(ty).clone()
    }

    /// The name in the control plane: that of `@name` or the declared one, prefixed with that of
    /// the instance.
    fn visible_name(&self, annotations: &[Annotation], name: &str) -> String {
        match crate::check::given_name(annotations) {
            Some(given) => match given.strip_prefix('.') {
                Some(absolute) => absolute.to_owned(),
                None => format!("{}{given}", self.scope.path),
            },
            None => format!("{}{name}", self.scope.path),
        }
    }

    fn declared_extern(&mut self, decl: &'a Decl, ty: TypeId) -> Result<Storage> {
        let DeclKind::Instance(_, arguments, methods) = &decl.kind else {
            return Err(Failed);
        };
        if methods.is_some() {
            return self.unsupported(decl.span, "instances with methods of their own");
        }
        let name = self.visible_name(&decl.annotations, &decl.name.name);
        let ty = self.info.types.substitute(ty, &self.scope.types);
        self.make_extern(decl.id, decl.span, ty, arguments, name, &decl.annotations)
    }
}

#[cfg(test)]
mod tests;
