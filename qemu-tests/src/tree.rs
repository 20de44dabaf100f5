// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The Debian tree: built by mmdebstrap from `debian.toml`, kept in the user's cache.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{bail, ensure, Context, Result};
use serde::Deserialize;

use crate::{paths, progress};

const SPEC: &str = include_str!("../debian.toml");

/// Part of the key: raised when the way of building the tree changes.
const RECIPE: &str = "1";

/// Disk space in bytes that it requires while it is built, with some margin.
const ROOM: u64 = 4_000_000_000;

/// Folders that the sandbox and the guest mount on; the tree itself is read-only by then.
const MOUNT_POINTS: [&str; 2] = ["repo", "scratch"];

/// Contents of `debian.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Spec {
    suite: String,
    backports: String,
    #[serde(default)]
    pin: Vec<Pin>,
    packages: BTreeMap<String, Vec<String>>,
}

/// Preferred versions of some packages, the most preferred first.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pin {
    packages: Vec<String>,
    versions: Vec<String>,
}

impl Spec {
    /// Returns the pins as apt_preferences(5): an archive without the first version uses the next
    /// one.
    fn preferences(&self) -> String {
        let mut text = String::new();
        for pin in &self.pin {
            let packages = pin.packages.join(" ");
            let versions = pin
                .versions
                .iter()
                .map(|version| format!("version {version}"));
            let last = format!("release n={}", self.backports);
            for (rank, which) in versions.chain([last]).enumerate() {
                let priority = 990 - 10 * rank;
                let _ = writeln!(
                    text,
                    "Package: {packages}\nPin: {which}\nPin-Priority: {priority}\n"
                );
            }
        }
        text
    }

    fn package_list(&self) -> String {
        self.packages
            .values()
            .flatten()
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join(",")
    }
}

/// A finished tree.
#[derive(Debug, Clone)]
pub struct Tree {
    /// Its root folder.
    pub root: PathBuf,
    /// The hash of its inputs.
    pub key: String,
}

impl Tree {
    /// Returns the tree; it is built now if the cache does not have it.
    pub fn ensure() -> Result<Self> {
        let spec: Spec = toml::from_str(SPEC).context("qemu-tests/debian.toml")?;
        let key = paths::key([SPEC.as_bytes(), RECIPE.as_bytes()]);
        let root = paths::cache()?.join(format!("debian-{key}"));
        paths::make_once(&root, |partial| {
            paths::need_room(partial, ROOM, "the Debian tree")?;
            make(&spec, partial)
        })?;
        Ok(Self { root, key })
    }
}

fn make(spec: &Spec, root: &Path) -> Result<()> {
    let keyring = keyring()?;
    ensure_mmdebstrap()?;
    let mirror = mirror()?;
    let log_path = root.with_extension("log");
    let preferences = root.with_extension("preferences");
    fs::write(&preferences, spec.preferences())?;
    eprintln!(
        "Making the Debian tree ({} from {mirror}): about 2 minutes and 3 GB, once; log in {}",
        spec.suite,
        log_path.display()
    );
    let source = |suite: &str| format!("deb [signed-by={keyring}] {mirror} {suite} main");
    let copy_preferences = format!(
        "mkdir -p \"$1/etc/apt/preferences.d\" \"$1/etc/initramfs-tools\" && \
         cp '{}' \"$1/etc/apt/preferences.d/adit\"",
        preferences.display()
    );
    // The guest has its own initramfs.
    let no_initramfs = "mkdir -p \"$1/etc/initramfs-tools\" && \
         echo update_initramfs=no >\"$1/etc/initramfs-tools/update-initramfs.conf\"";
    // Device nodes cannot be created in a user namespace: a few of the host's are bind-mounted
    // meanwhile.
    let lend_devices =
        "mount -t tmpfs -o mode=755 tmpfs \"$1/dev\" && ln -s /proc/self/fd \"$1/dev/fd\" && \
         for node in null zero full random urandom tty; do \
             touch \"$1/dev/$node\" && mount --bind \"/dev/$node\" \"$1/dev/$node\"; \
         done";
    let devices: &[String] = if std::env::var_os(crate::sandbox::USERNS_MARK).is_some() {
        &[
            "--skip=chroot/mount/dev".to_owned(),
            format!("--extract-hook={lend_devices}"),
            "--customize-hook=umount -l \"$1/dev\"".to_owned(),
        ]
    } else {
        &[]
    };
    let mount_points = MOUNT_POINTS.map(|name| format!("\"$1/{name}\"")).join(" ");
    let mut child = Command::new("mmdebstrap")
        .args(["--variant=minbase", "--mode=root", "--format=directory"])
        .args([
            "--aptopt=APT::Install-Recommends \"false\"",
            "--aptopt=Acquire::Languages \"none\"",
        ])
        .args([
            "--aptopt=Acquire::Retries \"5\"",
            "--dpkgopt=force-unsafe-io",
        ])
        .args(
            ["man", "doc", "locale", "info"]
                .map(|it| format!("--dpkgopt=path-exclude=/usr/share/{it}/*")),
        )
        .args(devices)
        .arg(format!("--setup-hook={copy_preferences}"))
        .arg(format!("--essential-hook={no_initramfs}"))
        .arg(format!("--customize-hook=mkdir -p {mount_points}"))
        .arg(format!("--include={}", spec.package_list()))
        .arg(&spec.suite)
        .arg(root)
        .args([source(&spec.suite), source(&spec.backports)])
        .env("LC_ALL", "C.UTF-8")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start mmdebstrap")?;
    let stderr = child.stderr.take();
    let log = stderr.map_or_else(String::new, |it| progress::follow("Debian tree", it));
    let status = child.wait()?;
    fs::write(&log_path, &log)?;
    if !status.success() {
        let tail: Vec<_> = log.lines().rev().take(12).collect();
        let tail: Vec<_> = tail.into_iter().rev().collect();
        bail!(
            "mmdebstrap failed ({status}); the end of {}:\n{}\nIs {mirror} reachable? \
             ADIT_DEBIAN_MIRROR names another mirror.",
            log_path.display(),
            tail.join("\n")
        );
    }
    let _ = fs::remove_file(preferences);
    Ok(())
}

