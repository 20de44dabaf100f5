// SPDX-License-Identifier: Apache-2.0 OR MIT
//! loom's lock with the functions of `parking_lot`'s.

pub(crate) use loom::sync::MutexGuard;

/// A lock that is never poisoned: a model ends with the first panic.
pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Mutex(loom::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        match self.0.lock() {
            Ok(guard) => guard,
            Err(poisoned) => poisoned.into_inner(),
        }
    }
}

/// Gives a lock back: loom tries every order of those that wait.
pub(crate) fn unlock_fairly<T>(guard: MutexGuard<'_, T>) {
    drop(guard);
}
