// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The P4 front end: compiles P4_16 source to diagnostics that a person can act on, and to a typed,
//! slot-based intermediate representation that an engine runs. Pure: reads no files, except in
//! [`files`].

pub mod architectures;
pub mod cancel;
mod check;
pub mod control;
pub mod diagnostics;
mod eval;
mod excerpts;
pub mod files;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
pub mod ir;
mod lexer;
mod lint;
mod lower;
mod preprocess;
pub mod source;
mod syntax;
mod types;
pub mod warnings;

use architectures::{Architecture, Form};
use diagnostics::{Diagnostic, Diagnostics};
use source::{Includes, SourceMap};
use syntax::ast::{DeclKind, TypeKind};

/// The options of a compilation.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Predefined macros, with their values.
    pub defines: Vec<(String, String)>,
    /// The architecture that the program must target.
    pub architecture: architectures::Architecture,
    /// The action for each kind of warning.
    pub warnings: warnings::Actions,
    /// The flag that cancels the compilation.
    pub cancel: cancel::Cancel,
}

/// The result of a compilation.
pub struct Compiled {
    /// The files that were read; spans in diagnostics refer to them.
    pub sources: SourceMap,
    /// The errors and warnings of the program.
    pub diagnostics: Diagnostics,
    /// The program, if it has no errors and a `main`.
    pub program: Option<ir::Program>,
}

/// The stack size of the compiling thread: the program's nesting, which is limited, determines its
/// use.
const STACK_BYTES: usize = 64 << 20;

/// Checks a program. `name` is the file name in diagnostics.
pub fn check(
    name: &str,
    text: &str,
    includes: &(dyn Includes + Sync),
    options: &Options,
) -> Compiled {
    on_large_stack(|| front(name, text, includes, options, false))
}

/// Checks a program and generates the intermediate representation for an engine.
pub fn compile(
    name: &str,
    text: &str,
    includes: &(dyn Includes + Sync),
    options: &Options,
) -> Compiled {
    on_large_stack(|| front(name, text, includes, options, true))
}

fn front(
    name: &str,
    text: &str,
    includes: &dyn Includes,
    options: &Options,
    make: bool,
) -> Compiled {
    let first = Form::of(options.architecture);
    let mut read = read(name, text, includes, options, first);
    let shown = Form::shown(&read.tree).filter(|shown| *shown != first);
    // The form of PNA follows from the program that includes it.
    if let (Architecture::Auto, Some(shown)) = (options.architecture, shown) {
        read = self::read(name, text, includes, options, shown);
    }
    let Read {
        sources,
        mut diagnostics,
        tree,
    } = read;
    let quiet = lint::Quiet::of(&tree);
    let mut program = None;
    if !diagnostics.has_errors() {
        let info = check::check(&tree, &mut diagnostics);
        if let Some(package) = options.architecture.package() {
            require(package, options.architecture, &tree, &mut diagnostics);
        }
        if !diagnostics.has_errors() {
            lint::lint(&tree, &info, &mut diagnostics);
        }
        if make && !diagnostics.has_errors() {
            program = lower::lower(&tree, &sources, info, &mut diagnostics);
        }
    }
    diagnostics.settle(&options.warnings, |diagnostic| {
        !quiet.covers(diagnostic) && !sources.is_ours(diagnostic.span)
    });
    Compiled {
        program: program.filter(|_| !diagnostics.has_errors()),
        sources,
        diagnostics,
    }
}

/// A preprocessed and parsed program.
struct Read {
    sources: SourceMap,
    diagnostics: Diagnostics,
    tree: syntax::ast::Program,
}

fn read(name: &str, text: &str, includes: &dyn Includes, options: &Options, form: Form) -> Read {
    let mut sources = SourceMap::default();
    let mut diagnostics = Diagnostics::new(options.cancel.clone());
    let mut preprocessor =
        preprocess::Preprocessor::new(&mut sources, &mut diagnostics, includes, form);
    for (name, value) in &options.defines {
        preprocessor.define(name, value);
    }
    let tokens = preprocessor.finish(name.to_owned(), text.to_owned());
    let tree = syntax::parse(&tokens, &mut diagnostics);
    Read {
        sources,
        diagnostics,
        tree,
    }
}

/// Rejects a program whose `main` is a package other than that of the chosen architecture.
fn require(
    package: &str,
    chosen: Architecture,
    tree: &syntax::ast::Program,
    diagnostics: &mut Diagnostics,
) {
    let mut decls = tree.decls.iter();
    let main = decls.find_map(|decl| match &decl.kind {
        DeclKind::Instance(ty, _, _) if &*decl.name.name == "main" => match &ty.kind {
            TypeKind::Named(name, _, _) => Some(name),
            _ => None,
        },
        _ => None,
    });
    if let Some(main) = main.filter(|main| &*main.name != package) {
        let message = format!("`main` is a `{}`: {chosen} has `{package}`", main.name);
        diagnostics.push(Diagnostic::error(main.span, message));
    }
}

fn on_large_stack<T: Send>(run: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("p4-frontend".to_owned())
            .stack_size(STACK_BYTES)
            .spawn_scoped(scope, run);
        match thread.map(|thread| thread.join()) {
            Ok(Ok(result)) => result,
            Ok(Err(panic)) => std::panic::resume_unwind(panic),
            Err(error) => panic!("no thread for the front end: {error}"),
        }
    })
}
