// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A handle that stops a server from any thread.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use rustix::event::{eventfd, EventfdFlags};

/// Stops a [`Server`](crate::Server), even while it waits. The stop is permanent; clones share one
/// state.
#[derive(Debug, Clone)]
pub struct StopHandle(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Saves a server with a busy client the system call.
    stopped: AtomicBool,
    /// The eventfd is never read: it stays readable for every poller.
    wake: OwnedFd,
}

impl StopHandle {
    /// A handle that has not been stopped. Fails when the process is out of file descriptors.
    pub fn new() -> std::io::Result<Self> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self(Arc::new(Inner {
            stopped: AtomicBool::new(false),
            wake,
        })))
    }

    /// Requests a stop.
    pub fn stop(&self) {
        self.0.stopped.store(true, Ordering::Release);
        // The write fails only for a full counter, which is already readable.
        let _ = rustix::io::write(&self.0.wake, &1u64.to_ne_bytes());
    }

    /// Returns whether a stop was requested.
    pub fn is_stopped(&self) -> bool {
        self.0.stopped.load(Ordering::Acquire)
    }
}

impl AsFd for StopHandle {
    /// The descriptor, which is readable once stopped.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.wake.as_fd()
    }
}
