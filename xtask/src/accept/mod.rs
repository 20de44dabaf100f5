// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `cargo xtask accept`: checks and loads every v1model and PNA program of public repositories, and
//! prints a table of accepted programs and of the reasons for refusals.

mod corpora;
mod program;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{ensure, Context, Result};

use program::{Outcome, Program};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Checkouts of repositories, each a folder `OWNER+NAME`, whose makefiles' options are known,
    /// or any folders of programs
    #[arg(required = true)]
    folders: Vec<PathBuf>,
    /// Also search for included files here, before the files that come with the front end
    #[arg(short = 'I', value_name = "FOLDER")]
    include: Vec<PathBuf>,
    /// Print every program and its outcome
    #[arg(short, long)]
    verbose: bool,
}

/// The outcomes of one repository's programs for one architecture.
#[derive(Default)]
struct Tally {
    accepted: usize,
    /// Programs by the first error, without names and numbers.
    refused: BTreeMap<String, Vec<String>>,
}

pub(crate) fn run(args: &Args) -> Result<u8> {
    let mut out = std::io::stdout().lock();
    let mut table = Vec::new();
    let mut others = 0;
    for folder in &args.folders {
        let repository = corpora::name(folder);
        let mut tallies: BTreeMap<&str, Tally> = BTreeMap::new();
        for file in files(folder)? {
            let text =
                std::fs::read(&file).with_context(|| format!("reading {}", file.display()))?;
            let text = String::from_utf8_lossy(&text).into_owned();
            let local = file.strip_prefix(folder).unwrap_or(&file);
            let own = program::architecture(&text);
            let builds = corpora::builds(&repository, local);
            let builds = builds
                .iter()
                .filter_map(|b| Some((b.architecture.or(own)?, b)));
            let builds: Vec<_> = builds.collect();
            others += usize::from(builds.is_empty());
            for (architecture, build) in builds {
                let mut include = args.include.clone();
                include.extend(build.include.iter().map(|under| folder.join(under)));
                let program = Program {
                    name: file.display().to_string(),
                    text: text.clone(),
                    defines: build.defines.iter().map(|d| (*d).to_owned()).collect(),
                    include,
                };
                let tally = tallies.entry(architecture).or_default();
                let shown = format!("{} {}", local.display(), build.defines.join(" "));
                let shown = shown.trim_end();
                match program.outcome() {
                    Outcome::Accepted => {
                        tally.accepted += 1;
                        if args.verbose {
                            writeln!(out, "accepted {repository}: {shown}")?;
                        }
                    }
                    Outcome::Refused { kind, error } => {
                        if args.verbose {
                            writeln!(out, "refused {repository}: {shown}: {error}")?;
                        }
                        tally
                            .refused
                            .entry(kind)
                            .or_default()
                            .push(shown.to_owned());
                    }
                }
            }
        }
        table.push((repository, tallies));
    }
    print(&mut out, &table)?;
    writeln!(
        out,
        "\n{others} other files: fragments, programs for other architectures or to be refused"
    )?;
    Ok(0)
}

/// Writes the table, followed by the reasons for refusals.
fn print(out: &mut impl Write, table: &[(String, BTreeMap<&str, Tally>)]) -> Result<()> {
    writeln!(
        out,
        "| repository | architecture | programs | accepted | refused |"
    )?;
    writeln!(out, "|---|---|---|---|---|")?;
    for (repository, tallies) in table {
        for (architecture, tally) in tallies {
            let refused: usize = tally.refused.values().map(Vec::len).sum();
            let programs = tally.accepted + refused;
            let accepted = tally.accepted;
            writeln!(
                out,
                "| {repository} | {architecture} | {programs} | {accepted} | {refused} |"
            )?;
        }
    }
    for (repository, tallies) in table {
        for (architecture, tally) in tallies {
            let mut kinds: Vec<_> = tally.refused.iter().collect();
            kinds.sort_by_key(|(_, programs)| std::cmp::Reverse(programs.len()));
            for (kind, programs) in kinds {
                let count = programs.len();
                writeln!(out, "\n{repository}, {architecture}: {count} × {kind}")?;
                for program in programs {
                    writeln!(out, "    {program}")?;
                }
            }
        }
    }
    Ok(())
}

/// Returns the `.p4` files below a folder, in order.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    ensure!(folder.is_dir(), "{} is no folder", folder.display());
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let reading = || format!("reading {}", folder.display());
        for entry in std::fs::read_dir(&folder).with_context(reading)? {
            let entry = entry.with_context(reading)?;
            let kind = entry.file_type().with_context(reading)?;
            let path = entry.path();
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file() && path.extension().is_some_and(|e| e == "p4") {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}
