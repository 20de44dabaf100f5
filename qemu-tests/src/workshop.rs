// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The Debian tree as a build environment: commands with the tree as their root.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{bail, Context, Result};

use crate::tree::Tree;
use crate::{paths, progress};

/// The repository in the workshop, read-only.
pub const REPO: &str = "/repo";
/// The folder that is created or filled, in the workshop.
pub const OUT: &str = "/scratch";
/// An additional input folder, in the workshop.
pub const INPUT: &str = "/tmp/input";

/// Mounts and the change of root; `$1` the tree, `$2` the repository, `$3` the output folder, `$4`
/// an additional input folder (may be empty), then the command.
///
/// /proc is for objtool, /dev for programs that write to /dev/null.
const ENTER: &str = "set -e; exec 2>&1; root=$1; mount --make-rprivate /; \
    mount --bind \"$2\" \"$root/repo\"; mount -o remount,bind,ro \"$root/repo\"; \
    mount --bind \"$3\" \"$root/scratch\"; \
    mount -t tmpfs tmpfs \"$root/tmp\"; mount -t proc proc \"$root/proc\"; \
    mount --rbind /dev \"$root/dev\"; \
    if [ -n \"$4\" ]; then mkdir \"$root/tmp/input\"; mount --bind \"$4\" \"$root/tmp/input\"; fi; \
    shift 4; exec chroot \"$root\" \"$@\"";

/// A tree with an output folder and an optional input folder.
#[derive(Debug)]
pub struct Workshop<'a> {
    /// The tree with the compiler.
    pub tree: &'a Tree,
    /// Mounted at [`OUT`], writable.
    pub out: &'a Path,
    /// Mounted at [`INPUT`].
    pub input: Option<PathBuf>,
}

impl Workshop<'_> {
    /// Runs a command of the tree and returns its output, which is also shown line by line as it
    /// arrives; an error has the end of it.
    pub fn run(&self, what: &str, words: &[&str]) -> Result<String> {
        let mut child = Command::new("unshare")
            .args(["--mount", "--pid", "--fork", "--kill-child"])
            .args(["sh", "-c", ENTER, "sh"])
            .arg(&self.tree.root)
            .arg(paths::repo())
            .arg(self.out)
            .arg(self.input.as_deref().unwrap_or(Path::new("")))
            .args(words)
            .env("PATH", crate::sandbox::PATH)
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start unshare (package util-linux)")?;
        let output = child.stdout.take();
        let text = output.map_or_else(String::new, |it| progress::follow(what, it));
        let status = child.wait()?;
        if !status.success() {
            let lines: Vec<_> = text.lines().collect();
            let end = lines[lines.len().saturating_sub(60)..].join("\n");
            bail!("{what} failed ({status}):\n{end}");
        }
        Ok(text)
    }
}