/// Returns the mirror: the one in the environment, or the one that this machine's apt uses for
/// Debian.
fn mirror() -> Result<String> {
    if let Ok(mirror) = std::env::var("ADIT_DEBIAN_MIRROR") {
        return Ok(mirror);
    }
    let targets = Command::new("apt-get")
        .args([
            "indextargets",
            "--no-release-info",
            "--format",
            "$(SITE) $(COMPONENT) $(REPO_URI)",
        ])
        .args(["Created-By: Packages"])
        .output();
    let text = targets.map(|output| output.stdout).unwrap_or_default();
    mirror_of(&String::from_utf8_lossy(&text)).context(
        "this machine's apt knows no mirror of Debian: name one with ADIT_DEBIAN_MIRROR=URL",
    )
}

/// Picks the main archive from lines of `site component repository-uri`.
fn mirror_of(targets: &str) -> Option<String> {
    targets
        .lines()
        .filter_map(|line| {
            line.rsplit_once(' ')
                .filter(|(rest, _)| rest.ends_with(" main"))
        })
        .map(|(_, uri)| uri.trim_end_matches('/'))
        .find(|uri| uri.ends_with("/debian"))
        .map(str::to_owned)
}

fn keyring() -> Result<&'static str> {
    const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
    if !Path::new(KEYRING).exists() {
        install("debian-archive-keyring")?;
    }
    Ok(KEYRING)
}

fn ensure_mmdebstrap() -> Result<()> {
    let found = Command::new("mmdebstrap").arg("--version").output().is_ok();
    if found {
        Ok(())
    } else {
        install("mmdebstrap")
    }
}

/// Installs a package of the host's own distribution, or fails with the command line to do so.
fn install(package: &str) -> Result<()> {
    let remedy = format!("sudo apt-get update && sudo apt-get install -y {package} uidmap");
    let inside_userns = std::env::var_os(crate::sandbox::USERNS_MARK).is_some();
    ensure!(!inside_userns, "{package} is missing: run `{remedy}`");
    eprintln!("Installing {package}…");
    let apt = |args: &[&str]| {
        Command::new("apt-get")
            .args(args)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdout(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    };
    let args = ["install", "-y", "-qq", "--no-install-recommends", package];
    if apt(&args) || (apt(&["update", "-qq"]) && apt(&args)) {
        return Ok(());
    }
    bail!("{package} is missing and could not be installed: run `{remedy}`, or its like on this system")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_in_the_repository_is_well_formed() {
        let spec: Spec = toml::from_str(SPEC).expect("debian.toml");
        assert!(spec.package_list().contains("qemu-system-x86"));
        let preferences = spec.preferences();
        let exact = preferences.find("Pin: version 7.2.12-1~bpo13+1\nPin-Priority: 990");
        let series = preferences.find("Pin: version 7.2.*\nPin-Priority: 980");
        let any = preferences.find("Pin: release n=trixie-backports\nPin-Priority: 970");
        assert!(
            exact.is_some() && exact < series && series < any,
            "{preferences}"
        );
    }

    #[test]
    fn kernel_headers_and_source_are_of_one_version() {
        let spec: Spec = toml::from_str(SPEC).expect("debian.toml");
        let wanted = &spec.pin[0].versions[0];
        let (version, _) = wanted.split_once('-').expect("a revision");
        let list = spec.package_list();
        for kind in ["image", "headers"] {
            let name = format!("linux-{kind}-{version}+deb13-amd64");
            assert!(
                list.split(',').any(|package| package == name),
                "{name} in {list}"
            );
        }
    }

    #[test]
    fn the_mirror_is_the_main_archive_of_debian() {
        let targets = "http://other.example main http://other.example/node\n\
                       http://deb.example main http://deb.example/debian-security/\n\
                       http://deb.example main http://deb.example/debian/\n";
        assert_eq!(
            mirror_of(targets).as_deref(),
            Some("http://deb.example/debian")
        );
        assert_eq!(
            mirror_of("http://archive.example main http://archive.example/ubuntu/"),
            None
        );
    }
}
