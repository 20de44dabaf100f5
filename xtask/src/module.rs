// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `cargo xtask module`.

use adit_qemu_tests::tree::Tree;
use anyhow::Result;

use crate::build;

pub(crate) fn run() -> Result<u8> {
    let module = build::module(&Tree::ensure()?)?;
    println!("{}", module.display());
    Ok(0)
}
