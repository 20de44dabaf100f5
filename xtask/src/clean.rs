// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `cargo xtask clean`.

use std::fs;
use std::time::{Duration, SystemTime};

use adit_qemu_tests::paths;
use anyhow::{Context, Result};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Also remove the Debian tree and everything else in the user's cache folder
    #[arg(long)]
    cache: bool,
    /// Remove only the trees, kernels and images of earlier versions in the user's cache folder that
    /// were not used for this many days
    #[arg(long, value_name = "DAYS", conflicts_with = "cache")]
    unused: Option<u32>,
}

pub(crate) fn run(args: &Args) -> Result<u8> {
    if let Some(days) = args.unused {
        return unused(days);
    }
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

fn unused(days: u32) -> Result<u8> {
    let then = SystemTime::now() - Duration::from_secs(u64::from(days) * 24 * 3600);
    for path in paths::unused_since(&paths::cache()?, then)? {
        paths::unmake(&path)?;
        println!("removed {}", path.display());
    }
    Ok(0)
}
