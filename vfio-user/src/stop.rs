// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Asking a server to end, from any thread.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use rustix::event::{eventfd, EventfdFlags};

/// Ends a [`Server`](crate::Server), whatever it is waiting for. Once
/// stopped it stays so; clones share one state.
#[derive(Debug, Clone)]
pub struct StopHandle(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// So that a server with a busy client need not ask the kernel.
    stopped: AtomicBool,
    /// Never read: stays readable for every poller.
    wake: OwnedFd,
}

impl StopHandle {
    /// A handle that has not been stopped. Fails when the process is out of
    /// file descriptors.
    pub fn new() -> std::io::Result<Self> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self(Arc::new(Inner {
            stopped: AtomicBool::new(false),
            wake,
        })))
    }

    /// Asks to stop.
    pub fn stop(&self) {
        self.0.stopped.store(true, Ordering::Release);
        // Only a full counter can fail, and then it is readable already.
        let _ = rustix::io::write(&self.0.wake, &1u64.to_ne_bytes());
    }

    /// Has it been asked?
    pub fn is_stopped(&self) -> bool {
        self.0.stopped.load(Ordering::Acquire)
    }
}

impl AsFd for StopHandle {
    /// Readable once stopped.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.wake.as_fd()
    }
}
