// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Where things are kept.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::fs::{flock, FlockOperation};
use sha2::{Digest, Sha256};

/// The root of the repository.
pub fn repo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .map(Path::to_path_buf)
        .unwrap_or_default()
}

/// Cargo's target folder.
pub fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| repo().join("target"), PathBuf::from)
}

/// Logs and run files of guests.
pub fn guests() -> PathBuf {
    target().join("guest")
}

/// The folder that is writable from host and guest (`/scratch`).
pub fn scratch() -> Result<PathBuf> {
    let path = target().join("scratch");
    fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
    Ok(path)
}

/// The user's cache folder for what is costly to make (`$XDG_CACHE_HOME/adit`, `~/.cache/adit`).
pub fn cache() -> Result<PathBuf> {
    let base = env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")))
        .context("neither XDG_CACHE_HOME nor HOME is set: set XDG_CACHE_HOME to a folder with 4 GB of room")?;
    let path = base.join("adit");
    fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
    Ok(path)
}

/// The first 12 hexadecimal digits of the SHA-256 of `parts`: a cache key.
pub fn key<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize()
        .iter()
        .take(6)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Makes `final_path` once: `make` fills a temporary folder beside it, which is renamed when it is
/// complete, so that an interruption leaves nothing that looks finished. One maker at a time.
pub fn make_once(final_path: &Path, make: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    if final_path.exists() {
        return Ok(());
    }
    let sibling = |extension: &str| {
        let mut name = final_path.file_name().unwrap_or_default().to_os_string();
        name.push(extension);
        final_path.with_file_name(name)
    };
    let lock = File::create(sibling(".lock"))?;
    flock(&lock, FlockOperation::LockExclusive).context("cannot lock the cache")?;
    if final_path.exists() {
        return Ok(());
    }
    let partial = sibling(".partial");
    if partial.exists() {
        fs::remove_dir_all(&partial)
            .with_context(|| format!("cannot remove what is left in {}", partial.display()))?;
    }
    fs::create_dir(&partial).with_context(|| format!("cannot create {}", partial.display()))?;
    make(&partial)?;
    fs::rename(&partial, final_path)
        .with_context(|| format!("cannot move {} into place", final_path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_tell_parts_apart() {
        let key = |parts: &[&str]| key(parts.iter().map(|part| part.as_bytes()));
        assert_eq!(key(&["ab", "c"]).len(), 12);
        assert_ne!(key(&["ab", "c"]), key(&["a", "bc"]));
    }

    #[test]
    fn an_interrupted_make_is_started_again() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("thing");
        let failed = make_once(&path, |partial| {
            fs::write(partial.join("half"), "")?;
            anyhow::bail!("interrupted")
        });
        assert!(failed.is_err() && !path.exists());
        make_once(&path, |partial| Ok(fs::write(partial.join("whole"), "")?))?;
        assert!(path.join("whole").exists() && !path.join("half").exists());
        make_once(&path, |_| anyhow::bail!("made twice"))
    }
}
