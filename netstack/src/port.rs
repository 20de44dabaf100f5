// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The device below a stack: frames in and out, in bursts.

use std::collections::VecDeque;
use std::ops::DerefMut;
use std::os::fd::OwnedFd;
use std::time::Duration;

use adit_adi::{Checksum, Wakeup};

use crate::Error;

/// A buffer with a frame.
pub trait Frame: DerefMut<Target = [u8]> {
    /// Sets the frame's length, up to the capacity of the buffer. Bytes that are added are
    /// unspecified.
    fn set_len(&mut self, len: usize);

    /// Returns the result of the device's validation of the checksums of a received frame.
    fn checksum(&self) -> Checksum;

    /// Has the device complete the checksum of the transport header when the frame is sent. The field
    /// contains the sum of the pseudo header (RFC 9293, section 3.1).
    fn request_checksum(&mut self);
}

/// A queue pair, or a replacement of one in tests.
pub trait Port {
    /// Its frames.
    type Frame: Frame;

    /// Returns the maximum length of an IP packet in bytes.
    fn mtu(&self) -> usize;

    /// Returns whether the device completes checksums ([`Frame::request_checksum`]).
    fn completes_checksums(&self) -> bool;

    /// Returns an empty buffer, if one is free.
    fn alloc(&mut self) -> Option<Self::Frame>;

    /// Appends up to `max` received frames.
    ///
    /// # Errors
    /// Fails when the device does not work any longer.
    fn receive(&mut self, frames: &mut Vec<Self::Frame>, max: usize) -> Result<usize, Error>;

    /// Passes frames to the device, from the front; those for which its ring has no space stay.
    ///
    /// # Errors
    /// Fails when the device does not work any longer.
    fn send(&mut self, frames: &mut VecDeque<Self::Frame>) -> Result<usize, Error>;

    /// Sleeps until there is work, at most for `timeout`.
    ///
    /// # Errors
    /// Fails when the system returns an error.
    fn wait(&mut self, timeout: Option<Duration>) -> Result<Wakeup, Error>;

    /// Returns an eventfd that ends a sleep of [`wait`](Self::wait) when it is written; `None` if the
    /// port never sleeps.
    ///
    /// # Errors
    /// Fails when no descriptors are left.
    fn waker(&self) -> Result<Option<OwnedFd>, Error>;
}
