// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The developer's commands. Each performs the set-up that it needs.

mod accept;
mod bench;
mod build;
mod clean;
mod demo;
mod fuzz;
mod guest;
mod image;
mod lanes;
mod module;
mod node;
mod phases;
mod report;
mod selftests;
mod stf;
mod terminal;
mod test;
mod wire;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The developer's commands of Adit.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show the project at work: a service in the NIC, whose endpoints are containers with ADIs
    Demo(demo::Args),
    /// Run all tests: format, lints, unit and property tests, the selftests in the guest
    Test(test::Args),
    /// Boot the guest with the NIC; run CMD in it as root, or open a shell
    Guest(guest::Args),
    /// Build the kernel module for the guest's kernel
    Module(module::Args),
    /// Build a small guest (kernel and initramfs) for a QEMU of your own
    Image,
    /// Run a command at the other end of the wire of the running guest
    Wire(wire::Args),
    /// Run a benchmark, print its table and write target/bench/NAME.json
    Bench(bench::Args),
    /// Run a P4 program on the packets of an STF test and compare its output
    Stf(stf::Args),
    /// Check and load the v1model and PNA programs of public repositories, and print a table
    Accept(accept::Args),
    /// Run fuzz targets for a limited time; needs a nightly compiler and cargo-fuzz
    Fuzz(fuzz::Args),
    /// Run the tests of crates that make no system calls under Miri; needs a nightly compiler
    Miri,
    /// Remove the files that the commands created
    Clean(clean::Args),
}

impl Command {
    /// Returns whether the command runs in the sandbox, with namespaces of its own.
    fn needs_sandbox(&self) -> bool {
        !matches!(self, Command::Stf(_) | Command::Accept(_))
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    exit_code(run(&cli.command))
}

fn run(command: &Command) -> anyhow::Result<u8> {
    if command.needs_sandbox() {
        adit_qemu_tests::sandbox::become_root()?;
    }
    match command {
        Command::Demo(args) => demo::run(args),
        Command::Test(args) => test::run(args),
        Command::Guest(args) => guest::run(args),
        Command::Module(args) => module::run(args),
        Command::Image => image::run(),
        Command::Wire(args) => wire::run(args),
        Command::Bench(args) => bench::run(args),
        Command::Stf(args) => stf::run(args),
        Command::Accept(args) => accept::run(args),
        Command::Fuzz(args) => fuzz::run(args),
        Command::Miri => fuzz::miri(),
        Command::Clean(args) => clean::run(args),
    }
}

fn exit_code(result: anyhow::Result<u8>) -> ExitCode {
    match result {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
