// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `cargo xtask fuzz` and `cargo xtask miri`, which require a nightly compiler.

use std::fs;
use std::process::{Command, Stdio};

use adit_qemu_tests::paths;
use anyhow::{bail, ensure, Context, Result};

/// Crates with code that Miri can run: no system calls, no file mappings.
const MIRI: [&str; 2] = ["adit-uapi", "adit-pipeline"];

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Target, a file in fuzz/fuzz_targets; all of them if none is given
    target: Option<String>,
    /// Seconds to run each target for
    #[arg(long, default_value_t = 45, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
}

pub(crate) fn run(args: &Args) -> Result<u8> {
    let all = targets()?;
    let chosen = match &args.target {
        None => all,
        Some(name) if all.contains(name) => vec![name.clone()],
        Some(name) => bail!("no fuzz target `{name}`: there are {}", all.join(", ")),
    };
    needs(
        &["+nightly", "--version"],
        "rustup toolchain install nightly",
    )?;
    needs(
        &["fuzz", "--version"],
        "cargo install cargo-fuzz --version ^0.13",
    )?;
    let status = cargo()
        .current_dir(paths::repo().join("fuzz"))
        .args(["+nightly", "run", "--quiet", "--example", "corpus"])
        .status()
        .context("cannot start cargo")?;
    ensure!(
        status.success(),
        "the inputs to start from cannot be written: see above"
    );
    let mut failed = 0;
    for target in chosen {
        println!("{target}: {} s", args.seconds);
        let status = cargo()
            .current_dir(paths::repo())
            .args(["+nightly", "fuzz", "run", &target, "--"])
            .arg(format!("-max_total_time={}", args.seconds))
            .args(["-max_len=8192", "-timeout=10", "-rss_limit_mb=2048"])
            .status()
            .context("cannot start cargo fuzz")?;
        println!(
            "{target}: {}",
            if status.success() { "ok" } else { "FAILED" }
        );
        failed += u32::from(!status.success());
    }
    Ok(u8::from(failed > 0))
}

/// Runs the tests that Miri can run. Property tests are limited to a few cases: it is some hundred
/// times slower.
pub(crate) fn miri() -> Result<u8> {
    needs(
        &["+nightly", "miri", "--version"],
        "rustup toolchain install nightly --component miri --component rust-src",
    )?;
    let mut command = cargo();
    command
        .current_dir(paths::repo())
        .args(["+nightly", "miri", "test", "--lib"])
        .env("PROPTEST_CASES", "2")
        // Proptest reads the file with past failures.
        .env("MIRIFLAGS", "-Zmiri-disable-isolation");
    for package in MIRI {
        command.args(["--package", package]);
    }
    // The long deterministic run is for compiled code.
    command.args(["--", "--skip", "seeded_frames"]);
    let status = command.status().context("cannot start cargo miri")?;
    Ok(u8::from(!status.success()))
}

/// Returns cargo by name, so that rustup takes the toolchain from the arguments: `CARGO` and other
/// variables set by the cargo that runs us would select its own toolchain.
fn cargo() -> Command {
    let mut command = Command::new("cargo");
    command.env_remove("CARGO").env_remove("RUSTUP_TOOLCHAIN");
    command
}

fn needs(args: &[&str], remedy: &str) -> Result<()> {
    let there = cargo()
        .args(args)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    ensure!(
        there,
        "`cargo {}` does not work here: run `{remedy}`",
        args.join(" ")
    );
    Ok(())
}

/// Returns the names of the fuzz targets.
fn targets() -> Result<Vec<String>> {
    let folder = paths::repo().join("fuzz/fuzz_targets");
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("in {}", folder.display()))? {
        let path = entry?.path();
        if let (Some("rs"), Some(name)) = (
            path.extension().and_then(|e| e.to_str()),
            path.file_stem().and_then(|s| s.to_str()),
        ) {
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_is_declared() {
        let manifest = fs::read_to_string(paths::repo().join("fuzz/Cargo.toml")).unwrap();
        let names = targets().unwrap();
        assert!(!names.is_empty());
        for name in names {
            assert!(
                manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")),
                "{name} is not in fuzz/Cargo.toml"
            );
        }
    }
}
