// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The path by which others can start this program later.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{absolute, Path, PathBuf};

use anyhow::{Context, Result};

/// Returns the absolute path that this program was started by. A link in it is kept: an upgrade
/// replaces what it leads to, and the kernel's path of a running program (`/proc/self/exe`) is then
/// that of a file which no longer exists.
///
/// # Errors
/// The program was removed or replaced after its start.
pub(crate) fn path() -> Result<PathBuf> {
    let own = identity(Path::new("/proc/self/exe")).context("cannot read /proc/self/exe")?;
    let name = env::args_os().next().unwrap_or_default();
    let found = candidates(&name, env::var_os("PATH").as_deref().unwrap_or_default())
        .chain(env::current_exe().ok())
        .find(|path| identity(path) == Some(own));
    found.with_context(|| {
        let name = name.to_string_lossy();
        format!("the program that was started as `{name}` was removed or replaced: start it again")
    })
}

/// Returns the absolute paths that the shell may have found `name` at.
fn candidates(name: &OsStr, search: &OsStr) -> impl Iterator<Item = PathBuf> {
    let name = Path::new(name);
    let folders = match name.components().count() {
        1 => env::split_paths(search).collect(),
        _ => vec![PathBuf::new()],
    };
    let paths = folders.into_iter().map(move |folder| folder.join(name));
    let paths: Vec<_> = paths.filter_map(|path| absolute(path).ok()).collect();
    paths.into_iter()
}

/// Returns the device and inode of a file.
fn identity(path: &Path) -> Option<(u64, u64)> {
    let file = fs::metadata(path).ok()?;
    Some((file.dev(), file.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_found_where_it_was_started() {
        let path = path().unwrap();
        assert!(path.is_absolute());
        assert_eq!(identity(&path), identity(Path::new("/proc/self/exe")));
    }

    #[test]
    fn names_are_searched_for_and_paths_are_not() {
        let all = |name: &str| -> Vec<_> {
            candidates(OsStr::new(name), OsStr::new("/usr/bin:/opt/adit")).collect()
        };
        assert_eq!(
            all("adit"),
            [Path::new("/usr/bin/adit"), Path::new("/opt/adit/adit")]
        );
        assert_eq!(all("/opt/link/adit"), [Path::new("/opt/link/adit")]);
        let here = env::current_dir().unwrap();
        assert_eq!(all("bin/adit"), [here.join("bin/adit")]);
    }
}
