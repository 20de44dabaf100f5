// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The program that a command compiles.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use adit_p4_frontend::architectures::Architecture;
use adit_p4_frontend::files::{self, Folders};
use adit_p4_frontend::ir::Program;
use adit_p4runtime::program::Package;
use adit_p4runtime::server::Pipeline;
use adit_pipeline::p4::Engine;
use anyhow::{anyhow, Context, Result};
use clap::Args;

use super::warnings::Warnings;

/// A program.
#[derive(Debug, Args)]
pub(crate) struct Source {
    /// The program
    file: PathBuf,
    /// Also look for included files here (repeatable)
    #[arg(short = 'I', long = "include", value_name = "FOLDER")]
    include: Vec<PathBuf>,
    /// Define a macro (repeatable)
    #[arg(short = 'D', long = "define", value_name = "NAME[=VALUE]")]
    defines: Vec<String>,
    /// The architecture that the program is for: v1model, pna (three blocks, version 0.7), pna-dpdk
    /// (four blocks), pna-tc [default: that of its main]
    #[arg(long, value_name = "NAME")]
    arch: Option<Architecture>,
    #[command(flatten)]
    warnings: Warnings,
}

impl Source {
    /// Compiles the program, loads it into an engine, and returns it with its package.
    pub(super) fn load(&self) -> Result<(Package, Program)> {
        let (package, program) = self.program()?;
        let engine = Engine::load(program.clone());
        let engine = engine.with_context(|| format!("loading {}", package.name))?;
        let engine = Arc::new(engine);
        // The rules of its annotations, and its own entries against them.
        let rules = Pipeline::of_engine(engine.clone());
        rules.map_err(|why| anyhow!("loading {}: {why}", package.name))?;
        if let Some(why) = engine.is_interpreted() {
            let name = &package.name;
            writeln!(std::io::stderr(), "note: {name} is interpreted: {why}")?;
        }
        Ok((package, program))
    }

    pub(super) fn name(&self) -> String {
        self.file.display().to_string()
    }

    /// Compiles the program and returns it with its package.
    pub(super) fn program(&self) -> Result<(Package, Program)> {
        let name = self.name();
        let text = files::read(&self.file).with_context(|| format!("reading {name}"))?;
        let mut package = Package {
            name,
            text,
            defines: self.defines.clone(),
            architecture: self.arch.map_or_else(String::new, |arch| arch.to_string()),
            ..Package::default()
        };
        let actions = self.warnings.actions()?;
        let made = package.gather(&Folders(self.include.clone()), &actions);
        let (program, warned) = made.map_err(|error| anyhow!("{error}"))?;
        write!(std::io::stderr(), "{warned}")?;
        Ok((package, program))
    }
}
