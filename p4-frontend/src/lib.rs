// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The P4 front end: P4_16 source to diagnostics that a person can act on, and to a typed,
//! slot-based intermediate form that an engine runs. Pure: it reads no files.

pub mod architectures;
pub mod diagnostics;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
mod lexer;
mod preprocess;
pub mod source;
mod syntax;
mod types;

use diagnostics::Diagnostics;
use source::{Includes, SourceMap};

/// What a compilation is asked to do.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Macros that are defined before the program begins, with their values.
    pub defines: Vec<(String, String)>,
    /// Which form of an architecture the program means.
    pub architecture: architectures::Choice,
}

/// What came out of a compilation.
pub struct Compiled {
    /// The files that were read; places in diagnostics refer to them.
    pub sources: SourceMap,
    /// What is wrong with the program.
    pub diagnostics: Diagnostics,
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
    let run = || {
        let mut sources = SourceMap::default();
        let mut diagnostics = Diagnostics::default();
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
        syntax::parse(&tokens, &mut diagnostics);
        Compiled {
            sources,
            diagnostics,
        }
    };
    on_large_stack(run)
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
