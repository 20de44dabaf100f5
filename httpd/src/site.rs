// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The files that are served: an index of a folder, and the contents in memory up to a bound.
//!
//! The index is made when the server starts. A request looks its path up there: what is not in the
//! index, such as a path that leads out of the folder, is not found, and no name of a client reaches the
//! file system.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use thiserror::Error;

/// The maximum number of files.
const MAX_FILES: usize = 100_000;
/// The maximum depth of folders.
const MAX_DEPTH: usize = 64;

/// The reason that a folder cannot be served.
#[derive(Debug, Error)]
pub enum SiteError {
    /// The system refused access.
    #[error("{} cannot be read", path.display())]
    Io {
        /// The folder or file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// There are too many files.
    #[error("{} has more than {MAX_FILES} files, the maximum", root.display())]
    TooMany {
        /// The folder.
        root: PathBuf,
    },
    /// The folders are nested too deeply.
    #[error("{} is nested more than {MAX_DEPTH} folders deep, the maximum", path.display())]
    TooDeep {
        /// The innermost folder.
        path: PathBuf,
    },
}

/// The number of files of a site.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SiteSize {
    /// Files.
    pub files: usize,
    /// Those that are in memory.
    pub cached_files: usize,
    /// Their bytes.
    pub cached_bytes: u64,
    /// Entries that are not served: symbolic links to folders or out of the root, names that are not
    /// UTF-8, and other than files and folders.
    pub skipped: usize,
}

/// The contents of a file.
#[derive(Debug)]
pub(crate) enum Content {
    /// In memory.
    Cached(Box<[u8]>),
    /// On the disk: each part of a response is read when there is space for it.
    File(File),
}

/// A file.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) content: Content,
    pub(crate) len: u64,
    /// The fields of a response that depend on the file alone.
    pub(crate) fields: Box<str>,
    pub(crate) etag: Box<str>,
}

impl Entry {
    /// Copies bytes from `offset` on to `space`; returns their number.
    pub(crate) fn read_at(&self, space: &mut [u8], offset: u64) -> io::Result<usize> {
        match &self.content {
            Content::Cached(bytes) => {
                let rest = usize::try_from(offset).ok().and_then(|at| bytes.get(at..));
                let rest = rest.unwrap_or_default();
                let len = rest.len().min(space.len());
                space[..len].copy_from_slice(&rest[..len]);
                Ok(len)
            }
            Content::File(file) => file.read_at(space, offset),
        }
    }
}

/// The files of a folder, by the path of a request.
#[derive(Debug, Default)]
pub struct Site {
    entries: HashMap<Box<str>, Arc<Entry>>,
    size: SiteSize,
}

impl Site {
    /// Indexes the folder `root`, and reads its files, the smallest first, until they have `cache` bytes.
    ///
    /// # Errors
    /// Fails when a folder or file cannot be read, or there are too many.
    pub fn open(root: &Path, cache: u64) -> Result<Self, SiteError> {
        let root = fs::canonicalize(root).map_err(failed(root))?;
        let mut site = Self::default();
        let mut found = Vec::new();
        site.walk(&root, &root, "", 0, &mut found)?;
        found.sort_by(|a, b| (a.len, &a.path).cmp(&(b.len, &b.path)));
        for found in found {
            let cached = site.size.cached_bytes + found.len <= cache;
            let entry = entry(&found, cached)?;
            if cached {
                site.size.cached_files += 1;
                site.size.cached_bytes += entry.len;
            }
            site.size.files += 1;
            let entry = Arc::new(entry);
            if let Some(folder) = found.path.strip_suffix("index.html") {
                if folder.ends_with('/') {
                    site.entries.insert(folder.into(), Arc::clone(&entry));
                }
            }
            site.entries.insert(found.path.into(), entry);
        }
        Ok(site)
    }

    /// Returns the number of files.
    #[must_use]
    pub fn size(&self) -> SiteSize {
        self.size
    }

    pub(crate) fn find(&self, path: &str) -> Option<&Arc<Entry>> {
        self.entries.get(path)
    }

    /// Returns whether a path is that of a folder with an index, without the `/` at its end.
    pub(crate) fn is_folder(&self, path: &str) -> bool {
        self.entries.contains_key(format!("{path}/").as_str())
    }

