// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Container Device Interface: what a container gets with an ADI.
//!
//! Source: the CDI specification, version 0.6.0 (cncf-tags/container-device-interface, SPEC.md).

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::json;

use crate::files;
use crate::registry::Name;

/// Where container engines look for specifications that do not outlive a boot.
pub(crate) const FOLDER: &str = "/var/run/cdi";
/// The kind of device: `podman run --device adit.dev/adi=NAME`.
const KIND: &str = "adit.dev/adi";
const VERSION: &str = "0.6.0";

/// Writes the specification of an ADI: its VFIO nodes and who it is, and no more.
pub(crate) fn write(folder: &Path, name: &Name, device: &str, group: &Path) -> Result<PathBuf> {
    let specification = json!({
        "cdiVersion": VERSION,
        "kind": KIND,
        "devices": [{
            "name": name.to_string(),
            "containerEdits": {
                "deviceNodes": [
                    { "path": "/dev/vfio/vfio" },
                    { "path": group },
                ],
                "env": [format!("{}={device}", variable(name))],
            },
        }],
    });
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let path = path(folder, name);
    // Engines read the folder at any time: the file appears complete or not at all.
    let draft = path.with_extension("draft");
    fs::write(&draft, format!("{specification:#}\n"))
        .and_then(|()| fs::rename(&draft, &path))
        .with_context(|| path.display().to_string())?;
    Ok(path)
}

/// Takes the specification of an ADI away, if there is one.
pub(crate) fn remove(folder: &Path, name: &Name) -> Result<()> {
    files::remove(&path(folder, name))
}

fn path(folder: &Path, name: &Name) -> PathBuf {
    // The convention of the specification: vendor-class_name.
    folder.join(format!("adit.dev-adi_{name}.json"))
}

/// The variable that tells a container its ADI's device: `ADIT_ADI_WEB` for `web`, since a
/// container may have more than one.
fn variable(name: &Name) -> String {
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

    #[test]
    fn a_specification_names_the_nodes_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let name = "web-1".parse().unwrap();
        let path = write(folder.path(), &name, "adit.adi.3", Path::new("/dev/vfio/7")).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let read: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(read["kind"], "adit.dev/adi");
        let edits = &read["devices"][0]["containerEdits"];
        assert_eq!(edits["deviceNodes"][1]["path"], "/dev/vfio/7");
        assert_eq!(edits["env"], json!(["ADIT_ADI_WEB_1=adit.adi.3"]));
        assert_eq!(edits.as_object().unwrap().len(), 2);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        remove(folder.path(), &name).unwrap();
        remove(folder.path(), &name).unwrap();
        assert!(!path.exists());
    }
}
