// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `cargo xtask module`.

use adit_qemu_tests::flavour::Flavour;
use adit_qemu_tests::tree::Tree;
use anyhow::Result;

use crate::build;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Kernel to build for: stock (Debian's) or debug
    #[arg(long, default_value_t)]
    kernel: Flavour,
}

pub(crate) fn run(args: &Args) -> Result<u8> {
    let module = build::module(&Tree::ensure()?, args.kernel)?;
    println!("{}", module.display());
    Ok(0)
}
