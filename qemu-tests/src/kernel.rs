// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A kernel's tree, ready for out-of-tree modules in Rust; and our module, built with it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::flavour::Flavour;
use crate::paths;
use crate::tree::Tree;
use crate::workshop::{Workshop, INPUT, OUT, REPO};

/// Recipe for building a kernel's tree from the Debian tree.
struct Recipe {
    /// All other inputs that it depends on.
    texts: &'static [&'static str],
    /// Its script in `guest/`.
    script: &'static str,
    /// Its name in the cache.
    name: &'static str,
    /// Message at the start.
    announcement: &'static str,
    /// Disk space in bytes that it requires while it is built, with some margin.
    room: u64,
}

impl Recipe {
    fn of(flavour: Flavour) -> Self {
        match flavour {
            Flavour::Stock => Self {
                texts: &[include_str!("../guest/prepare-kernel.sh")],
                script: "prepare-kernel.sh",
                name: "kernel",
                announcement: "Preparing the kernel's source for modules in Rust: about 3 minutes \
                               and 700 MB, once…",
                room: 2_500_000_000,
            },
            Flavour::Debug => Self {
                texts: &[
                    include_str!("../guest/debug-kernel/build.sh"),
                    include_str!("../guest/debug-kernel/config"),
                    include_str!("../guest/debug-kernel/modules"),
                ],
                script: "debug-kernel/build.sh",
                name: "debug-kernel",
                announcement: "Building the debug kernel: about 30 minutes on two cores and 1 GB, \
                               once…",
                room: 16_000_000_000,
            },
        }
    }
}

/// The tree of a kernel that the guest boots.
#[derive(Debug, Clone)]
pub struct Kernel {
    /// Its root folder, for `make -C`. `root/` in the tree of the debug kernel has the files for
    /// booting.
    pub path: PathBuf,
    /// The hash of its inputs.
    pub key: String,
    flavour: Flavour,
}

impl Kernel {
    /// Returns the tree; it is built now if the cache does not have it.
    pub fn ensure(tree: &Tree, flavour: Flavour) -> Result<Self> {
        let recipe = Recipe::of(flavour);
        let texts = recipe.texts.iter().map(|text| text.as_bytes());
        let key = paths::key(texts.chain([tree.key.as_bytes()]));
        let path = paths::cache()?.join(format!("{}-{key}", recipe.name));
        paths::make_once(&path, |partial| {
            paths::need_room(partial, recipe.room, "the kernel's tree")?;
            eprintln!("{}", recipe.announcement);
            let workshop = Workshop {
                tree,
                out: partial,
                input: None,
            };
            let script = format!("{REPO}/qemu-tests/guest/{}", recipe.script);
            let log = workshop.run("the kernel's tree", &["sh", &script, OUT])?;
            fs::write(path.with_extension("log"), log).context("cannot write the log")
        })?;
        Ok(Self { path, key, flavour })
    }

    /// Builds `adit.ko` in the folder `out` and returns its path. `kbuild` in that folder keeps
    /// make(1)'s intermediate files for the next time. Warnings are printed.
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
        let (source, output) = (format!("M={REPO}"), format!("MO={OUT}"));
        let jobs = format!("-j{jobs}");
        let mut words = vec!["make", "-s", "-C", INPUT, &source, &output, &jobs];
        words.extend(self.flavour.make_args());
        let text = workshop.run("the module's build", &words)?;
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
