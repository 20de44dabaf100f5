// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Warnings about programs that are legal, but perhaps not what was intended.

mod paths;
mod quiet;
mod reach;
mod unused;
mod validity;

pub(crate) use quiet::Quiet;

use crate::check::Info;
use crate::diagnostics::Diagnostics;
use crate::syntax::ast::Program;

/// Runs the lints on a program without errors.
pub(crate) fn lint(program: &Program, info: &Info<'_>, diagnostics: &mut Diagnostics) {
    for look in [reach::reach, unused::unused, validity::validity] {
        if diagnostics.stopped() {
            return;
        }
        look(program, info, diagnostics);
    }
}

#[cfg(test)]
mod tests;
