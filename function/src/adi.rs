// SPDX-License-Identifier: Apache-2.0 OR MIT
//! ADIs as their users request them.

/// The resources of an ADI that is to be created.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AdiSpec {
    /// The number of queue pairs, with a TX, a completion and an RX queue, two buffer queues and a
    /// vector each.
    pub pairs: u16,
    /// Its MAC address; `None` lets the NIC choose.
    pub mac: Option<[u8; 6]>,
    /// Its VLAN; 0 for none.
    pub vlan: u16,
    /// The index of the NIC's port that it is on.
    pub port: u16,
}
