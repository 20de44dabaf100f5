// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A value that is replaced as a whole while workers read it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::Arc;

use super::epoch::{Epochs, Pin};

/// A value that workers read. Who writes keeps the same value in an `Arc` of its own.
pub(in crate::p4) struct Snapshot<T> {
    current: AtomicPtr<T>,
}

impl<T: Send + Sync> Snapshot<T> {
    /// The writer's part comes with it.
    pub(in crate::p4) fn new(value: Arc<T>) -> Snapshot<T> {
        Snapshot {
            current: AtomicPtr::new(Arc::into_raw(value).cast_mut()),
        }
    }

    /// What is current. `pin` is of the engine whose epochs [`Snapshot::replace`] gets.
    pub(in crate::p4) fn read<'p>(&self, _pin: &'p Pin<'_>) -> &'p T {
        // SAFETY: the pointer came from `Arc::into_raw`, whose count is given up by `replace`
        // through `limbo` alone, which waits until no pin that was there at the time is left. This
        // pin was there before the pointer was loaded: `Epochs::pin` orders the two.
        unsafe { &*self.current.load(Ordering::Acquire) }
    }

    /// Puts another value in its place; the old one goes when nobody reads it.
    pub(in crate::p4) fn replace(&self, value: Arc<T>, epochs: &Epochs, limbo: &mut Limbo<Arc<T>>) {
        let new = Arc::into_raw(value).cast_mut();
        let old = self.current.swap(new, Ordering::AcqRel);
        // SAFETY: it came from `Arc::into_raw` and its count has not been given up before: the swap
        // hands each pointer out once.
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

/// What was taken out and may still be read.
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

    /// Takes out what nobody reads any more.
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
