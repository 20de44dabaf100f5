// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The atomic types and locks of the table. With the feature `loom` they are loom's, and its models
//! (`table/model.rs`) run all orders in which threads may use the table.

#[cfg(feature = "loom")]
mod faults;
#[cfg(feature = "loom")]
mod of_loom;

#[cfg(all(test, feature = "loom"))]
pub(crate) use faults::{with as with_fault, Fault};
#[cfg(feature = "loom")]
pub(crate) use of_loom::{
    fence, unlock_fairly, AtomicU16, AtomicU32, AtomicU64, AtomicU8, AtomicUsize, Mutex, MutexGuard,
};
#[cfg(not(feature = "loom"))]
pub(crate) use parking_lot::{Mutex, MutexGuard};
#[cfg(not(feature = "loom"))]
pub(crate) use std::sync::atomic::{fence, AtomicU16, AtomicU32, AtomicU64, AtomicU8, AtomicUsize};

/// Gives a lock to the thread that waits for it, if one does: the caller will want it again at once.
#[cfg(not(feature = "loom"))]
pub(crate) fn unlock_fairly<T>(guard: MutexGuard<'_, T>) {
    MutexGuard::unlock_fair(guard);
}
