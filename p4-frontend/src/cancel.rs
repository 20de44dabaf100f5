// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Cancellation of a compilation by its caller.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

/// A flag that another thread sets to stop a compilation. Clones share the flag.
///
/// Every stage reads it at each token, expression, statement and instance, so a compilation ends
/// soon after it is set, with an error that reports the cancellation and without a program.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Stops the compilations that share this flag.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Returns whether `cancel` has been called.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::architectures::{Architecture, Form};
    use crate::diagnostics::Diagnostics;
    use crate::preprocess::Preprocessor;
    use crate::source::{Includes, NoIncludes, SourceMap};
    use crate::{check, lower, syntax};

    const PROGRAM: &str = "#include <v1model.p4>
        struct S {}
        parser P(packet_in p, out S h, inout S m, inout standard_metadata_t s) {
            state start { transition accept; }
        }
        control V(inout S h, inout S m) { apply {} }
        control I(inout S h, inout S m, inout standard_metadata_t s) { apply {} }
        control D(packet_out p, in S h) { apply {} }
        V1Switch(P(), V(), I(), I(), V(), D()) main;";

    /// Cancels the compilation when a file is included; the file is empty.
    struct Leaves(Cancel);

    impl Includes for Leaves {
        fn include(&self, path: &str, _: Option<&str>) -> Result<Option<(String, String)>, String> {
            self.0.cancel();
            Ok(Some((path.to_owned(), String::new())))
        }
    }

    fn tokens(
        text: &str,
        includes: &dyn Includes,
        diagnostics: &mut Diagnostics,
    ) -> Vec<crate::lexer::Token> {
        let mut sources = SourceMap::default();
        Preprocessor::new(
            &mut sources,
            diagnostics,
            includes,
            Form::of(Architecture::Auto),
        )
        .finish("test.p4".to_owned(), text.to_owned())
    }

    #[test]
    fn each_stage_ends_when_it_is_cancelled() {
        let cancel = Cancel::default();
        let mut diagnostics = Diagnostics::new(cancel.clone());
        let text = "a\n#include \"x\"\nb c d e f";
        let done = tokens(text, &Leaves(cancel), &mut diagnostics);
        assert!(diagnostics.is_cancelled());
        assert_eq!(done.len(), 2, "`a` and the end: {done:?}");

        // Cancelled after preprocessing, after parsing, after checking, and in the last round not
        // at all.
        for stages in 0..4 {
            let cancel = Cancel::default();
            let mut diagnostics = Diagnostics::new(cancel.clone());
            let list = tokens(PROGRAM, &NoIncludes, &mut diagnostics);
            let stop = |at: usize| {
                if at == stages {
                    cancel.cancel();
                }
            };
            stop(0);
            let tree = syntax::parse(&list, &mut diagnostics);
            assert_eq!(tree.decls.is_empty(), stages == 0);
            stop(1);
            let info = check::check(&tree, &mut diagnostics);
            assert_eq!(info.defs.is_empty(), stages <= 1);
            stop(2);
            let program = lower::lower(&tree, &SourceMap::default(), info, &mut diagnostics);
            assert_eq!(program.is_none(), stages <= 2);
            assert_eq!(diagnostics.is_cancelled(), stages <= 2);
        }
    }
}
