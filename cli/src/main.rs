// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `adit`: one command for the ADIs of a NIC.

mod adi;
mod args;
mod cdi;
mod devlink;
mod output;
mod registry;
mod sysfs;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use args::{Args, Command};

fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if output::reader_is_gone(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("adit: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> anyhow::Result<()> {
    match &args.command {
        Command::Adi(command) => adi::run(command, args.output),
        Command::Completions { shell } => {
            let mut command = Args::command();
            clap_complete::generate(*shell, &mut command, "adit", &mut std::io::stdout());
            Ok(())
        }
        Command::Man => output::man_page(Args::command()),
    }
}
