// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Container Device Interface: the specifications with which containers get ADIs.
//!
//! A specification can outlive its ADI: devlink, mdevctl and drivers do not know about it. It
//! therefore identifies the instance that it is for, and has the container runtime check, before
//! the container starts, that the node still belongs to that instance ([`check`]). The ADI may be
//! gone a moment later; its group's number is not reused then until the next boot, which the kernel
//! module ensures.
//!
//! Source: the CDI specification, version 0.6.0 (cncf-tags/container-device-interface, SPEC.md);
//! hooks: the OCI runtime specification, config.md, "POSIX-platform Hooks".

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{ensure, Context, Error, Result};
use serde_json::{json, Value};

use crate::files;
use crate::program;
use crate::registry::{Name, Named};
use crate::sysfs::AdiDevice;

/// The folder in which engines look for specifications that do not survive a reboot.
pub(crate) const FOLDER: &str = "/var/run/cdi";
/// The folder in which they look for others.
const STATIC_FOLDER: &str = "/etc/cdi";
/// The kind of device: `podman run --device adit.dev/adi=NAME`.
const KIND: &str = "adit.dev/adi";
const VERSION: &str = "0.6.0";
/// The prefix of the names of specifications, by the convention of the CDI specification:
/// vendor-class_name.
const PREFIX: &str = "adit.dev-adi_";
/// The annotations of the device.
const INSTANCE: &str = "adit.dev/instance";
const DEVICE: &str = "adit.dev/device";
/// The timeout of the check in seconds.
const TIMEOUT: u32 = 10;

/// Writes the specification of an ADI: its VFIO nodes, its identity, the check, and no more.
pub(crate) fn write(folder: &Path, name: &Name, adi: &Named, group: &Path) -> Result<PathBuf> {
    let Named { instance, device } = adi;
    let program = program::path()?;
    let group_text = group.to_str().context("the path of the VFIO group")?;
    let words = [
        "adit",
        "adi",
        "cdi-check",
        "--name",
        &name.to_string(),
        "--device",
        device,
        "--instance",
        instance,
        "--node",
        group_text,
    ]
    .map(str::to_owned);
    let specification = json!({
        "cdiVersion": VERSION,
        "kind": KIND,
        "devices": [{
            "name": name.to_string(),
            "annotations": { INSTANCE: instance, DEVICE: device },
            "containerEdits": {
                "deviceNodes": [
                    { "path": "/dev/vfio/vfio" },
                    { "path": group },
                ],
                "env": [format!("{}={device}", variable(name))],
                "hooks": [{
                    "hookName": "createRuntime",
                    "path": program,
                    "args": words,
                    "timeout": TIMEOUT,
                }],
            },
        }],
    });
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let path = path(folder, name);
    // Atomically: engines read the folder at any time.
    files::replace(&path, format!("{specification:#}\n").as_bytes())
        .with_context(|| path.display().to_string())?;
    Ok(path)
}

/// Removes the specification of an ADI, if there is one.
pub(crate) fn remove(folder: &Path, name: &Name) -> Result<()> {
    files::remove(&path(folder, name))
}

/// Fails unless the node belongs to the ADI of a specification.
pub(crate) fn check(name: &str, adi: &Named, node: &Path) -> Result<()> {
    let clear = "`adit adi prune` removes its CDI specification";
    let device = AdiDevice::named(&adi.device).filter(|device| device.instance == adi.instance);
    let device =
        device.with_context(|| format!("the ADI {name} ({}) is gone: {clear}", adi.device))?;
    let group = device.vfio_group();
    ensure!(
        group.as_deref() == Some(node),
        "the ADI {name} ({}) is not {} any more, but {}: {clear}",
        adi.device,
        node.display(),
        group.map_or("no VFIO device".into(), |group| group.display().to_string()),
    );
    Ok(())
}

/// A specification that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// Its file.
    pub(crate) path: PathBuf,
    /// Its ADI's name.
    pub(crate) name: String,
    /// Its ADI, if the specification identifies one.
    pub(crate) adi: Option<Named>,
}

