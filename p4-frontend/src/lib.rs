// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The P4 front end: P4_16 source to diagnostics that a person can act on, and to a typed,
//! slot-based intermediate form that an engine runs. Pure: it reads no files, but for [`files`].

pub mod architectures;
pub mod cancel;
mod check;
pub mod control;
pub mod diagnostics;
mod eval;
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

use diagnostics::Diagnostics;
use source::{Includes, SourceMap};

/// What a compilation is asked to do.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Macros that are defined before the program begins, with their values.
    pub defines: Vec<(String, String)>,
    /// Which form of an architecture the program means.
    pub architecture: architectures::Choice,
    /// What becomes of warnings.
    pub warnings: warnings::Actions,
    /// What stops the compilation before its end.
    pub cancel: cancel::Cancel,
}

/// What came out of a compilation.
pub struct Compiled {
    /// The files that were read; places in diagnostics refer to them.
    pub sources: SourceMap,
    /// What is wrong with the program.
    pub diagnostics: Diagnostics,
    /// The program, if it has no errors and a `main`.
    pub program: Option<ir::Program>,
}

/// The stack of the thread that works: the program's depth, which is limited, decides its use.
const STACK_BYTES: usize = 64 << 20;

/// Checks a program. `name` is what diagnostics call its file.
pub fn check(
    name: &str,
    text: &str,
    includes: &(dyn Includes + Sync),
    options: &Options,
) -> Compiled {
    on_large_stack(|| front(name, text, includes, options, false))
}

/// Checks a program and makes what an engine runs.
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
    let mut sources = SourceMap::default();
    let mut diagnostics = Diagnostics::new(options.cancel.clone());
    let mut preprocessor = preprocess::Preprocessor::new(
        &mut sources,
        &mut diagnostics,
        includes,
        options.architecture.decided(text),
    );
    for (name, value) in &options.defines {
        preprocessor.define(name, value);
    }
    let tokens = preprocessor.finish(name.to_owned(), text.to_owned());
    let tree = syntax::parse(&tokens, &mut diagnostics);
    let quiet = lint::Quiet::of(&tree);
    let mut program = None;
    if !diagnostics.has_errors() {
        let info = check::check(&tree, &mut diagnostics);
        if !diagnostics.has_errors() {
            lint::lint(&tree, &info, &mut diagnostics);
        }
        if make && !diagnostics.has_errors() {
            program = lower::lower(&tree, info, &mut diagnostics);
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
