// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `adit p4`: P4 programs, before a NIC runs them.

mod run;
mod source;
mod warnings;

use std::io::Write;
use std::path::PathBuf;

use adit_p4_frontend::ir::Program;
use adit_p4runtime::p4info::{p4info, text};
use adit_p4runtime::proto::config::Preamble;
use adit_p4runtime::proto::v1::ForwardingPipelineConfig;
use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use serde::Serialize;

use crate::output::{print_all, Format, Row};
use crate::table::Device;
use source::Source;

/// A command for P4 programs.
#[derive(Debug, Subcommand)]
pub(crate) enum P4Command {
    /// Report the errors and warnings of a program
    Check(Source),
    /// Write the files that P4Runtime clients load into a NIC: P4Info, and the program with its
    /// included files
    Compile(Compile),
    /// List a program's tables
    Info(Source),
    /// Run a program on the packets of a pcap file, and print a trace of each: states, tables,
    /// actions, changed headers and output ports
    Run(run::Run),
    /// Load a program into a NIC over P4Runtime, replacing the current one
    Load(Load),
}

/// A program, and the NIC to load it into.
#[derive(Debug, Args)]
pub(crate) struct Load {
    #[command(flatten)]
    source: Source,
    /// Keep entries, counters and all other state of the previous program, or reject this one
    #[arg(long)]
    keep: bool,
    #[command(flatten)]
    device: Device,
}

/// A program, and the folder for the compiled one.
#[derive(Debug, Args)]
pub(crate) struct Compile {
    #[command(flatten)]
    source: Source,
    /// The folder that p4info.txtpb and program.p4bin are written to; it is created if necessary
    #[arg(short, long, default_value = ".")]
    to: PathBuf,
}

/// A table as it is printed.
#[derive(Serialize)]
struct TableRow {
    table: String,
    id: String,
    keys: Vec<String>,
    actions: Vec<String>,
    size: i64,
    /// The short names of the table and its actions, which users write.
    #[serde(skip)]
    aliases: (String, Vec<String>),
}

impl Row for TableRow {
    const HEAD: &'static [&'static str] = &["TABLE", "ID", "SIZE", "KEYS", "ACTIONS"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.aliases.0.clone(),
            self.id.clone(),
            self.size.to_string(),
            self.keys.join("\n"),
            self.aliases.1.join("\n"),
        ]
    }
}

pub(crate) fn run(command: &P4Command, format: Format) -> Result<()> {
    match command {
        P4Command::Check(source) => source.load().map(drop),
        P4Command::Compile(compile) => write(compile),
        P4Command::Info(source) => print_all(&tables(&source.load()?.1)?, format),
        P4Command::Load(load) => give(load),
        P4Command::Run(run) => run::run(run, format),
    }
}

fn give(load: &Load) -> Result<()> {
    let (package, program) = load.source.load()?;
    let config = ForwardingPipelineConfig {
        p4info: Some(p4info(&program)?.p4info),
        p4_device_config: package.to_bytes(),
        cookie: None,
    };
    Ok(load.device.client()?.load(config, load.keep)?)
}

fn write(compile: &Compile) -> Result<()> {
    let (package, program) = compile.source.load()?;
    let info = p4info(&program)?.p4info;
    let folder = &compile.to;
    std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    let put = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        std::fs::write(&path, bytes).with_context(|| format!("writing {}", path.display()))?;
        writeln!(std::io::stdout(), "{}", path.display()).map_err(anyhow::Error::from)
    };
    put("p4info.txtpb", text::to_text(&info)?.as_bytes())?;
    put("program.p4bin", &package.to_bytes())
}

fn tables(program: &Program) -> Result<Vec<TableRow>> {
    let info = p4info(program)?;
    let alias = |preamble: &Option<Preamble>, name: &str| match preamble {
        Some(preamble) if preamble.name == name => Some(preamble.alias.clone()),
        _ => None,
    };
    let rows = program.tables.iter().zip(&info.tables).map(|(table, id)| {
        let shown = info.p4info.tables.iter();
        let shown = shown
            .filter(|t| t.preamble.as_ref().is_some_and(|p| p.id == *id))
            .map(|t| t.size)
            .next();
        let mut tables = info.p4info.tables.iter();
        let short = tables.find_map(|t| alias(&t.preamble, &table.name));
        let actions = table.actions.iter().map(|action| {
            let mut actions = info.p4info.actions.iter();
            let short = actions.find_map(|a| alias(&a.preamble, &action.name));
            short.unwrap_or_else(|| action.name.clone())
        });
        TableRow {
            aliases: (
                short.unwrap_or_else(|| table.name.clone()),
                actions.collect(),
            ),
            table: table.name.clone(),
            id: format!("{id:#x}"),
            keys: table
                .keys
                .iter()
                .map(|key| format!("{}: {}<{}>", key.name, key.kind, key.width))
                .collect(),
            actions: table.actions.iter().map(|a| a.name.clone()).collect(),
            size: shown.unwrap_or(0),
        }
    });
    Ok(rows.collect())
}
