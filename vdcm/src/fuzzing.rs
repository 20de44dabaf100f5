// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The body of the fuzz target for a composed device, so that a plain test can run it, too.

mod client;
mod corpus;
#[cfg(test)]
mod tests;

use adit_function::testing::Choices;

use client::Client;

pub use corpus::vdev_corpus;

/// Runs the actions encoded in `data` on behalf of a client of a composed device: accesses to
/// registers, configuration space and the MSI-X table, messages and rings with any content, windows
/// of memory that come and go, eventfds, resets, new connections, and ADIs that refuse or go. The
/// first byte chooses the register layout and the number of ADIs. A panic is a bug, and so is a
/// message to an ADI that its owner may not send, memory that an ADI has and the client has not
/// mapped, and anything that remains when the client has left.
pub fn vdev(data: &[u8]) {
    let mut choices = Choices(data);
    let Some(mut client) = Client::new(choices.u8()) else {
        return;
    };
    while choices.more() {
        client.act(&mut choices);
        client.check();
    }
    client.leave();
}
