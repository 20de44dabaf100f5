// SPDX-License-Identifier: Apache-2.0 OR MIT
//! loom's atomic types and its lock with the functions of `parking_lot`'s, all with the faults of
//! [`faults`](super::faults).

use std::ops::{Deref, DerefMut};
use std::sync::atomic::Ordering;

use loom::sync::atomic::AtomicBool;

use super::faults::{self, Fault};

/// A fence.
pub(crate) fn fence(order: Ordering) {
    if faults::current() != Some(Fault::NoFence(order)) {
        loom::sync::atomic::fence(order);
    }
}

macro_rules! atomic {
    ($name:ident, $value:ty) => {
        #[derive(Debug, Default)]
        pub(crate) struct $name(loom::sync::atomic::$name);

        #[allow(
            dead_code,
            reason = "the types have the same functions, not all of which are used"
        )]
        impl $name {
            #[track_caller]
            pub(crate) fn new(value: $value) -> Self {
                $name(loom::sync::atomic::$name::new(value))
            }

            #[track_caller]
            pub(crate) fn load(&self, order: Ordering) -> $value {
                self.0.load(faults::order(order))
            }

            #[track_caller]
            pub(crate) fn store(&self, value: $value, order: Ordering) {
                self.0.store(value, faults::order(order));
            }

            #[track_caller]
            pub(crate) fn swap(&self, value: $value, order: Ordering) -> $value {
                self.0.swap(value, faults::order(order))
            }

            #[track_caller]
            pub(crate) fn fetch_or(&self, value: $value, order: Ordering) -> $value {
                self.0.fetch_or(value, faults::order(order))
            }

            #[track_caller]
            pub(crate) fn fetch_add(&self, value: $value, order: Ordering) -> $value {
                self.0.fetch_add(value, faults::order(order))
            }

            #[track_caller]
            pub(crate) fn fetch_sub(&self, value: $value, order: Ordering) -> $value {
                self.0.fetch_sub(value, faults::order(order))
            }

            #[track_caller]
            pub(crate) fn compare_exchange_weak(
                &self,
                current: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                let kept = <$value>::MAX
                    >> if faults::loses_versions() {
                        <$value>::BITS / 2
                    } else {
                        0
                    };
                let (success, failure) = (faults::order(success), faults::order(failure));
                self.0
                    .compare_exchange_weak(current, new & kept, success, failure)
            }
        }
    };
}

atomic!(AtomicU8, u8);
atomic!(AtomicU16, u16);
atomic!(AtomicU32, u32);
atomic!(AtomicU64, u64);
atomic!(AtomicUsize, usize);

/// A lock that is never poisoned: a model ends with the first panic.
pub(crate) enum Mutex<T> {
    Ordered(loom::sync::Mutex<T>),
    /// As with [`Fault::UnorderedLock`]: the flag, which excludes, and the value, in a lock that is not a part
    /// of the model and never waits.
    Unordered(AtomicBool, parking_lot::Mutex<T>),
}

pub(crate) enum MutexGuard<'a, T> {
    Ordered(loom::sync::MutexGuard<'a, T>),
    /// The value is given back before the flag is cleared.
    Unordered(&'a AtomicBool, Option<parking_lot::MutexGuard<'a, T>>),
}

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        match faults::current() {
            Some(Fault::UnorderedLock) => {
                Mutex::Unordered(AtomicBool::new(false), parking_lot::Mutex::new(value))
            }
            _ => Mutex::Ordered(loom::sync::Mutex::new(value)),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        match self {
            Mutex::Ordered(lock) => MutexGuard::Ordered(match lock.lock() {
                Ok(guard) => guard,
                Err(poisoned) => poisoned.into_inner(),
            }),
            Mutex::Unordered(is_locked, value) => {
                while is_locked.swap(true, Ordering::Relaxed) {
                    loom::thread::yield_now();
                }
                MutexGuard::Unordered(is_locked, value.try_lock())
            }
        }
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        match self {
            MutexGuard::Ordered(guard) => guard,
            MutexGuard::Unordered(_, value) => value.as_ref().expect("the flag excludes others"),
        }
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        match self {
            MutexGuard::Ordered(guard) => guard,
            MutexGuard::Unordered(_, value) => value.as_mut().expect("the flag excludes others"),
        }
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        if let MutexGuard::Unordered(is_locked, value) = self {
            *value = None;
            // A panic ends the model, which would otherwise change threads in the middle of it.
            if !std::thread::panicking() {
                is_locked.store(false, Ordering::Relaxed);
            }
        }
    }
}

/// Gives a lock back: loom tries every order of those that wait.
pub(crate) fn unlock_fairly<T>(guard: MutexGuard<'_, T>) {
    drop(guard);
}
