// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The writer of a capture: little-endian, with timestamps in nanoseconds.

use std::fs::File;
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{fallocate, FallocateFlags};
use rustix::io::Errno;
use zerocopy::little_endian::{I32, U16, U32};
use zerocopy::{Immutable, IntoBytes};

use super::LINKTYPE_ETHERNET;
use crate::wire::MAX_FRAME_LEN;

/// The magic number for timestamps in seconds and nanoseconds.
const MAGIC_NANOSECONDS: u32 = 0xa1b2_3c4d;

#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct FileHeader {
    magic: U32,
    version_major: U16,
    version_minor: U16,
    reserved: [U32; 2],
    snap_len: U32,
    link_type: I32,
}

#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct RecordHeader {
    seconds: U32,
    nanoseconds: U32,
    captured_len: U32,
    original_len: U32,
}

const RECORD_HEADER_LEN: usize = size_of::<RecordHeader>();

/// A file to which records are appended, each with one write: a reader sees whole records only.
pub(super) struct Recorder {
    file: File,
    /// The length of the header and the whole records so far, in bytes.
    len: u64,
    record: Vec<u8>,
}

impl Recorder {
    pub(super) fn new(file: File) -> io::Result<Self> {
        let header = FileHeader {
            magic: MAGIC_NANOSECONDS.into(),
            version_major: 2.into(),
            version_minor: 4.into(),
            reserved: [U32::ZERO; 2],
            snap_len: (MAX_FRAME_LEN as u32).into(),
            link_type: LINKTYPE_ETHERNET.into(),
        };
        file.write_all_at(header.as_bytes(), 0)?;
        let record = Vec::with_capacity(RECORD_HEADER_LEN + MAX_FRAME_LEN);
        Ok(Self {
            file,
            len: size_of::<FileHeader>() as u64,
            record,
        })
    }

    /// Continues a file that has a header.
    #[cfg(test)]
    pub(super) fn resumed(file: File) -> Self {
        Self {
            file,
            len: size_of::<FileHeader>() as u64,
            record: Vec::with_capacity(RECORD_HEADER_LEN + MAX_FRAME_LEN),
        }
    }

    /// Checks that there is space for the longest record.
    ///
    /// # Errors
    /// Fails with the reason when there is none.
    pub(super) fn has_room(&self) -> io::Result<()> {
        let len = (RECORD_HEADER_LEN + MAX_FRAME_LEN) as u64;
        // Blocks are reserved without changing the file's length.
        match fallocate(&self.file, FallocateFlags::KEEP_SIZE, self.len, len) {
            // File systems without this call are tested by the next frame.
            Ok(()) | Err(Errno::OPNOTSUPP) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Appends a frame of `len` bytes, at most [`MAX_FRAME_LEN`].
    pub(super) fn write(&mut self, frame: &[IoSlice<'_>], len: usize) -> io::Result<()> {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let header = RecordHeader {
            // The format's seconds wrap in 2106.
            seconds: (now.as_secs() as u32).into(),
            nanoseconds: now.subsec_nanos().into(),
            captured_len: (len as u32).into(),
            original_len: (len as u32).into(),
        };
        self.record.clear();
        self.record.extend_from_slice(header.as_bytes());
        for slice in frame {
            self.record.extend_from_slice(slice);
        }
        if let Err(error) = self.file.write_all_at(&self.record, self.len) {
            // A full disk may have stored part of a record. If that cannot be truncated, the next
            // write still starts at the same offset.
            let _ = self.file.set_len(self.len);
            return Err(error);
        }
        self.len += self.record.len() as u64;
        Ok(())
    }
}