    fn walk(
        &mut self,
        root: &Path,
        folder: &Path,
        prefix: &str,
        depth: usize,
        found: &mut Vec<Found>,
    ) -> Result<(), SiteError> {
        if depth > MAX_DEPTH {
            let path = folder.to_owned();
            return Err(SiteError::TooDeep { path });
        }
        for entry in fs::read_dir(folder).map_err(failed(folder))? {
            let entry = entry.map_err(failed(folder))?;
            let file = entry.path();
            let name = entry.file_name();
            let inside = fs::canonicalize(&file).is_ok_and(|real| real.starts_with(root));
            let Some(name) = name.to_str().filter(|_| inside) else {
                self.size.skipped += 1;
                continue;
            };
            let path = format!("{prefix}/{name}");
            let metadata = fs::metadata(&file).map_err(failed(&file))?;
            if metadata.is_dir() && file.is_symlink() {
                // Links to folders may form circles.
                self.size.skipped += 1;
            } else if metadata.is_dir() {
                self.walk(root, &file, &path, depth + 1, found)?;
            } else if metadata.is_file() {
                if found.len() == MAX_FILES {
                    let root = root.to_owned();
                    return Err(SiteError::TooMany { root });
                }
                found.push(Found {
                    len: metadata.len(),
                    modified: metadata.modified().unwrap_or(UNIX_EPOCH),
                    path,
                    file,
                });
            } else {
                self.size.skipped += 1;
            }
        }
        Ok(())
    }
}

/// A file that was found.
struct Found {
    path: String,
    file: PathBuf,
    len: u64,
    modified: SystemTime,
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> SiteError + '_ {
    |source| SiteError::Io {
        path: path.to_owned(),
        source,
    }
}

fn entry(found: &Found, cached: bool) -> Result<Entry, SiteError> {
    let file = File::open(&found.file).map_err(failed(&found.file))?;
    let mut len = found.len;
    let content = if cached {
        // At most as long as it was: a file that grows does not take more memory.
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(usize::MAX)];
        let mut at = 0;
        while at < bytes.len() {
            match file.read_at(&mut bytes[at..], at as u64) {
                Ok(0) => break,
                Ok(n) => at += n,
                Err(error) => return Err(failed(&found.file)(error)),
            }
        }
        bytes.truncate(at);
        len = at as u64;
        Content::Cached(bytes.into())
    } else {
        Content::File(file)
    };
    let since = found
        .modified
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let etag = format!("\"{:x}-{len:x}\"", since.as_nanos());
    let kind = mime_guess::from_path(&found.file).first_or_octet_stream();
    let charset = if kind.type_() == "text" {
        "; charset=utf-8"
    } else {
        ""
    };
    let mut fields = String::new();
    // Writing to a string does not fail.
    let _ = write!(fields, "Content-Type: {kind}{charset}\r\nETag: {etag}\r\n");
    // The text of a date has years of four digits.
    if since.as_secs() < 253_402_300_800 {
        let modified = httpdate::HttpDate::from(found.modified);
        let _ = write!(fields, "Last-Modified: {modified}\r\n");
    }
    Ok(Entry {
        content,
        len,
        fields: fields.into(),
        etag: etag.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn files_are_indexed_and_cached_up_to_the_bound() {
        let root = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("secret"), "s").unwrap();
        let at = |name: &str| root.path().join(name);
        fs::create_dir(at("sub")).unwrap();
        fs::write(at("index.html"), "<p>").unwrap();
        fs::write(at("sub/index.html"), "<i>").unwrap();
        fs::write(at("big"), vec![7; 1000]).unwrap();
        symlink(outside.path().join("secret"), at("out")).unwrap();
        symlink(outside.path(), at("folder")).unwrap();
        symlink(at("big"), at("alias")).unwrap();
        symlink(at("nowhere"), at("dangling")).unwrap();
        let site = Site::open(root.path(), 100).unwrap();
        let size = site.size();
        assert_eq!(
            (size.files, size.cached_files, size.cached_bytes),
            (4, 2, 6)
        );
        assert_eq!(size.skipped, 3);
        for path in [
            "/",
            "/index.html",
            "/sub/",
            "/sub/index.html",
            "/big",
            "/alias",
        ] {
            assert!(site.find(path).is_some(), "{path}");
        }
        for path in [
            "/out",
            "/folder/secret",
            "/sub",
            "/dangling",
            "",
            "/../secret",
        ] {
            assert!(site.find(path).is_none(), "{path}");
        }
        assert!(site.is_folder("/sub") && !site.is_folder("/big"));
        let mut space = [0; 600];
        let big = site.find("/big").unwrap();
        assert!(matches!(big.content, Content::File(_)));
        assert_eq!(big.read_at(&mut space, 900).unwrap(), 100);
        let index = site.find("/").unwrap();
        assert!(index
            .fields
            .contains("Content-Type: text/html; charset=utf-8\r\n"));
        assert_eq!(index.read_at(&mut space, 1).unwrap(), 2);
        assert_eq!(index.read_at(&mut space, 9).unwrap(), 0);
    }

    #[test]
    fn links_to_folders_are_not_followed() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("file"), "f").unwrap();
        symlink(root.path(), root.path().join("again")).unwrap();
        let size = Site::open(root.path(), 0).unwrap().size();
        assert_eq!((size.files, size.cached_files, size.skipped), (1, 0, 1));
    }
}
