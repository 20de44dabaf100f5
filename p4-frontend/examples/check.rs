// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `cargo run --example check -- [-I FOLDER]… [-q] FILE…`: checks programs, prints what is wrong
//! with them and how many were accepted. For measuring against a folder of programs.

use std::path::{Path, PathBuf};

use adit_p4_frontend::source::Includes;
use adit_p4_frontend::{check, Options};

struct Folders(Vec<PathBuf>);

impl Includes for Folders {
    fn include(&self, path: &str, from: Option<&str>) -> Option<(String, String)> {
        let beside = from.and_then(|from| Path::new(from).parent());
        let folders = beside
            .into_iter()
            .chain(self.0.iter().map(PathBuf::as_path));
        folders.map(|folder| folder.join(path)).find_map(|file| {
            let text = std::fs::read_to_string(&file).ok()?;
            Some((file.display().to_string(), text))
        })
    }
}

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
