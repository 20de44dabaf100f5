// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The body of the front end's fuzz target.

use crate::source::NoIncludes;
use crate::{check, Options};

/// Checks arbitrary text as a program. A panic is a bug, and so is non-termination.
pub fn fuzz_check(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let compiled = check("fuzz.p4", &text, &NoIncludes, &Options::default());
    compiled.diagnostics.render(&compiled.sources);
}

/// The seed corpus: programs of this repository.
pub fn corpus() -> Vec<Vec<u8>> {
    let texts = [
        include_str!("../../p4/include/core.p4"),
        include_str!("../../p4/l2.p4"),
        include_str!("../../p4/acl.p4"),
        include_str!("../../p4/tests/arithmetic.p4"),
        include_str!("../../p4/tests/generics.p4"),
        include_str!("../../p4/tests/parsing.p4"),
        include_str!("../../p4/tests/stacks.p4"),
        include_str!("../../p4/tests/types.p4"),
    ];
    texts.map(|text| text.as_bytes().to_vec()).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fuzzing_starts_from_is_text_that_it_takes() {
        for text in corpus() {
            fuzz_check(&text);
        }
    }
}
