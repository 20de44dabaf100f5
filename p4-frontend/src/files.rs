// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Included files in the file system. Nothing else here reads any.

use std::path::{Path, PathBuf};

use crate::source::Includes;

/// Looks for an included file beside the one that names it, then in folders.
#[derive(Clone, Debug, Default)]
pub struct Folders(pub Vec<PathBuf>);

impl Includes for Folders {
    fn include(&self, path: &str, from: Option<&str>) -> Option<(String, String)> {
        let beside = from.and_then(|from| Path::new(from).parent());
        let folders = beside
            .into_iter()
            .chain(self.0.iter().map(PathBuf::as_path));
        folders.map(|folder| folder.join(path)).find_map(|file| {
            let text = std::fs::read(&file).ok()?;
            let text = String::from_utf8_lossy(&text).into_owned();
            Some((file.display().to_string(), text))
        })
    }
}
