// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `cargo xtask clean`.

use std::fs;

use adit_qemu_tests::paths;
use anyhow::{Context, Result};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Also the Debian tree and all else in the user's cache folder
    #[arg(long)]
    cache: bool,
}

pub(crate) fn run(args: &Args) -> Result<u8> {
    let target = paths::target();
    let mut folders = vec![
        paths::guests(),
        target.join("scratch"),
        target.join("bench"),
    ];
    if args.cache {
        folders.push(paths::cache()?);
    }
    for folder in folders.into_iter().filter(|folder| folder.exists()) {
        fs::remove_dir_all(&folder)
            .with_context(|| format!("cannot remove {}", folder.display()))?;
        println!("removed {}", folder.display());
    }
    Ok(0)
}
