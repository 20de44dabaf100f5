// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `cargo xtask image`.

use std::fs;
use std::path::PathBuf;

use adit_qemu_tests::flavour::Flavour;
use adit_qemu_tests::paths;
use adit_qemu_tests::tree::Tree;
use adit_qemu_tests::workshop::{Workshop, INPUT, OUT, REPO};
use anyhow::{Context, Result};

use crate::build::{self, Profile};

pub(crate) fn run() -> Result<u8> {
    println!("{}", make(Profile::Release)?.display());
    Ok(0)
}

/// Builds the small guest for use with other QEMUs, with an `adit` of this profile; returns the
/// folder with `vmlinuz` and `initrd`.
pub(crate) fn make(profile: Profile) -> Result<PathBuf> {
    let tree = Tree::ensure()?;
    build::module(&tree, Flavour::Stock)?;
    build::programs(profile)?;
    let out = paths::target().join("image");
    fs::create_dir_all(&out).with_context(|| format!("cannot create {}", out.display()))?;
    let workshop = Workshop {
        tree: &tree,
        out: &out,
        input: Some(paths::scratch()?),
    };
    let script = format!("{REPO}/qemu-tests/guest/mkimage.sh");
    workshop.run("the small guest", &[&script, OUT, INPUT])?;
    Ok(out)
}
