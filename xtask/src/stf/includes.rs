// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Included files: beside the file that names them, or in folders.

use std::path::{Path, PathBuf};

use adit_p4_frontend::source::Includes;

pub(super) struct Folders(pub(super) Vec<PathBuf>);

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
