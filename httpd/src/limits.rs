// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The bounds of a request.

use std::time::Duration;

/// Bounds of the size of a request and of the time that a client may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a request line and its header fields.
    pub head: usize,
    /// Bytes of a body.
    pub body: usize,
    /// The time between two requests of a connection.
    pub idle: Duration,
    /// The time from the first byte of a head to its last, and from the connection to the first head.
    pub head_time: Duration,
    /// The time of a body.
    pub body_time: Duration,
    /// The time in which a client must take [`PROGRESS`] bytes of a response, or its rest.
    pub send_time: Duration,
}

/// The bytes that a client must take in [`Limits::send_time`].
pub(crate) const PROGRESS: usize = 4096;
/// The header fields of a request: more are refused.
pub(crate) const MAX_FIELDS: usize = 64;

impl Default for Limits {
    fn default() -> Self {
        Self {
            head: 8 << 10,
            body: 64 << 10,
            idle: Duration::from_secs(60),
            head_time: Duration::from_secs(10),
            body_time: Duration::from_secs(30),
            send_time: Duration::from_secs(30),
        }
    }
}
