// SPDX-License-Identifier: GPL-2.0

//! Requests to remove registered memory, which the worker of [`super::unmapping`] executes, and its
//! progress.

use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            Atomic,
            Relaxed, //
        },
        Mutex, //
    },
};

use super::device::VfioDevice;

/// The pending request, and progress.
#[pin_data]
pub(super) struct UnmapRequests {
    #[pin]
    queue: Mutex<Queue>,
    /// Changes when memory is pinned or unpinned, and when the worker has completed a step.
    steps: Atomic<u32>,
}

struct Queue {
    /// `true` while the device is open: only then can memory be registered.
    open: bool,
    pending: Option<Request>,
    /// The number of the last request, and of the last one completed.
    submitted: u64,
    completed: u64,
}

/// A range to be removed.
pub(super) struct Request {
    pub(super) device: ARef<VfioDevice>,
    pub(super) iova: u64,
    pub(super) len: u64,
}

impl UnmapRequests {
    pub(super) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            queue <- new_mutex!(Queue {
                open: false,
                pending: None,
                submitted: 0,
                completed: 0,
            }),
            steps: Atomic::new(0),
        })
    }

    /// Accepts requests from now on: the device is open.
    pub(super) fn open(&self) {
        self.queue.lock().open = true;
    }

    /// Accepts no more requests, and drops the pending one: the device is closed.
    pub(super) fn close(&self) {
        let mut queue = self.queue.lock();
        queue.open = false;
        let dropped = queue.pending.take();
        drop(queue);
        drop(dropped);
    }

    /// Submits a request, which replaces the pending one, and returns its number; `None` if the
    /// device is closed.
    pub(super) fn submit(&self, request: Request) -> Option<u64> {
        let mut queue = self.queue.lock();
        if !queue.open {
            return None;
        }
        queue.submitted += 1;
        let number = queue.submitted;
        let replaced = queue.pending.replace(request);
        drop(queue);
        drop(replaced);
        Some(number)
    }

    /// Returns whether request `number` needs no more waiting.
    pub(super) fn is_done(&self, number: u64) -> bool {
        let queue = self.queue.lock();
        queue.completed >= number || !queue.open
    }

    /// Returns whether there is a request.
    pub(super) fn is_pending(&self) -> bool {
        self.queue.lock().pending.is_some()
    }

    /// Takes the pending request and its number.
    pub(super) fn take(&self) -> Option<(Request, u64)> {
        let mut queue = self.queue.lock();
        let number = queue.submitted;
        queue.pending.take().map(|request| (request, number))
    }

    /// Marks request `number` as completed.
    pub(super) fn complete(&self, number: u64) {
        self.queue.lock().completed = number;
    }

    /// Returns whether part of a range is to be removed.
    pub(super) fn overlap(&self, iova: u64, len: u64) -> bool {
        let queue = self.queue.lock();
        let overlaps = |it: &Request| {
            it.iova < iova.saturating_add(len) && iova < it.iova.saturating_add(it.len)
        };
        queue.pending.as_ref().is_some_and(overlaps)
    }

    /// Records progress.
    pub(super) fn step(&self) {
        self.steps
            .store(self.steps.load(Relaxed).wrapping_add(1), Relaxed);
    }

    /// Returns a number that changes with progress.
    pub(super) fn steps(&self) -> u32 {
        self.steps.load(Relaxed)
    }
}
