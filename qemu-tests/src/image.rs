// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a boot needs besides the tree: kernel, initramfs, agent.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{ensure, Context, Result};

use crate::paths;
use crate::tree::Tree;

/// Everything that goes into the image.
const SOURCES: [&str; 4] = [
    include_str!("../guest/mkinitramfs.sh"),
    include_str!("../guest/initramfs-init"),
    include_str!("../guest/agent.rs"),
    include_str!("proto.rs"),
];

/// A bootable image.
#[derive(Debug, Clone)]
pub struct Image {
    /// The folder with `vmlinuz`, `initramfs` and `version`.
    pub path: PathBuf,
    /// The kernel's release, as `uname -r` says it.
    pub kernel: String,
}

impl Image {
    /// The image of `tree`, made now if the cache does not have it.
    pub fn ensure(tree: &Tree) -> Result<Self> {
        let parts = SOURCES
            .iter()
            .map(|text| text.as_bytes())
            .chain([tree.key.as_bytes()]);
        let path = paths::cache()?.join(format!("image-{}", paths::key(parts)));
        paths::make_once(&path, |partial| {
            eprintln!("Making the guest's initramfs and agent…");
            let script = "set -e; mount --make-rprivate /; \
                mount --bind \"$2\" \"$1/repo\"; mount --bind \"$3\" \"$1/scratch\"; \
                mount -t tmpfs tmpfs \"$1/tmp\"; mount -t proc proc \"$1/proc\"; \
                mount --rbind /dev \"$1/dev\"; \
                exec chroot \"$1\" /bin/sh /repo/qemu-tests/guest/mkinitramfs.sh /scratch";
            let output = Command::new("unshare")
                .args([
                    "--mount",
                    "--pid",
                    "--fork",
                    "--kill-child",
                    "sh",
                    "-c",
                    script,
                    "sh",
                ])
                .arg(&tree.root)
                .arg(paths::repo())
                .arg(partial)
                .env("PATH", crate::sandbox::PATH)
                .env("LC_ALL", "C.UTF-8")
                .output()
                .context("cannot start unshare (package util-linux)")?;
            ensure!(
                output.status.success(),
                "the guest's image could not be made ({}):\n{}",
                output.status,
                String::from_utf8_lossy(&output.stderr)
            );
            Ok(())
        })?;
        let kernel = fs::read_to_string(path.join("version"))?.trim().to_owned();
        Ok(Self { path, kernel })
    }
}
