// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Programs and include files in the file system. No other module of this crate reads files.

use std::fs::{self, OpenOptions};
use std::io::{Error, ErrorKind, Read, Result};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::source::{Includes, MAX_SOURCE_BYTES};

/// Directories that `#include` searches, after that of the file with the directive.
#[derive(Clone, Debug, Default)]
pub struct Folders(pub Vec<PathBuf>);

impl Includes for Folders {
    fn include(
        &self,
        path: &str,
        from: Option<&str>,
    ) -> std::result::Result<Option<(String, String)>, String> {
        let beside = from.and_then(|from| Path::new(from).parent());
        let folders = beside
            .into_iter()
            .chain(self.0.iter().map(PathBuf::as_path));
        let mut refused = None;
        for file in folders.map(|folder| folder.join(path)) {
            match read(&file) {
                Ok(text) => return Ok(Some((file.display().to_string(), text))),
                Err(error) if is_absent(&error) => {}
                // A later directory may have a readable one.
                Err(error) => refused = refused.or(Some(format!("{}: {error}", file.display()))),
            }
        }
        match refused {
            Some(why) => Err(why),
            None => Ok(None),
        }
    }
}

fn is_absent(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

/// Reads a regular file of at most `MAX_SOURCE_BYTES`. Invalid UTF-8 is replaced.
///
/// Does not block, and does not open anything but a regular file: opening a device may have side
/// effects, and opening a FIFO waits for a writer.
///
/// # Errors
/// Those of `open` and `read`; `InvalidInput` if it is not a regular file, `FileTooLarge` if it is
/// larger.
pub fn read(path: &Path) -> Result<String> {
    regular(&fs::metadata(path)?)?;
    // A FIFO may have replaced the file in between: opened so that it does not block.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)?;
    regular(&file.metadata()?)?;
    let mut bytes = Vec::new();
    file.take(MAX_SOURCE_BYTES as u64 + 1)
        .read_to_end(&mut bytes)?;
    match bytes.len() > MAX_SOURCE_BYTES {
        true => Err(too_large()),
        false => Ok(String::from_utf8_lossy(&bytes).into_owned()),
    }
}

fn regular(metadata: &fs::Metadata) -> Result<()> {
    if !metadata.is_file() {
        let what = match metadata.is_dir() {
            true => "a directory, not a file",
            false => "a device, FIFO or socket, not a regular file",
        };
        return Err(Error::new(ErrorKind::InvalidInput, what));
    }
    match metadata.len() > MAX_SOURCE_BYTES as u64 {
        true => Err(too_large()),
        false => Ok(()),
    }
}

fn too_large() -> Error {
    let message = format!("larger than {MAX_SOURCE_BYTES} bytes, the most that a program may have");
    Error::new(ErrorKind::FileTooLarge, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{check, Options};

    /// The rendered diagnostics of a program that includes `path`.
    fn refused(path: &str) -> String {
        let text = format!("#include \"{path}\"\n");
        let checked = check("test.p4", &text, &Folders::default(), &Options::default());
        checked.diagnostics.render(&checked.sources)
    }

    #[test]
    fn devices_directories_and_fifos_are_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        let made = std::process::Command::new("mkfifo").arg(&fifo).status();
        assert!(made.unwrap().success());
        for path in ["/dev/zero", "/dev/stdin/", &*fifo.display().to_string()] {
            let why = refused(path);
            assert!(why.contains(path), "{path}: {why}");
        }
        let why = refused("/dev/zero");
        assert!(
            why.contains("test.p4:1:1") && why.contains("not a regular file"),
            "{why}"
        );
        let why = refused(&fifo.display().to_string());
        assert!(why.contains("not a regular file"), "{why}");
        let why = refused(&folder.path().display().to_string());
        assert!(why.contains("a directory, not a file"), "{why}");
    }

    #[test]
    fn files_have_a_largest_size() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("large.p4");
        fs::write(&path, vec![b' '; MAX_SOURCE_BYTES]).unwrap();
        assert_eq!(read(&path).unwrap().len(), MAX_SOURCE_BYTES);
        fs::write(&path, vec![b' '; MAX_SOURCE_BYTES + 1]).unwrap();
        assert_eq!(read(&path).unwrap_err().kind(), ErrorKind::FileTooLarge);
        let why = refused(&path.display().to_string());
        assert!(why.contains("larger than 8388608 bytes"), "{why}");
        // A file that reports a size of 0 but has contents.
        assert!(read(Path::new("/proc/self/maps")).is_ok());
    }

    #[test]
    fn a_file_is_found_beside_the_one_that_includes_it_and_then_in_folders() {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir(a.path().join("x.p4")).unwrap();
        fs::write(b.path().join("x.p4"), "right").unwrap();
        let folders = Folders(vec![a.path().to_owned(), b.path().to_owned()]);
        let found = folders.include("x.p4", None).unwrap();
        assert_eq!(found.unwrap().1, "right", "a directory is not taken for it");
        assert_eq!(folders.include("y.p4", None), Ok(None));
        assert!(folders.include("..", None).is_err());
    }
}
