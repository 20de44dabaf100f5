// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `adit`: one command for people.

mod args;
mod ping;
mod pktgen;
mod station;

use std::process::ExitCode;

use clap::Parser;

use args::{Args, Command};

fn main() -> ExitCode {
    let args = Args::parse();
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_env("ADIT_LOG"))
        .with_writer(std::io::stderr)
        .init();
    let result = match args.command {
        Command::Ping(args) => ping::run(&args),
        Command::Pktgen(args) => pktgen::run(&args),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("adit: {error:#}");
            ExitCode::FAILURE
        }
    }
}
