// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A value that is replaced as a whole while workers read it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::Arc;

use super::epoch::{Epochs, Pin};

/// A value that workers read. The writer keeps an `Arc` of its own to the same value.
#[repr(transparent)]
pub(in crate::p4) struct Snapshot<T> {
    current: AtomicPtr<T>,
}

impl<T: Send + Sync> Snapshot<T> {
    /// Creates a snapshot; the caller keeps the writer's `Arc`.
    pub(in crate::p4) fn new(value: Arc<T>) -> Snapshot<T> {
        Snapshot {
            current: AtomicPtr::new(Arc::into_raw(value).cast_mut()),
        }
    }

    /// Reads the current value. `pin` must be of the epochs that [`Snapshot::replace`] is called
    /// with.
    pub(in crate::p4) fn read<'p>(&self, _pin: &'p Pin<'_>) -> &'p T {
        // SAFETY: the pointer came from `Arc::into_raw`, whose count is released only by `replace`,
        // through `limbo`, which waits until all pins that existed at the time are gone. This pin
        // existed before the pointer was loaded: `Epochs::pin` orders the two.
        unsafe { &*self.current.load(Ordering::Acquire) }
    }

    /// Replaces the value; the old one is dropped when no worker reads it.
    pub(in crate::p4) fn replace(&self, value: Arc<T>, epochs: &Epochs, limbo: &mut Limbo<Arc<T>>) {
        let new = Arc::into_raw(value).cast_mut();
        let old = self.current.swap(new, Ordering::AcqRel);
        // SAFETY: it came from `Arc::into_raw` and its count has not been released before: the swap
        // returns each pointer once.
        let old = unsafe { Arc::from_raw(old) };
        limbo.add(old, epochs);
    }
}

impl<T> Drop for Snapshot<T> {
    fn drop(&mut self) {
        // SAFETY: nothing borrows from `self` any more, and the current pointer's count is ours.
        drop(unsafe { Arc::from_raw(self.current.load(Ordering::Acquire)) });
    }
}

/// Retired values that may still be read.
#[derive(Debug)]
pub(in crate::p4) struct Limbo<T>(VecDeque<(u64, T)>);

impl<T> Default for Limbo<T> {
    fn default() -> Limbo<T> {
        Limbo(VecDeque::new())
    }
}

impl<T> Limbo<T> {
    pub(in crate::p4) fn add(&mut self, out: T, epochs: &Epochs) {
        self.0.push_back((epochs.advance(), out));
    }

    /// Passes the values that are no longer read to `each`.
    pub(in crate::p4) fn free(&mut self, epochs: &Epochs, mut each: impl FnMut(T)) {
        if self.0.is_empty() {
            return;
        }
        let oldest = epochs.oldest();
        while self.0.front().is_some_and(|(epoch, _)| *epoch <= oldest) {
            if let Some((_, out)) = self.0.pop_front() {
                each(out);
            }
        }
    }

    pub(in crate::p4) fn len(&self) -> usize {
        self.0.len()
    }
}
