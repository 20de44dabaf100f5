// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The programs of this repository have no warnings: a warning about one is a bug in it or in the
//! analysis.

use std::path::Path;

use adit_p4_frontend::files::{read, Folders};
use adit_p4_frontend::{check, Options};

#[test]
fn our_own_programs_have_no_warnings() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../p4");
    let (mut checked, mut warned) = (0, String::new());
    for folder in [root.clone(), root.join("tests")] {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            // Included files are checked with the programs that include them.
            if path.extension().is_none_or(|e| e != "p4") || !path.with_extension("stf").exists() {
                continue;
            }
            let text = read(&path).unwrap();
            let name = path.display().to_string();
            let compiled = check(&name, &text, &Folders::default(), &Options::default());
            warned += &compiled.diagnostics.render(&compiled.sources);
            checked += 1;
        }
    }
    assert!(checked > 30, "{checked} programs");
    assert!(warned.is_empty(), "{warned}");
}
