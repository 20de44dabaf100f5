// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Prerequisites of a boot, built if they do not exist.

use std::fmt;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use adit_qemu_tests::flavour::Flavour;
use adit_qemu_tests::image::Image;
use adit_qemu_tests::kernel::Kernel;
use adit_qemu_tests::paths;
use adit_qemu_tests::tree::Tree;
use anyhow::{ensure, Context, Result};

/// Message of cargo when another cargo has locked the target folder.
const WAITING: &str = "Blocking waiting for file lock";

/// Returns a cargo command in the repository.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(paths::repo());
    command
}

/// Runs a cargo command, without `--quiet`, and captures its output; the message that it waits for
/// another cargo is printed at once.
pub(crate) fn captured(command: &mut Command) -> Result<Output> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", command.get_program().to_string_lossy()))?;
    let stderr = child.stderr.take();
    let reader = std::thread::spawn(move || {
        let mut kept = Vec::new();
        let lines = stderr.map(|it| BufReader::new(it).split(b'\n'));
        for line in lines.into_iter().flatten().map_while(Result::ok) {
            let text = String::from_utf8_lossy(&line);
            if text.contains(WAITING) {
                eprintln!("{text}");
            }
            kept.extend(line);
            kept.push(b'\n');
        }
        kept
    });
    let mut output = child.wait_with_output()?;
    output.stderr = reader.join().unwrap_or_default();
    Ok(output)
}

/// Returns the Debian tree and the image with this kernel.
pub(crate) fn set_up(flavour: Flavour) -> Result<(Tree, Image)> {
    let tree = Tree::ensure()?;
    let image = Image::ensure(&tree, flavour)?;
    Ok((tree, image))
}

/// The programs that compare the connection tracker with Linux's, and services with nftables', of
/// which selftests find copies as they do of `adit`.
const ORACLE: &str = "adit-conntrack-oracle";
const NODE_ORACLE: &str = "adit-node-oracle";

/// The daemon that composes devices out of ADIs, and a client of such a device for selftests, of
/// which the guest finds copies, too.
const VDCM: &str = "adit-vdcm";
const VDEV_CLIENT: &str = "vdev_client";

/// Cargo profile that programs are built with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Profile {
    /// As they are installed.
    #[default]
    Release,
    /// As for tests: with debug assertions.
    Dev,
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Release => "release",
            Self::Dev => "dev",
        })
    }
}

/// The programs that run in the guest and beside it.
#[derive(Debug, Clone)]
pub(crate) struct Programs {
    /// The device process; `ADIT_NIC` gives a binary built in another way, such as with a
    /// sanitizer.
    pub(crate) nic: PathBuf,
    /// The `adit` command. A copy is where the guest finds it (`/scratch/bin`).
    pub(crate) adit: PathBuf,
    /// The daemon that composes devices. A copy is beside `adit`'s, since it also runs in the guest.
    pub(crate) vdcm: PathBuf,
    /// The profile of all.
    pub(crate) profile: Profile,
}

/// Returns the programs, built with this profile.
pub(crate) fn programs(profile: Profile) -> Result<Programs> {
    let mut command = cargo();
    command.args(["build", "--bin", "adit", "--bin", "adit-nic"]);
    command.args(["--bin", VDCM, "--example", VDEV_CLIENT]);
    command.args(match profile {
        Profile::Release => &[
            "--release",
            "--package",
            "adit-cli",
            "--package",
            "adit-nic",
            "--package",
            VDCM,
        ][..],
        // Cargo unites the features that the selected packages and targets require of their
        // dependencies. With all packages and a test these are the features of `cargo test`, so that
        // what that has compiled is used.
        Profile::Dev => &[
            "--workspace",
            "--test",
            "c_header",
            "--bin",
            ORACLE,
            "--bin",
            NODE_ORACLE,
        ],
    });
    let status = command.status().context("cannot start cargo")?;
    ensure!(
        status.success(),
        "adit, adit-nic or adit-vdcm does not build: see above"
    );
    let folder = paths::target().join(match profile {
        Profile::Release => "release",
        Profile::Dev => "debug",
    });
    let [nic, adit, vdcm] = ["adit-nic", "adit", VDCM].map(|name| folder.join(name));
    share(&stripped(&adit), "bin", "adit")?;
    share(&stripped(&vdcm), "bin", VDCM)?;
    let client = folder.join("examples").join(VDEV_CLIENT);
    share(&stripped(&client), "bin", VDEV_CLIENT)?;
    if profile == Profile::Dev {
        for oracle in [ORACLE, NODE_ORACLE] {
            share(&stripped(&folder.join(oracle)), "bin", oracle)?;
        }
    }
    Ok(Programs {
        nic: match std::env::var_os("ADIT_NIC") {
            Some(binary) => std::path::absolute(binary).context("ADIT_NIC")?,
            None => nic,
        },
        adit,
        vdcm,
        profile,
    })
}

/// Returns the program that compares services with nftables', built as for tests.
pub(crate) fn node_oracle() -> Result<PathBuf> {
    let mut command = cargo();
    // With the features of `cargo test`, as in `programs`.
    command.args(["build", "--quiet", "--workspace", "--test", "c_header"]);
    let status = command.args(["--bin", NODE_ORACLE]).status();
    let status = status.context("cannot start cargo")?;
    ensure!(status.success(), "{NODE_ORACLE} does not build: see above");
    Ok(paths::target().join("debug").join(NODE_ORACLE))
}

/// Returns a copy of a program without debug information, which the guest would read and copy into
/// containers; of a host without strip(1), the program itself.
fn stripped(program: &Path) -> PathBuf {
    let time = |path: &Path| fs::metadata(path).and_then(|it| it.modified()).ok();
    let copy = program.with_extension("stripped");
    if time(&copy) > time(program) {
        return copy;
    }
    let partial = program.with_extension(std::process::id().to_string());
    let strip = Command::new("strip")
        .args(["--strip-debug", "-o"])
        .args([partial.as_path(), program])
        .status();
    let done = strip.is_ok_and(|status| status.success()) && fs::rename(&partial, &copy).is_ok();
    if done {
        copy
    } else {
        program.to_owned()
    }
}

/// Copies a file into a folder of the scratch space that the guest shares. An equal copy is left as
/// it is, and another one is replaced by one call of rename(2): another guest may be using it.
pub(crate) fn share(file: &Path, folder: &str, name: &str) -> Result<()> {
    let shared = paths::scratch()?.join(folder);
    let copy = shared.join(name);
    let partial = shared.join(format!("{name}.{}", std::process::id()));
    let write = || {
        if fs::read(file)? == fs::read(&copy).unwrap_or_default() {
            return Ok(());
        }
        fs::create_dir_all(&shared)?;
        fs::copy(file, &partial)?;
        fs::rename(&partial, &copy)
    };
    write().with_context(|| format!("cannot write {}", copy.display()))
}

/// Returns the kernel module, built for the guest's kernel and copied to where the guest finds it
/// (`/scratch/module`).
pub(crate) fn module(tree: &Tree, flavour: Flavour) -> Result<PathBuf> {
    let out = paths::target().join(match flavour {
        Flavour::Stock => "module",
        Flavour::Debug => "module-debug",
    });
    let module = Kernel::ensure(tree, flavour)?.build_module(tree, &out)?;
    share(&module, "module", "adit.ko")?;
    Ok(module)
}
