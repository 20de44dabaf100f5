// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The form of a state that one worker hands over to the next: a document, and files in memory.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;

use rustix::fs::{memfd_create, MemfdFlags};
use serde::Serialize;

use crate::worker::{Frozen, Unfit};

/// The maximum length of a file of a state in bytes.
const MAX_FILE: u64 = 1 << 30;

/// A state that a keeper passes on.
///
/// # Errors
/// When it has no JSON form.
pub fn frozen(state: impl Serialize, fds: Vec<OwnedFd>) -> Result<Frozen, Unfit> {
    let state = serde_json::to_value(state).map_err(|error| Unfit::busy(error.to_string()))?;
    Ok(Frozen { state, fds })
}

/// A file in memory with this content.
///
/// # Errors
/// When the system has no memory or descriptors for it.
pub fn file_of(name: &str, bytes: &[u8]) -> io::Result<OwnedFd> {
    let mut file = File::from(memfd_create(name, MemfdFlags::CLOEXEC)?);
    file.write_all(bytes)?;
    Ok(file.into())
}

/// The content of a file of a state.
///
/// # Errors
/// When it is too long, or cannot be read.
pub fn read_file(fd: OwnedFd) -> io::Result<Vec<u8>> {
    let mut file = File::from(fd);
    let len = file.metadata()?.len();
    if len > MAX_FILE {
        let text = format!("a file of the state has {len} bytes: at most {MAX_FILE}");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
    }
    file.seek(SeekFrom::Start(0))?;
    let mut bytes = Vec::with_capacity(len as usize);
    file.take(MAX_FILE).read_to_end(&mut bytes)?;
    Ok(bytes)
}
