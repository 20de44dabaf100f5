// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `adit vdev save` and `restore`: the state of a device in a file.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use adit_vdcm::control::client::Client;
use adit_vdcm::protocol::Spec;
use adit_vdcm::snapshot::MAX_LEN;
use anyhow::{ensure, Context, Result};
use serde_json::Value;

use super::args::Restore;
use super::{limits, socket};

/// The spec of a device that is restored.
pub(super) fn spec(restore: &Restore) -> Result<Spec> {
    Ok(Spec {
        name: restore.name.clone(),
        adis: restore.adi.clone(),
        group: restore.group,
        vlan: restore.vlan,
        port: restore.port,
        socket: socket(restore.socket.as_deref())?,
        limits: limits(&restore.limit)?,
        ..Spec::default()
    })
}

/// Saves the state of a device. A file must not exist: it may be the only copy of another state.
pub(super) fn save(client: &mut Client, device: &str, file: &Path) -> Result<()> {
    // Before the device is suspended. The state has contents of the guest's messages.
    let mut out: Box<dyn Write> = match is_standard(file) {
        true => Box::new(std::io::stdout().lock()),
        false => {
            let mut options = OpenOptions::new();
            let options = options.write(true).create_new(true).mode(0o600);
            let created = options.open(file);
            Box::new(created.with_context(|| format!("creating {}", file.display()))?)
        }
    };
    let saved = write_state(client, device, &mut out);
    if saved.is_err() && !is_standard(file) {
        // The error is the one of saving.
        let _ = std::fs::remove_file(file);
    }
    saved
}

fn write_state(client: &mut Client, device: &str, out: &mut dyn Write) -> Result<()> {
    let mut text = serde_json::to_vec(&client.save(device)?)?;
    text.push(b'\n');
    out.write_all(&text)?;
    Ok(out.flush()?)
}

/// Reads a state.
pub(super) fn read(file: &Path) -> Result<Value> {
    let mut text = Vec::new();
    let input: Box<dyn Read> = match is_standard(file) {
        true => Box::new(std::io::stdin().lock()),
        false => Box::new(File::open(file).with_context(|| file.display().to_string())?),
    };
    let name = file.display();
    let limit = MAX_LEN as u64;
    let read = input.take(limit + 1).read_to_end(&mut text);
    let len = read.with_context(|| name.to_string())? as u64;
    ensure!(len <= limit, "{name}: a state has at most {limit} bytes");
    serde_json::from_slice(&text).with_context(|| format!("{name} is no saved state"))
}

/// Returns whether a path stands for standard input or output.
fn is_standard(file: &Path) -> bool {
    file.as_os_str() == "-"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_no_state_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("web.json");
        let error = |path: &Path| format!("{:#}", read(path).unwrap_err());
        assert!(error(&path).contains("web.json"));
        std::fs::write(&path, "{\"format\"").unwrap();
        assert!(error(&path).contains("web.json is no saved state"));
        std::fs::write(&path, vec![b' '; MAX_LEN + 1]).unwrap();
        assert!(error(&path).contains("at most 8388608 bytes"));
        std::fs::write(&path, "{\"format\": \"adit-vdev\"}\n").unwrap();
        assert_eq!(read(&path).unwrap()["format"], "adit-vdev");
    }
}