/// Finds the specifications of ADIs in the given folders and in those that engines use. Also
/// returns the errors of the folders that could not be read: one that a name records may be
/// accessible to its owner only, and must not hide the others.
pub(crate) fn find(folders: &[PathBuf]) -> (Vec<Found>, Vec<Error>) {
    let mut all: Vec<PathBuf> = [FOLDER, STATIC_FOLDER].map(Into::into).into();
    all.extend_from_slice(folders);
    // One may be a link to the other, as /var/run is to /run.
    let mut all: Vec<_> = all
        .iter()
        .filter_map(|it| fs::canonicalize(it).ok())
        .collect();
    all.sort();
    all.dedup();
    let (mut found, mut unread) = (Vec::new(), Vec::new());
    for folder in all {
        let context = || format!("cannot search {} for specifications", folder.display());
        match paths(&folder).with_context(context) {
            Ok(paths) => found.extend(paths.into_iter().filter_map(read)),
            Err(error) => unread.push(error),
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    (found, unread)
}

fn paths(folder: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        entries => entries?.map(|entry| Ok(entry?.path())).collect(),
    }
}

fn read(path: PathBuf) -> Option<Found> {
    let name = path.file_name()?.to_str()?;
    let name = name.strip_prefix(PREFIX)?.strip_suffix(".json")?.to_owned();
    let text = fs::read_to_string(&path).ok()?;
    let value: Value = serde_json::from_str(&text).ok()?;
    let annotation = |key: &str| {
        let text = value["devices"][0]["annotations"][key].as_str()?;
        Some(text.to_owned())
    };
    let adi = annotation(INSTANCE).zip(annotation(DEVICE));
    let adi = adi.map(|(instance, device)| Named { instance, device });
    (value["kind"] == KIND).then_some(Found { path, name, adi })
}

fn path(folder: &Path, name: &Name) -> PathBuf {
    folder.join(format!("{PREFIX}{name}.json"))
}

/// Returns the environment variable that names a container's ADI device: `ADIT_ADI_WEB` for `web`,
/// since a container may have more than one.
pub(crate) fn variable(name: &Name) -> String {
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_uppercase()
        } else {
            '_'
        }
    };
    let name: String = name.to_string().chars().map(plain).collect();
    format!("ADIT_ADI_{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adi() -> Named {
        Named {
            instance: "0b1c2d3e-0000-4000-8000-000000000001".into(),
            device: "adit.adi.4000000000".into(),
        }
    }

    #[test]
    fn a_specification_names_the_nodes_the_check_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let name = "web-1".parse().unwrap();
        let group = Path::new("/dev/vfio/7");
        let path = write(folder.path(), &name, &adi(), group).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let read: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(read["kind"], "adit.dev/adi");
        let edits = &read["devices"][0]["containerEdits"];
        assert_eq!(edits["deviceNodes"][1]["path"], "/dev/vfio/7");
        assert_eq!(edits["env"], json!(["ADIT_ADI_WEB_1=adit.adi.4000000000"]));
        let hook = &edits["hooks"][0];
        assert_eq!(hook["hookName"], "createRuntime");
        assert!(Path::new(hook["path"].as_str().unwrap()).is_absolute());
        assert_eq!(hook["args"][8], adi().instance);
        assert_eq!(edits.as_object().unwrap().len(), 3);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        let no_folder = tempfile::NamedTempFile::new().unwrap();
        let (found, unread) = find(&[no_folder.path().into(), folder.path().into()]);
        let unread: Vec<_> = unread.iter().map(ToString::to_string).collect();
        let at = no_folder.path().display();
        assert_eq!(unread, [format!("cannot search {at} for specifications")]);
        let found = found.iter().find(|it| it.name == "web-1").unwrap();
        assert_eq!(found.adi, Some(adi()));
        remove(folder.path(), &name).unwrap();
        remove(folder.path(), &name).unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn the_check_fails_for_an_adi_that_is_not_there() {
        let error = check("web", &adi(), Path::new("/dev/vfio/7")).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("web") && text.contains("is gone"), "{text}");
    }
}
