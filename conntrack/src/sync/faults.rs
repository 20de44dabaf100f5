// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Faults of the atomic types and locks that models run with: each is weaker than what the table asks for.
//! A model proves something about the table only if it fails with one of them (`table/model/faults.rs`).

use std::cell::Cell;
use std::panic::Location;
use std::sync::atomic::Ordering;

/// A fault.
#[cfg_attr(not(test), allow(dead_code, reason = "models are tests"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Fences of this order do nothing.
    NoFence(Ordering),
    /// The atomic operations of the file with this name order nothing.
    Unordered(&'static str),
    /// The upper half of what the file with this name exchanges in words of 64 bits is zero.
    NoVersion(&'static str),
    /// Locks exclude other threads, but do not show them what was done under the lock.
    UnorderedLock,
}

thread_local! {
    /// All threads of a model run on one of the system's.
    static CURRENT: Cell<Option<Fault>> = const { Cell::new(None) };
}

/// The fault with which the current model runs.
pub(super) fn current() -> Option<Fault> {
    CURRENT.get()
}

fn is_in(file: &str, caller: &Location<'_>) -> bool {
    caller.file().ends_with(&format!("/{file}"))
}

/// The order of an operation, or a weaker one.
#[track_caller]
pub(super) fn order(order: Ordering) -> Ordering {
    match current() {
        Some(Fault::Unordered(file)) if is_in(file, Location::caller()) => Ordering::Relaxed,
        _ => order,
    }
}

/// Reports whether exchanged words lose their upper half.
#[track_caller]
pub(super) fn loses_versions() -> bool {
    matches!(current(), Some(Fault::NoVersion(file)) if is_in(file, Location::caller()))
}

/// Runs a model with a fault.
#[cfg(test)]
pub(crate) fn with(fault: Fault, model: impl FnOnce()) {
    /// Ends the fault, also if the model panics.
    struct End;
    impl Drop for End {
        fn drop(&mut self) {
            CURRENT.set(None);
        }
    }
    let _end = End;
    CURRENT.set(Some(fault));
    model();
}
