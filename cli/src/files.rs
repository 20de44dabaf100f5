// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Files that may not exist.

use std::fs;
use std::io;
use std::path::Path;

use anyhow::{Context, Result};

/// Removes a file, if it exists.
pub(crate) fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| path.display().to_string())
        }
        _ => Ok(()),
    }
}
