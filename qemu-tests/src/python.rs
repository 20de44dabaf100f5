// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Python environments with third-party programs that tests drive ours with. Separate ones, since
//! they require different versions of the same packages; created once and kept in the user's cache.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{ensure, Context, Result};

use crate::paths;

/// The P4Runtime client finsy.
pub const FINSY: Environment = Environment {
    name: "finsy",
    packages: &["finsy==0.30.0", "protobuf>=6.33,<7"],
};

/// The P4Runtime client p4runtime-shell.
pub const P4RUNTIME_SHELL: Environment = Environment {
    name: "p4runtime-shell",
    packages: &["p4runtime-shell==0.0.6", "protobuf<3.21", "setuptools<81"],
};

/// Packages that are installed together.
#[derive(Debug, Clone, Copy)]
pub struct Environment {
    name: &'static str,
    packages: &'static [&'static str],
}

impl Environment {
    /// Returns its interpreter, for the host; the environment is created if it does not exist.
    ///
    /// # Errors
    /// Reports the command that failed, and its output.
    pub fn python(self) -> Result<PathBuf> {
        let key = paths::key(self.packages.iter().map(|package| package.as_bytes()));
        let folder = paths::cache()?.join(format!("python-{}-{key}", self.name));
        // The interpreter finds its packages relative to its location, so the folder may be
        // renamed.
        paths::make_once(&folder, |partial| {
            run(Command::new("python3").args(["-m", "venv"]).arg(partial))?;
            let mut install = Command::new(partial.join("bin/python3"));
            install.args(["-m", "pip", "install", "--quiet"]);
            run(install.args(self.packages))
        })
        .with_context(|| format!("cannot make the Python environment for {}", self.name))?;
        Ok(folder.join("bin/python3"))
    }
}

fn run(command: &mut Command) -> Result<()> {
    let output = command
        .output()
        .with_context(|| format!("{command:?} (packages python3, python3-venv)"))?;
    ensure!(
        output.status.success(),
        "{command:?} ({})\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
