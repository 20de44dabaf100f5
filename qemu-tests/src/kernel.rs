// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A kernel's tree, ready for out-of-tree modules in Rust; and our module, built with it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::flavour::Flavour;
use crate::paths;
use crate::tree::Tree;
use crate::workshop::{Workshop, INPUT, OUT, REPO};

/// How a kernel's tree is made, out of the Debian tree.
struct Recipe {
    /// Everything that it depends on besides.
    texts: &'static [&'static str],
    /// Its script in `guest/`.
    script: &'static str,
    /// What the result is called in the cache.
    name: &'static str,
    /// What to say at the start.
    announcement: &'static str,
    /// What it takes on disk while it is made, with some to spare, in bytes.
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
    /// Its root folder: `make -C` this. Of the debug kernel, `root/` in it has what boots.
    pub path: PathBuf,
    /// The hash of what it was made from.
    pub key: String,
    flavour: Flavour,
}

impl Kernel {
    /// The tree, made now if the cache does not have it.
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
