// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Paths of the repository, of build output and of the cache.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{bail, Context, Result};
use rustix::fs::{flock, statvfs, FlockOperation};
use sha2::{Digest, Sha256};

/// Returns the root of the repository.
pub fn repo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .map(Path::to_path_buf)
        .unwrap_or_default()
}

/// Returns Cargo's target folder.
pub fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| repo().join("target"), PathBuf::from)
}

/// Returns the folder of logs and run files of guests.
pub fn guests() -> PathBuf {
    target().join("guest")
}

/// Returns the folder that is writable from host and guest (`/scratch`).
pub fn scratch() -> Result<PathBuf> {
    let path = target().join("scratch");
    fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
    Ok(path)
}

/// Returns the user's cache folder for files that are costly to build (`$XDG_CACHE_HOME/adit`,
/// `~/.cache/adit`).
pub fn cache() -> Result<PathBuf> {
    let base = env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")))
        .context("neither XDG_CACHE_HOME nor HOME is set: set XDG_CACHE_HOME to a folder with 5 GB of room")?;
    let path = base.join("adit");
    fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
    Ok(path)
}

/// Returns a cache key: the first 12 hexadecimal digits of the SHA-256 of `parts`.
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

/// Refuses to begin `what` if the file system of `folder` has less than `bytes` available: running
/// out of space in the middle causes errors that do not name it.
pub fn need_room(folder: &Path, bytes: u64, what: &str) -> Result<()> {
    const GB: u64 = 1_000_000_000;
    let cannot = || format!("cannot determine the free space at {}", folder.display());
    let disk = statvfs(folder).with_context(cannot)?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    if free < bytes {
        bail!(
            "{what} needs {}.{} GB of room at {} and finds {}.{}: `cargo xtask clean --unused 7` \
             removes from the cache what was not used for a week",
            bytes / GB,
            bytes % GB / (GB / 10),
            folder.display(),
            free / GB,
            free % GB / (GB / 10),
        );
    }
    Ok(())
}

/// Returns a path's sibling, of the same name with `extension` added.
fn sibling(path: &Path, extension: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(extension);
    path.with_file_name(name)
}

/// Builds `final_path` once: `make` fills a temporary folder next to it, which is renamed when it
/// is complete, so that an interruption leaves nothing that looks finished. One builder at a time.
/// The modification time of the lock file next to it is the time of the last request.
pub fn make_once(final_path: &Path, make: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let lock = File::create(sibling(final_path, ".lock"))?;
    lock.set_modified(SystemTime::now())?;
    if final_path.exists() {
        return Ok(());
    }
    flock(&lock, FlockOperation::LockExclusive).context("cannot lock the cache")?;
    if final_path.exists() {
        return Ok(());
    }
    let partial = sibling(final_path, ".partial");
    if partial.exists() {
        fs::remove_dir_all(&partial)
            .with_context(|| format!("cannot remove what is left in {}", partial.display()))?;
    }
    fs::create_dir(&partial).with_context(|| format!("cannot create {}", partial.display()))?;
    make(&partial)?;
    fs::rename(&partial, final_path)
        .with_context(|| format!("cannot move {} into place", final_path.display()))
}

/// Returns the results of [`make_once`] in `folder` that were not requested since `then`.
pub fn unused_since(folder: &Path, then: SystemTime) -> Result<Vec<PathBuf>> {
    let mut unused = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if !path.is_dir() {
            continue;
        }
        // A folder without a lock predates the lock's time stamps, or was left incomplete.
        let used = fs::metadata(sibling(&path, ".lock")).or_else(|_| fs::metadata(&path))?;
        if used.modified()? < then {
            unused.push(path);
        }
    }
    unused.sort();
    Ok(unused)
}

/// Removes a result of [`make_once`], with its lock and log.
pub fn unmake(path: &Path) -> Result<()> {
    let cannot = || format!("cannot remove {}", path.display());
    fs::remove_dir_all(path).with_context(cannot)?;
    for extension in [".lock", ".log"] {
        let file = sibling(path, extension);
        if file.exists() {
            fs::remove_file(&file).with_context(cannot)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_nobody_asks_for_is_unused() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let [old, new] = ["old", "new"].map(|name| folder.path().join(name));
        for path in [&old, &new] {
            make_once(path, |partial| Ok(fs::write(partial.join("file"), "")?))?;
        }
        let long_ago = SystemTime::now() - Duration::from_secs(1_000);
        for path in [&old, &new] {
            File::open(sibling(path, ".lock"))?.set_modified(long_ago)?;
        }
        make_once(&new, |_| anyhow::bail!("made twice"))?;
        let then = SystemTime::now() - Duration::from_secs(500);
        assert_eq!(
            unused_since(folder.path(), then)?,
            std::slice::from_ref(&old)
        );
        unmake(&old)?;
        assert!(!old.exists() && !sibling(&old, ".lock").exists() && new.exists());
        Ok(())
    }

    #[test]
    fn too_little_room_is_said_before_it_runs_out() -> Result<()> {
        let folder = tempfile::tempdir()?;
        need_room(folder.path(), 0, "nothing")?;
        let error = need_room(folder.path(), u64::MAX, "too much").unwrap_err();
        assert!(error
            .to_string()
            .starts_with("too much needs 18446744073.7 GB of room at "));
        Ok(())
    }

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
