// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The kernel's source, ready for out-of-tree modules in Rust; and our module, built with it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::paths;
use crate::tree::Tree;
use crate::workshop::{Workshop, INPUT, OUT, REPO};

/// Everything that the preparation depends on besides the tree.
const RECIPE: &str = include_str!("../guest/prepare-kernel.sh");

/// The prepared source of the kernel that the guest boots.
#[derive(Debug, Clone)]
pub struct Kernel {
    /// Its root folder: `make -C` this.
    pub path: PathBuf,
}

impl Kernel {
    /// The source, prepared now if the cache does not have it.
    pub fn ensure(tree: &Tree) -> Result<Self> {
        let key = paths::key([RECIPE.as_bytes(), tree.key.as_bytes()]);
        let path = paths::cache()?.join(format!("kernel-{key}"));
        paths::make_once(&path, |partial| {
            eprintln!(
                "Preparing the kernel's source for modules in Rust: about 3 minutes and 700 MB, \
                 once…"
            );
            let workshop = Workshop {
                tree,
                out: partial,
                input: None,
            };
            let script = format!("{REPO}/qemu-tests/guest/prepare-kernel.sh");
            let log = workshop.run(
                "the preparation of the kernel's source",
                &["sh", &script, OUT],
            )?;
            fs::write(path.with_extension("log"), log).context("cannot write the log")
        })?;
        Ok(Self { path })
    }

    /// Builds `adit.ko` in the folder `out` (`kbuild` in it keeps what make(1) needs to do less
    /// the next time) and returns its path. Warnings are printed.
    pub fn build_module(&self, tree: &Tree, out: &Path) -> Result<PathBuf> {
        let kbuild = out.join("kbuild");
        fs::create_dir_all(&kbuild)
            .with_context(|| format!("cannot create {}", kbuild.display()))?;
        let workshop = Workshop {
            tree,
            out: &kbuild,
            input: Some(self.path.clone()),
        };
        let jobs = std::thread::available_parallelism().map_or(1, usize::from);
        let text = workshop.run(
            "the module's build",
            &[
                "make",
                "-s",
                "-C",
                INPUT,
                &format!("M={REPO}"),
                &format!("MO={OUT}"),
                &format!("-j{jobs}"),
            ],
        )?;
        let noise = |line: &&str| !line.is_empty() && !line.starts_with("Skipping BTF generation");
        for line in text.lines().filter(noise) {
            eprintln!("{line}");
        }
        let module = out.join("adit.ko");
        fs::copy(kbuild.join("kmod/adit.ko"), &module)
            .with_context(|| format!("cannot write {}", module.display()))?;
        Ok(module)
    }
}
