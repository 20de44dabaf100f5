// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `adit`: one command for the ADIs of a NIC.

mod adi;
mod args;
mod capture;
mod cdi;
mod devlink;
mod files;
mod output;
mod p4;
mod ping;
mod pktgen;
mod program;
mod registry;
mod station;
mod sysfs;
mod table;
mod traffic_args;

use std::io::Write;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use args::{Args, Command};

fn main() -> ExitCode {
    let args = Args::parse();
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_env("ADIT_LOG"))
        .with_writer(std::io::stderr)
        .init();
    match run(&args) {
        Ok(code) => code,
        Err(error) if output::reader_is_gone(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("adit: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.command {
        Command::Adi(command) => adi::run(command, args.output)?,
        Command::P4(command) => p4::run(command, args.output)?,
        Command::Table(command) => table::run(command, args.output)?,
        Command::Counter(command) => table::run_counter(command, args.output)?,
        Command::Ping(command) => return ping::run(command),
        Command::Pktgen(command) => return pktgen::run(command, args.output),
        Command::Completions { shell } => {
            // Not written to stdout directly: the generator panics when the reader has closed the
            // pipe.
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Args::command(), "adit", &mut script);
            std::io::stdout().lock().write_all(&script)?;
        }
        Command::Man => output::man_page(Args::command())?,
    }
    Ok(ExitCode::SUCCESS)
}
