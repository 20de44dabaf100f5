// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The body of the front end's fuzz target.

use crate::source::NoIncludes;
use crate::{check, Options};

/// Checks any text as a program. A panic is a bug, and so is not ending.
pub fn fuzz_check(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let compiled = check("fuzz.p4", &text, &NoIncludes, &Options::default());
    compiled.diagnostics.render(&compiled.sources);
}
