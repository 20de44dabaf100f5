// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A handle that stops a server, or has it hand its client over, from any thread.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::Arc;

use rustix::event::{eventfd, EventfdFlags};

/// Stops a [`Server`](crate::Server), even while it waits, or has it hand over its client. Either is
/// permanent; clones share one state.
#[derive(Debug, Clone)]
pub struct StopHandle(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// The last [`Request`]. Saves a server with a busy client the system call.
    request: AtomicU8,
    /// The eventfd is never read: it stays readable for every poller.
    wake: OwnedFd,
}

impl StopHandle {
    /// A handle that has not been stopped. Fails when the process is out of file descriptors.
    pub fn new() -> std::io::Result<Self> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self(Arc::new(Inner {
            request: AtomicU8::new(Request::None as u8),
            wake,
        })))
    }

    /// Requests a stop.
    pub fn stop(&self) {
        self.request(Request::Stop);
    }

    /// Requests that [`Server::serve`](crate::Server::serve) return its client, between two
    /// messages; a stop takes precedence. Servers that are not configured for that stop.
    pub fn hand_over(&self) {
        self.request(Request::HandOver);
    }

    /// Returns whether a stop was requested.
    pub fn is_stopped(&self) -> bool {
        self.requested() == Request::Stop
    }

    pub(crate) fn requested(&self) -> Request {
        match self.0.request.load(Ordering::Acquire) {
            0 => Request::None,
            1 => Request::HandOver,
            _ => Request::Stop,
        }
    }

    fn request(&self, request: Request) {
        self.0.request.fetch_max(request as u8, Ordering::AcqRel);
        // The write fails only for a full counter, which is already readable.
        let _ = rustix::io::write(&self.0.wake, &1u64.to_ne_bytes());
    }
}

/// A request to a server, in ascending order of precedence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Request {
    None = 0,
    HandOver = 1,
    Stop = 2,
}

impl AsFd for StopHandle {
    /// The descriptor, which is readable once a stop or a handover was requested.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.wake.as_fd()
    }
}
