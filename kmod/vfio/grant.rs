// SPDX-License-Identifier: GPL-2.0

//! The right to map register pages of an ADI, for as long as its owner has it.

use adit_bindings as bindings;
use adit_uapi::vfio::MAX_PAGES_FDS;
use core::ptr::NonNull;
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    },
};

/// The time for which an owner has an ADI, and the pages granted during it.
#[pin_data]
pub(super) struct Grant {
    #[pin]
    inner: Mutex<GrantState>,
}

struct GrantState {
    /// Set when the grant ends. Locked while a page is mapped, so that none is mapped afterwards.
    revoked: bool,
    /// Files with pages under this grant: each removes itself when it is released.
    files: KVec<Mapping>,
}

/// The address space that holds the mappings of a file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Mapping(NonNull<bindings::address_space>);

// SAFETY: The memory manager locks it itself; `GrantState` ensures that it exists.
unsafe impl Send for Mapping {}
// SAFETY: As above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Returns the address space that holds the mappings of a file.
    ///
    /// # Safety
    ///
    /// `file` is valid and has not been released, and its release removes the result from all
    /// grants that it was added to.
    pub(super) unsafe fn of(file: *mut bindings::file) -> Self {
        // SAFETY: By the function's requirement. The mapping of an open file is never null.
        Self(unsafe { NonNull::new_unchecked((*file).f_mapping) })
    }
}

impl Grant {
    /// Creates a valid grant.
    pub(super) fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                inner <- new_mutex!(GrantState {
                    revoked: false,
                    files: KVec::new(),
                }),
            }),
            GFP_KERNEL,
        )
    }

    /// Revokes the grant: no page is mapped under it when this returns, nor ever again.
    pub(super) fn revoke(&self) {
        let mut inner = self.inner.lock();
        inner.revoked = true;
        for mapping in &inner.files {
            // SAFETY: The file has not been released, or it would have removed itself, under this
            // lock. Pages of other grants are mapped again when they are accessed.
            unsafe { bindings::unmap_mapping_range(mapping.0.as_ptr(), 0, 0, 1) };
        }
    }

    /// Returns whether the grant was revoked.
    pub(super) fn is_revoked(&self) -> bool {
        self.inner.lock().revoked
    }

    /// Adds a file that has pages under this grant. Fails with `EIO` when the grant was revoked,
    /// and with `ENOSPC` when there are too many files already.
    pub(super) fn add_file(&self, mapping: Mapping) -> Result {
        let mut inner = self.inner.lock();
        if inner.revoked {
            return Err(EIO);
        }
        if inner.files.contains(&mapping) {
            return Ok(());
        }
        if inner.files.len() >= MAX_PAGES_FDS as usize {
            return Err(ENOSPC);
        }
        inner.files.push(mapping, GFP_KERNEL_ACCOUNT)?;
        Ok(())
    }

    /// Removes a file that is being released.
    pub(super) fn remove_file(&self, mapping: Mapping) {
        self.inner.lock().files.retain(|other| *other != mapping);
    }

    /// Calls `map` with whether the grant was revoked, which does not change meanwhile.
    pub(super) fn while_mapping<R>(&self, map: impl FnOnce(bool) -> R) -> R {
        let inner = self.inner.lock();
        map(inner.revoked)
    }
}
