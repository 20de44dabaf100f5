// SPDX-License-Identifier: Apache-2.0 OR MIT
//! README's commands, run as they are written: the installation on the host, QEMU's command lines
//! in the sandbox with the small guest of `cargo xtask image`, the commands for that guest in it.
//! (Those for the guest of `cargo xtask guest` are run by a selftest in it, those about P4 by a
//! test of the command line.)

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use adit_qemu_tests::sandbox::{Sandbox, PATH};
use adit_qemu_tests::{paths, run};
use anyhow::{ensure, Context, Result};
use serde::Deserialize;

use super::cases::case;
use super::machine::Machines;
use crate::build::{self, Profile, Programs};
use crate::report::Report;

const README: &str = include_str!("../../../README.md");

/// The name of these tests.
pub(super) const NAME: &str = "readme_qemu";

/// Blocks with a command line of QEMU; `KIND guest` is the block for its guest.
const MACHINES: [&str; 2] = ["idpf", "adis"];

/// Timeout of a machine with all its commands.
const LIMIT: Duration = Duration::from_secs(240);

/// Runs a block of README, in a folder with the image, whose guest runs the other block.
const MACHINE: &str = r#"
set -e
folder=/scratch/readme kind=$1
mkdir -p /tmp/readme/target/image /tmp/more
cp "$folder/vmlinuz" /tmp/readme/target/image/vmlinuz
{ echo set -ex; cat "$folder/$kind-guest.sh" "$folder/rescan.sh"; echo "echo all of it worked"; } \
    >/tmp/more/run-and-power-off
(cd /tmp/more && find . | busybox cpio --quiet -o -H newc | gzip -1 | cat "$folder/initrd" -) \
    >/tmp/readme/target/image/initrd
cd /tmp/readme
timeout "$2" bash -e "$folder/$kind.sh" </dev/null || echo "status $?"
# It waits for another client, and has standard output.
pkill -x adit-nic || true
cat nic.log >&2
"#;

