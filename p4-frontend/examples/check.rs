// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Checks P4 programs and prints their diagnostics and the number accepted, to measure acceptance
//! over a folder of programs: `cargo run --example check -- [-I FOLDER]… [-q] FILE…`.

use std::path::PathBuf;

use adit_p4_frontend::files::Folders;
use adit_p4_frontend::{check, Options};

fn main() {
    let (mut folders, mut quiet, mut accepted, mut all) = (Vec::new(), false, 0, 0);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "-I" => folders.extend(arguments.next().map(PathBuf::from)),
            "-q" => quiet = true,
            file => {
                all += 1;
                let Ok(text) = std::fs::read(file) else {
                    eprintln!("{file}: cannot be read");
                    continue;
                };
                let text = String::from_utf8_lossy(&text);
                let includes = Folders(folders.clone());
                let compiled = check(file, &text, &includes, &Options::default());
                if compiled.diagnostics.has_errors() {
                    println!("REFUSED {file}");
                } else {
                    accepted += 1;
                    println!("ok {file}");
                }
                if !quiet {
                    print!("{}", compiled.diagnostics.render(&compiled.sources));
                }
            }
        }
    }
    println!("{accepted} of {all} accepted");
}
