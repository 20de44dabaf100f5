// SPDX-License-Identifier: GPL-2.0

//! Failures of a function, reported from below: by the control plane to the table of ADIs, and by
//! that to devlink's health reporters.

/// Listener to failures. Called in contexts that must not block: it sends no requests, and takes no
/// lock that is held while a request is in flight.
pub(crate) trait Listener: Send + Sync {
    /// Handles a control plane that has stopped replying: the device no longer has ADIs.
    fn lost(&self);
    /// Handles a fault that has stopped a queue of an ADI.
    fn fault(&self);
}
