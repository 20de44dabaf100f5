// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The folder of one run of a guest: sockets, logs, and a note for other processes.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::paths;
use crate::sandbox::Entrance;

/// Number of run folders kept for later inspection: more than the guests of one run of the tests.
const KEPT_RUNS: usize = 32;

/// The name of the note.
const NOTE: &str = "run.json";

/// The note that lets another process find a running guest.
#[derive(Debug, Serialize, Deserialize)]
struct RunNote {
    owner: u32,
    sandbox: u32,
}

/// Writes the note of a running guest to its folder.
pub(crate) fn note(run: &Path, entrance: Entrance) -> Result<()> {
    let note = RunNote {
        owner: std::process::id(),
        sandbox: entrance.pid,
    };
    fs::write(run.join(NOTE), serde_json::to_vec(&note)?)?;
    Ok(())
}

/// Removes the note.
pub(crate) fn forget(run: &Path) {
    let _ = fs::remove_file(run.join(NOTE));
}

/// Creates a new folder for sockets and logs, and the link `latest` to it.
pub fn new_folder() -> Result<PathBuf> {
    let guests = paths::guests();
    fs::create_dir_all(&guests).with_context(|| format!("cannot create {}", guests.display()))?;
    let mut old: VecDeque<_> = fs::read_dir(&guests)?
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("run-"))
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    old.make_contiguous().sort();
    while old.len() >= KEPT_RUNS {
        let Some((_, path)) = old.pop_front() else {
            break;
        };
        if !path.join(NOTE).exists() {
            let _ = fs::remove_dir_all(path);
        }
    }
    let path = unique(&guests, &format!("run-{}", std::process::id()))
        .with_context(|| format!("cannot create a folder in {}", guests.display()))?;
    let latest = guests.join("latest");
    let _ = fs::remove_file(&latest);
    let _ = symlink(&path, latest);
    Ok(path)
}

/// Creates a folder of that name, with a number if there is one; several threads may do so at a time.
fn unique(parent: &Path, name: &str) -> io::Result<PathBuf> {
    let mut path = parent.join(name);
    let mut number = 1;
    loop {
        match fs::create_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                number += 1;
                path = parent.join(format!("{name}-{number}"));
            }
            result => return result.map(|()| path),
        }
    }
}

/// Returns the entrance to the wire of the most recently started guest that still runs.
pub fn running() -> Result<Entrance> {
    let mut found = Vec::new();
    for entry in fs::read_dir(paths::guests())
        .into_iter()
        .flatten()
        .flatten()
    {
        let path = entry.path().join(NOTE);
        let Ok(note) = fs::read(&path) else { continue };
        let Ok(note) = serde_json::from_slice::<RunNote>(&note) else {
            continue;
        };
        let alive = |pid: u32| Path::new("/proc").join(pid.to_string()).exists();
        if alive(note.owner) && alive(note.sandbox) {
            found.push((fs::metadata(&path)?.modified()?, note.sandbox));
        }
    }
    let newest = found.into_iter().max();
    let (_, pid) = newest.context("no guest is running: start one with `cargo xtask guest`")?;
    Ok(Entrance { pid })
}
