// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Files that may not exist, files that appear complete or not at all, and files of bounded size.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{ensure, Context, Result};

/// The maximum size of a file that is read as text, in bytes.
const MAX_TEXT: u64 = 256 << 20;

/// Reads a file as text, or standard input if the path is `-`; at most [`MAX_TEXT`].
pub(crate) fn read_text(path: &Path) -> Result<String> {
    let mut text = String::new();
    let context = || format!("reading {}", path.display());
    let mut take = |from: &mut dyn Read| from.take(MAX_TEXT + 1).read_to_string(&mut text);
    match path.to_str() {
        Some("-") => take(&mut io::stdin().lock()).context("reading standard input")?,
        _ => take(&mut fs::File::open(path).with_context(context)?).with_context(context)?,
    };
    ensure!(
        text.len() as u64 <= MAX_TEXT,
        "{}: more than {} MiB",
        path.display(),
        MAX_TEXT >> 20
    );
    Ok(text)
}

/// Removes a file, if it exists.
pub(crate) fn remove(path: &Path) -> Result<()> {
    remove_if_any(path).with_context(|| path.display().to_string())
}

fn remove_if_any(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        // Where a folder was, there may be a file by now.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(())
        }
        result => result,
    }
}

/// Creates a file with this content, atomically; fails with `AlreadyExists` if there is one.
pub(crate) fn create_new(path: &Path, content: &[u8]) -> io::Result<()> {
    let draft = draft(path, content)?;
    let linked = fs::hard_link(&draft, path);
    remove_if_any(&draft)?;
    linked
}

/// Creates or replaces a file, atomically.
pub(crate) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let draft = draft(path, content)?;
    fs::rename(&draft, path).inspect_err(|_| {
        let _ = fs::remove_file(&draft);
    })
}

/// Writes the content to another file in the folder of `path`. Another user may be able to write to
/// that folder: whatever has the draft's name already is removed, and a link is not followed.
fn draft(path: &Path, content: &[u8]) -> io::Result<PathBuf> {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".draft");
    let draft = path.with_file_name(name);
    remove_if_any(&draft)?;
    let mut file = fs::File::create_new(&draft)?;
    if let Err(error) = file.write_all(content) {
        // The first error is the one to report.
        let _ = fs::remove_file(&draft);
        return Err(error);
    }
    Ok(draft)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_created_once_whatever_an_interrupted_write_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("web");
        fs::write(folder.path().join(".web.draft"), "half").unwrap();
        create_new(&path, b"one").unwrap();
        let error = create_new(&path, b"two").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"one");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        replace(&path, b"three").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"three");
    }

    #[test]
    fn links_in_the_folder_are_replaced_and_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let outside = tempfile::NamedTempFile::new().unwrap();
        let path = folder.path().join("web");
        for link in [".web.draft", "web"] {
            std::os::unix::fs::symlink(outside.path(), folder.path().join(link)).unwrap();
        }
        replace(&path, b"one").unwrap();
        assert_eq!(fs::read(outside.path()).unwrap(), b"");
        assert!(fs::symlink_metadata(&path).unwrap().is_file());
    }

    #[test]
    fn a_file_below_what_is_no_folder_does_not_exist() {
        let file = tempfile::NamedTempFile::new().unwrap();
        remove(&file.path().join("web")).unwrap();
    }
}
