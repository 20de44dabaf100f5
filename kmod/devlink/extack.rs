// SPDX-License-Identifier: GPL-2.0

//! Error messages in words for the user whose request was refused.
//!
//! C header: [`include/linux/netlink.h`](srctree/include/linux/netlink.h)

use adit_bindings as bindings;
use kernel::{
    fmt,
    prelude::*,
    str::NullTerminatedFormatter, //
};

/// Netlink's extended acknowledgment of the request that a callback handles.
#[derive(Clone, Copy)]
pub(super) struct Extack(*mut bindings::netlink_ext_ack);

impl Extack {
    /// # Safety
    ///
    /// `raw` is null, or valid and exclusive to the caller until the callback returns.
    pub(super) unsafe fn new(raw: *mut bindings::netlink_ext_ack) -> Self {
        Self(raw)
    }

    /// Reports the reason, and returns `error`.
    pub(super) fn refuse(self, error: Error, why: fmt::Arguments<'_>) -> Error {
        if !self.0.is_null() {
            // SAFETY: By the requirement of `new()`.
            let raw = unsafe { &mut *self.0 };
            let buffer: *mut [c_char] = &raw mut raw._msg_buf;
            // SAFETY: The buffer lives as long as the acknowledgment; bytes for characters.
            let bytes = unsafe { &mut *(buffer as *mut [u8]) };
            if let Some(mut text) = NullTerminatedFormatter::new(bytes) {
                // Text that does not fit is truncated.
                let _ = fmt::Write::write_fmt(&mut text, why);
            }
            raw._msg = buffer.cast();
        }
        error
    }
}
