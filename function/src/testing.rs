// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Guest memory and drivers for tests.

pub mod adi;
mod choices;
pub mod driver;
pub mod seeded;

pub use choices::Choices;

use std::os::fd::OwnedFd;

use rustix::fs::{fcntl_add_seals, ftruncate, memfd_create, MemfdFlags, SealFlags};

use crate::memory::{Access, GuestMemory};

/// The first address of [`ram`].
pub const RAM: u64 = 0x10_0000;
/// The size of [`ram`] in bytes.
pub const RAM_LEN: u64 = 0x10_0000;

/// A file such as QEMU backs guest memory with.
///
/// # Panics
/// When the host has no memory.
#[must_use]
pub fn sealed(len: u64) -> OwnedFd {
    let fd = memfd_create("ram", MemfdFlags::ALLOW_SEALING).expect("memfd");
    ftruncate(&fd, len).expect("memfd size");
    fcntl_add_seals(&fd, SealFlags::SHRINK).expect("memfd seal");
    fd
}

/// Memory with [`RAM_LEN`] bytes at [`RAM`], zeroed.
///
/// # Panics
/// When the host has no memory.
#[must_use]
pub fn ram() -> GuestMemory {
    let mut mem = GuestMemory::new();
    let access = Access {
        read: true,
        write: true,
    };
    mem.map(RAM, RAM_LEN, access, Some((sealed(RAM_LEN), 0)))
        .expect("an empty map");
    mem
}
