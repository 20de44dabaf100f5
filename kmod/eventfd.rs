// SPDX-License-Identifier: GPL-2.0

//! Eventfds that a process has passed in.
//!
//! C header: [`include/linux/eventfd.h`](srctree/include/linux/eventfd.h)

use adit_bindings as bindings;
use core::ptr::NonNull;
use kernel::{
    error::from_err_ptr,
    prelude::*, //
};

/// A reference to an eventfd.
///
/// # Invariants
///
/// The pointer is valid; `drop()` releases the reference.
pub(crate) struct EventFd(NonNull<bindings::eventfd_ctx>);

// SAFETY: An eventfd may be signalled and released in any context.
unsafe impl Send for EventFd {}
// SAFETY: As above.
unsafe impl Sync for EventFd {}

impl EventFd {
    /// Returns the eventfd with descriptor `fd` in the calling process.
    pub(crate) fn from_fd(fd: c_int) -> Result<Self> {
        // SAFETY: Any number may be passed.
        let ctx = from_err_ptr(unsafe { bindings::eventfd_ctx_fdget(fd) })?;
        // INVARIANT: `eventfd_ctx_fdget()` took the reference.
        NonNull::new(ctx).map(Self).ok_or(EBADF)
    }

    /// Adds 1 to its counter, which wakes its waiters.
    pub(crate) fn signal(&self) {
        // SAFETY: The pointer is valid by the type invariant.
        unsafe { bindings::eventfd_signal_mask(self.0.as_ptr(), 0) };
    }
}

impl Drop for EventFd {
    fn drop(&mut self) {
        // SAFETY: The reference is ours by the type invariant.
        unsafe { bindings::eventfd_ctx_put(self.0.as_ptr()) };
    }
}
