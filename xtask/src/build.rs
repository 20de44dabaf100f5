// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Prerequisites of a boot, built if they do not exist.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use adit_qemu_tests::flavour::Flavour;
use adit_qemu_tests::image::Image;
use adit_qemu_tests::kernel::Kernel;
use adit_qemu_tests::paths;
use adit_qemu_tests::tree::Tree;
use anyhow::{ensure, Context, Result};

/// Message of cargo when another cargo has locked the target folder.
const WAITING: &str = "Blocking waiting for file lock";

/// Returns a cargo command in the repository.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(paths::repo());
    command
}

/// Runs a cargo command, without `--quiet`, and captures its output; the message that it waits for
/// another cargo is printed at once.
pub(crate) fn captured(command: &mut Command) -> Result<Output> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", command.get_program().to_string_lossy()))?;
    let stderr = child.stderr.take();
    let reader = std::thread::spawn(move || {
        let mut kept = Vec::new();
        let lines = stderr.map(|it| BufReader::new(it).split(b'\n'));
        for line in lines.into_iter().flatten().map_while(Result::ok) {
            let text = String::from_utf8_lossy(&line);
            if text.contains(WAITING) {
                eprintln!("{text}");
            }
            kept.extend(line);
            kept.push(b'\n');
        }
        kept
    });
    let mut output = child.wait_with_output()?;
    output.stderr = reader.join().unwrap_or_default();
    Ok(output)
}

/// Returns the Debian tree and the image with this kernel.
pub(crate) fn set_up(flavour: Flavour) -> Result<(Tree, Image)> {
    let tree = Tree::ensure()?;
    let image = Image::ensure(&tree, flavour)?;
    Ok((tree, image))
}

/// Returns the device process, built in release mode; `ADIT_NIC` gives a binary built in another
/// way, such as with a sanitizer.
pub(crate) fn nic() -> Result<PathBuf> {
    if let Some(binary) = std::env::var_os("ADIT_NIC") {
        return std::path::absolute(binary).context("ADIT_NIC");
    }
    release("adit-nic", "adit-nic")
}

/// Returns the `adit` command, copied to where the guest finds it (`/scratch/bin`).
pub(crate) fn cli() -> Result<PathBuf> {
    let binary = release("adit-cli", "adit")?;
    share(&binary, "bin", "adit")?;
    Ok(binary)
}

/// Returns a binary, built in release mode.
fn release(package: &str, binary: &str) -> Result<PathBuf> {
    let status = cargo()
        .args(["build", "--release"])
        .args(["--package", package, "--bin", binary])
        .status()
        .context("cannot start cargo")?;
    ensure!(status.success(), "{binary} does not build: see above");
    Ok(paths::target().join("release").join(binary))
}

/// Copies a file into a folder of the scratch space that the guest shares.
fn share(file: &Path, folder: &str, name: &str) -> Result<()> {
    let shared = paths::scratch()?.join(folder);
    fs::create_dir_all(&shared)
        .and_then(|()| fs::copy(file, shared.join(name)))
        .with_context(|| format!("cannot write {}", shared.display()))?;
    Ok(())
}

/// Returns the kernel module, built for the guest's kernel and copied to where the guest finds it
/// (`/scratch/module`).
pub(crate) fn module(tree: &Tree, flavour: Flavour) -> Result<PathBuf> {
    let out = paths::target().join(match flavour {
        Flavour::Stock => "module",
        Flavour::Debug => "module-debug",
    });
    let module = Kernel::ensure(tree, flavour)?.build_module(tree, &out)?;
    share(&module, "module", "adit.ko")?;
    Ok(module)
}