/// Additional commands: the NIC is removed and rescanned, whichever driver is bound to it.
const RESCAN: &str = r#"
nic=$(grep -l 0x020001 /sys/bus/pci/devices/*/class)
echo >"${nic%/class}/driver_override"
echo 1 >"${nic%/class}/remove"
[ ! -e "$nic" ]
echo 1 >/sys/bus/pci/rescan
[ -e "$nic" ]
for _ in $(seq 500); do [ ! -e "${nic%/class}/net" ] || break; sleep 0.2; done
sleep 1
dev=$(ls "${nic%/class}/net")
ip link set "$dev" up
ip addr add 10.99.0.2/24 dev "$dev"
for _ in $(seq 50); do ! ping -c 1 -W 1 10.99.0.1 || break; done
ping -c 3 10.99.0.1
"#;

/// A block of commands and the words after its fence's `sh`.
struct Block {
    kind: String,
    text: String,
}

/// Returns the blocks of commands.
fn blocks() -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut lines = README.lines();
    while let Some(line) = lines.next() {
        if let Some(kind) = line.strip_prefix("```sh") {
            let inner = lines.by_ref().take_while(|line| *line != "```");
            blocks.push(Block {
                kind: kind.trim().to_owned(),
                text: inner.map(|line| format!("{line}\n")).collect(),
            });
        }
    }
    blocks
}

/// Returns the text of the block of that kind.
fn block(kind: &str) -> Result<String> {
    let mut found = blocks().into_iter().filter(|block| block.kind == kind);
    let block = found.next();
    Ok(block
        .with_context(|| format!("README has no block `sh {kind}`"))?
        .text)
}

/// Origin of the two programs in these tests.
pub(super) enum Install<'a> {
    /// The commands, as they are written.
    Run,
    /// These, which the other tests use, too: the commands are checked, but not run, as they build
    /// everything once more.
    Check(&'a Programs),
}

pub(super) fn run(report: &mut Report, machines: &Machines, from: &Install) -> Result<()> {
    let installed = match from {
        Install::Run => case(report, "install", install),
        Install::Check(programs) => case(report, "install", || check_install(programs)),
    };
    if !installed {
        return Ok(());
    }
    let profile = match from {
        Install::Run => Profile::Release,
        Install::Check(programs) => programs.profile,
    };
    let small = crate::image::make(profile)?;
    for kind in MACHINES {
        case(report, kind, || machine(machines, kind, &small));
    }
    Ok(())
}

/// Installs the two programs, not in the user's folder.
fn install() -> Result<()> {
    let root = paths::target().join("readme");
    let output = Command::new("bash")
        .args(["-e", "-c", &block("install")?])
        .current_dir(paths::repo())
        .env("CARGO_INSTALL_ROOT", &root)
        .stdin(Stdio::null())
        .output()?;
    succeeded(&output)?;
    let [nic, adit] = ["adit-nic", "adit"].map(|name| root.join("bin").join(name));
    provide(&nic, &adit)
}

/// Checks that the commands install the two programs, from packages of the repository whose
/// dependencies are locked.
fn check_install(programs: &Programs) -> Result<()> {
    let mut installed = Vec::new();
    for line in block("install")?.lines() {
        let folder = line
            .strip_prefix("cargo install --locked --path ")
            .with_context(|| format!("`{line}` is not `cargo install --locked --path FOLDER`"))?;
        installed.extend(binaries(&paths::repo().join(folder).join("Cargo.toml"))?);
    }
    installed.sort();
    ensure!(installed == ["adit", "adit-nic"], "{installed:?}");
    provide(&programs.nic, &programs.adit)
}

/// Returns the names of the programs of a package; an error if `Cargo.lock` does not fit it.
fn binaries(manifest: &Path) -> Result<Vec<String>> {
    let mut command = build::cargo();
    command.args(["metadata", "--locked", "--format-version", "1"]);
    let output = command.arg("--manifest-path").arg(manifest).output()?;
    succeeded(&output)?;
    let metadata: Metadata = serde_json::from_slice(&output.stdout)?;
    let package = metadata
        .packages
        .into_iter()
        .find(|package| package.manifest_path == manifest)
        .with_context(|| format!("no package at {}", manifest.display()))?;
    let programs = package
        .targets
        .into_iter()
        .filter(|target| target.kind == ["bin"]);
    Ok(programs.map(|target| target.name).collect())
}

/// Parts of the output of `cargo metadata`.
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    manifest_path: PathBuf,
    targets: Vec<Target>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

/// Checks that both programs start, and copies the device process to a folder in the sandbox's
/// PATH.
fn provide(nic: &Path, adit: &Path) -> Result<()> {
    for (program, path) in [("adit", adit), ("adit-nic", nic)] {
        let version = Command::new(path).arg("--version").output();
        let version = version.with_context(|| path.display().to_string())?;
        succeeded(&version)?;
        let words = String::from_utf8_lossy(&version.stdout);
        ensure!(words.starts_with(&format!("{program} ")), "{words}");
    }
    let shared = paths::scratch()?.join("bin");
    fs::create_dir_all(&shared)?;
    fs::copy(nic, shared.join("adit-nic"))?;
    Ok(())
}

/// Boots the machine of that block with the small guest.
fn machine(machines: &Machines, kind: &str, small: &Path) -> Result<()> {
    let folder = paths::scratch()?.join("readme");
    fs::create_dir_all(&folder)?;
    for name in ["vmlinuz", "initrd"] {
        fs::copy(small.join(name), folder.join(name))?;
    }
    fs::write(folder.join(format!("{kind}.sh")), block(kind)?)?;
    // Replies may take longer than a second on a busy machine.
    let guest = block(&format!("{kind} guest"))?.replace("adit ping ", "adit ping -W 30000 ");
    fs::write(folder.join(format!("{kind}-guest.sh")), guest)?;
    fs::write(folder.join("rescan.sh"), RESCAN)?;
    let sandbox = Sandbox::start(&machines.tree, &machines.image, &run::new_folder()?)?;
    let limit = LIMIT * machines.pace;
    let output = sandbox
        .entrance()
        .command("bash")
        .args(["-c", MACHINE, "bash", kind, &limit.as_secs().to_string()])
        .env("PATH", format!("{PATH}:/scratch/bin"))
        .stdin(Stdio::null())
        .output()?;
    succeeded(&output)?;
    let console = String::from_utf8_lossy(&output.stdout);
    ensure!(
        console.contains("\nall of it worked") && !console.contains("status "),
        "{console}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

fn succeeded(output: &Output) -> Result<()> {
    ensure!(
        output.status.success(),
        "{}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    /// Kinds of blocks, each of which is run by some test: `xtask` below, `container`, `rootless`,
    /// `httpd`, `svc` and `give up` by a selftest, `p4` and `p4rt` by a test of `adit-cli`.
    const KINDS: [&str; 13] = [
        "xtask",
        "install",
        "idpf",
        "idpf guest",
        "adis",
        "adis guest",
        "container",
        "rootless",
        "httpd",
        "svc",
        "give up",
        "p4",
        "p4rt",
    ];

    #[test]
    fn every_block_is_run_by_a_test() {
        let mut kinds: Vec<_> = blocks().into_iter().map(|block| block.kind).collect();
        kinds.sort();
        kinds.dedup();
        let mut known = KINDS.map(String::from).to_vec();
        known.sort();
        assert_eq!(kinds, known);
        let mut fenced = false;
        for line in README.lines() {
            fenced ^= line.starts_with("```");
            let program = line
                .strip_prefix("    ")
                .and_then(|it| it.split(' ').next());
            let program = program.filter(|_| !fenced).unwrap_or_default();
            let command = ["cargo", "adit", "adit-nic", "podman", "qemu-system-x86_64"];
            assert!(!command.contains(&program), "outside of a block: {line}");
        }
    }

    #[test]
    fn the_developers_commands_are_as_they_are_written() {
        let mut count = 0;
        for block in blocks().iter().filter(|block| block.kind == "xtask") {
            for line in block.text.lines() {
                let words = line.split_once('#').map_or(line, |(words, _)| words);
                let words: Vec<_> = words.split_whitespace().collect();
                assert_eq!(words[..2], ["cargo", "xtask"], "{line}");
                let parsed = crate::Cli::try_parse_from(&words[1..]);
                assert!(parsed.is_ok(), "{line}: {}", parsed.err().expect("it is"));
                count += 1;
            }
        }
        assert!(count > 10);
    }
}
