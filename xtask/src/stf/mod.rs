// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `cargo xtask stf`: runs a P4 program on the packets of a test in the P4 community's format
//! (STF), and compares the output.

mod command;
mod compare;
mod control;
mod control_run;
mod run;
mod values;

use std::path::PathBuf;

use adit_p4_frontend::files::Folders;
use adit_p4_frontend::{compile, Options};
use anyhow::{Context, Result};

#[derive(clap::Args)]
#[command(after_help = control::HELP)]
pub(crate) struct Args {
    /// The program
    program: PathBuf,
    /// The test: packets in, packets out, entries of tables
    test: PathBuf,
    /// Folders to search for included files
    #[arg(short = 'I', value_name = "FOLDER")]
    include: Vec<PathBuf>,
}

pub(crate) fn run(args: &Args) -> Result<u8> {
    let name = args.program.display().to_string();
    let text = std::fs::read(&args.program).with_context(|| format!("cannot read {name}"))?;
    let text = String::from_utf8_lossy(&text);
    let includes = Folders(args.include.clone());
    let compiled = compile(&name, &text, &includes, &Options::default());
    let diagnostics = compiled.diagnostics.render(&compiled.sources);
    let Some(program) = compiled.program else {
        eprint!("{diagnostics}");
        if !compiled.diagnostics.has_errors() {
            eprintln!("error: {name} has no `main`");
        }
        return Ok(1);
    };
    let test = std::fs::read_to_string(&args.test)
        .with_context(|| format!("cannot read {}", args.test.display()))?;
    let failures = run::run(program, &test).with_context(|| args.test.display().to_string())?;
    for failure in &failures {
        println!("{failure}");
    }
    if failures.is_empty() {
        println!("{}: ok", args.test.display());
    }
    Ok(u8::from(!failures.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs every test in a folder with the program next to it; returns the number of tests.
    fn run_all(folder: &str) -> usize {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        let mut count = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let test = entry.unwrap().path();
            if test.extension().is_some_and(|e| e == "stf") {
                let args = Args {
                    program: test.with_extension("p4"),
                    test,
                    include: Vec::new(),
                };
                assert_eq!(run(&args).unwrap(), 0, "{}", args.test.display());
                count += 1;
            }
        }
        count
    }

    #[test]
    fn our_own_tests_pass() {
        let count = run_all("../p4/tests");
        assert!(count >= 4, "only {count} tests were found");
    }

    #[test]
    fn our_programs_do_what_their_tests_say() {
        let count = run_all("../p4");
        assert!(count >= 7, "only {count} tests were found");
    }
}
