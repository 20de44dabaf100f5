// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `adit`: one command for the ADIs of a NIC.

mod adi;
mod args;
mod capture;
mod cdi;
mod ct;
mod devlink;
mod files;
mod flow;
mod httpd;
mod nat;
mod output;
mod p4;
mod ping;
mod pktgen;
mod program;
mod registry;
mod server;
mod station;
mod svc;
mod sysfs;
mod table;
mod trace;
mod traffic_args;
mod vdev;

use std::io::Write;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use args::{Args, Command};

fn main() -> ExitCode {
    // Its options are not those of the other commands: `-o`, `-h` and `-V` are its own.
    if let Some(command) = ct::arguments(&std::env::args_os().collect::<Vec<_>>()) {
        return ct::run(&command).into();
    }
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
        Command::Vdev(command) => vdev::run(command, args.output)?,
        Command::P4(command) => p4::run(command, args.output)?,
        Command::Table(command) => table::run(command, args.output)?,
        Command::Counter(command) => table::run_counter(command, args.output)?,
        Command::Nat(command) => nat::run(command, args.output)?,
        Command::Trace(command) => trace::run(command, args.output)?,
        Command::Ct(command) => return Ok(ct::run_as(command, args.output).into()),
        Command::Svc(command) => svc::run(command, args.output)?,
        Command::Flow(command) => flow::run(command, args.output)?,
        Command::Ping(command) => return ping::run(command),
        Command::Pktgen(command) => return pktgen::run(command, args.output),
        Command::Httpd(command) => return httpd::run(command, args.output),
        Command::Completions { shell } => {
            // Not written to stdout directly: the generator panics when the reader has closed the
            // pipe.
            let mut script = Vec::new();
            let mut command = ct::with_options(Args::command());
            clap_complete::generate(*shell, &mut command, "adit", &mut script);
            std::io::stdout().lock().write_all(&script)?;
        }
        Command::Man => output::man_page(ct::with_help(Args::command()))?,
    }
    Ok(ExitCode::SUCCESS)
}
