// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Memory that packets read while control planes write.

mod arena;
mod epoch;
mod snapshot;

pub(super) use arena::{Arena, Words};
pub(super) use epoch::{Epochs, Pin, MAX_WORKERS};
pub(super) use snapshot::{Limbo, Snapshot};

/// Asks for the line of a cell to be in the cache soon. Beyond the end nothing happens.
#[inline]
pub(super) fn prefetch<T>(cells: &[T], at: usize) {
    if let Some(cell) = cells.get(at) {
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        // SAFETY: a prefetch is a hint on an address, here one of a live cell; SSE, which has it,
        // is in every x86-64.
        unsafe {
            use std::arch::x86_64::{_mm_prefetch, _MM_HINT_T0};
            _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(cell).cast());
        }
        #[cfg(not(all(target_arch = "x86_64", not(miri))))]
        let _ = cell;
    }
}
