// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Files for a boot besides the tree: kernel, initramfs, agent.

use std::fs;
use std::path::PathBuf;

use anyhow::Result;

use crate::flavour::Flavour;
use crate::kernel::Kernel;
use crate::paths;
use crate::tree::Tree;
use crate::workshop::{Workshop, INPUT, OUT, REPO};

/// All sources of the image.
const SOURCES: [&str; 4] = [
    include_str!("../guest/mkinitramfs.sh"),
    include_str!("../guest/initramfs-init"),
    include_str!("../guest/agent.rs"),
    include_str!("proto.rs"),
];

/// A bootable image.
#[derive(Debug, Clone)]
pub struct Image {
    /// The folder with `vmlinuz`, `initramfs` and `version`, and `modules` if they are not in the
    /// tree.
    pub path: PathBuf,
    /// The kernel's release, as reported by `uname -r`.
    pub kernel: String,
    /// Its flavour.
    pub flavour: Flavour,
}

impl Image {
    /// Returns the image of `tree` with this kernel; it is built now if the cache does not have it.
    pub fn ensure(tree: &Tree, flavour: Flavour) -> Result<Self> {
        let debug = match flavour {
            Flavour::Stock => None,
            Flavour::Debug => Some(Kernel::ensure(tree, flavour)?),
        };
        let key = debug.as_ref().map_or(&tree.key, |kernel| &kernel.key);
        let parts = SOURCES
            .iter()
            .map(|text| text.as_bytes())
            .chain([key.as_bytes()]);
        let path = paths::cache()?.join(format!("image-{}", paths::key(parts)));
        paths::make_once(&path, |partial| {
            eprintln!("Making the guest's initramfs and agent…");
            let workshop = Workshop {
                tree,
                out: partial,
                input: debug.as_ref().map(|kernel| kernel.path.join("root")),
            };
            let script = format!("{REPO}/qemu-tests/guest/mkinitramfs.sh");
            let root = if debug.is_some() { INPUT } else { "" };
            workshop.run("making the guest's image", &["sh", &script, OUT, root])?;
            Ok(())
        })?;
        let kernel = fs::read_to_string(path.join("version"))?.trim().to_owned();
        Ok(Self {
            path,
            kernel,
            flavour,
        })
    }
}
