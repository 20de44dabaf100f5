// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a boot needs, made if it is not there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use adit_qemu_tests::flavour::Flavour;
use adit_qemu_tests::image::Image;
use adit_qemu_tests::kernel::Kernel;
use adit_qemu_tests::paths;
use adit_qemu_tests::tree::Tree;
use anyhow::{ensure, Context, Result};

/// Cargo, in the repository.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(paths::repo());
    command
}

/// The Debian tree and the image with this kernel.
pub(crate) fn set_up(flavour: Flavour) -> Result<(Tree, Image)> {
    let tree = Tree::ensure()?;
    let image = Image::ensure(&tree, flavour)?;
    Ok((tree, image))
}

/// The device process, built for release; `ADIT_NIC` names one that was built in another way, such
/// as with a sanitizer.
pub(crate) fn nic() -> Result<PathBuf> {
    if let Some(binary) = std::env::var_os("ADIT_NIC") {
        return std::path::absolute(binary).context("ADIT_NIC");
    }
    release("adit-nic", "adit-nic")
}

/// The `adit` command, put where the guest finds it (`/scratch/bin`).
pub(crate) fn cli() -> Result<PathBuf> {
    let binary = release("adit-cli", "adit")?;
    share(&binary, "bin", "adit")?;
    Ok(binary)
}

/// A binary, built for release.
fn release(package: &str, binary: &str) -> Result<PathBuf> {
    let status = cargo()
        .args(["build", "--quiet", "--release"])
        .args(["--package", package, "--bin", binary])
        .status()
        .context("cannot start cargo")?;
    ensure!(status.success(), "{binary} does not build: see above");
    Ok(paths::target().join("release").join(binary))
}

/// Puts a file into a folder of the scratch space that the guest shares.
fn share(file: &Path, folder: &str, name: &str) -> Result<()> {
    let shared = paths::scratch()?.join(folder);
    fs::create_dir_all(&shared)
        .and_then(|()| fs::copy(file, shared.join(name)))
        .with_context(|| format!("cannot write {}", shared.display()))?;
    Ok(())
}

/// The kernel module, built for the guest's kernel and put where the guest finds it
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
