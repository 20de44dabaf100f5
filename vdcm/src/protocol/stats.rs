// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The counters of a composed device, since it was created.

use std::collections::BTreeMap;

use adit_function::dataplane::VportCounters;
use serde::{Deserialize, Serialize};

/// Counters of frames, as the driver reads them (GET_STATS), of one virtual port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Traffic {
    /// Bytes received.
    pub rx_bytes: u64,
    /// Unicast frames received.
    pub rx_unicast: u64,
    /// Multicast frames received.
    pub rx_multicast: u64,
    /// Broadcast frames received.
    pub rx_broadcast: u64,
    /// Frames that were not delivered.
    pub rx_discards: u64,
    /// Frames that were malformed or too long.
    pub rx_errors: u64,
    /// Frames for which there was no buffer.
    pub rx_no_buffer: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Unicast frames sent.
    pub tx_unicast: u64,
    /// Multicast frames sent.
    pub tx_multicast: u64,
    /// Broadcast frames sent.
    pub tx_broadcast: u64,
    /// Frames that were not sent.
    pub tx_discards: u64,
    /// Frames that were malformed.
    pub tx_errors: u64,
}

impl From<VportCounters> for Traffic {
    fn from(counters: VportCounters) -> Self {
        Self {
            rx_bytes: counters.rx_bytes,
            rx_unicast: counters.rx_unicast,
            rx_multicast: counters.rx_multicast,
            rx_broadcast: counters.rx_broadcast,
            rx_discards: counters.rx_discards,
            rx_errors: counters.rx_errors,
            rx_no_buffer: counters.rx_no_buffer,
            tx_bytes: counters.tx_bytes,
            tx_unicast: counters.tx_unicast,
            tx_multicast: counters.tx_multicast,
            tx_broadcast: counters.tx_broadcast,
            tx_discards: counters.tx_discards,
            tx_errors: counters.tx_errors,
        }
    }
}

/// Counters of one ADI.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AdiStats {
    /// Its name.
    pub name: String,
    /// Messages sent to it.
    pub requests: u64,
    /// Messages, mappings and eventfds that it refused.
    pub refused: u64,
    /// Queues of it that were stopped by faults, as far as it has reported.
    pub faults: u64,
    /// Frames; `None` if it is gone.
    pub traffic: Option<Traffic>,
}

/// Counters of the windows of the client's memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DmaStats {
    /// Windows that were mapped.
    pub mapped: u64,
    /// Windows that were unmapped.
    pub unmapped: u64,
    /// Windows without a file, which are accepted and not accessible.
    pub without_file: u64,
    /// Windows that were refused, by reason.
    pub refused: BTreeMap<String, u64>,
}

/// Counters of a device. Maps are by reason, and have no entries of 0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct VdevStats {
    /// The device's name.
    pub name: String,
    /// Connections of clients.
    pub connections: u64,
    /// vfio-user messages.
    pub messages: u64,
    /// vfio-user messages that were rejected.
    pub messages_refused: BTreeMap<String, u64>,
    /// Requests of the driver through the mailbox.
    pub requests: u64,
    /// Requests that were refused, by the control plane's reasons.
    pub requests_refused: BTreeMap<String, u64>,
    /// Requests that had to wait for the limit of messages.
    pub requests_delayed: u64,
    /// Faults of the mailbox: of descriptors, buffers and rings.
    pub mailbox_faults: BTreeMap<String, u64>,
    /// Events sent to the driver.
    pub events: u64,
    /// Resets, by cause ([`ResetCause`](super::ResetCause)).
    pub resets: BTreeMap<String, u64>,
    /// Interrupts of the mailbox's vector.
    pub interrupts: u64,
    /// Reads and writes of BAR0 at offsets without a register.
    pub stray_accesses: u64,
    /// Windows of memory.
    pub dma: DmaStats,
    /// The ADIs, in the order of the virtual ports.
    pub adis: Vec<AdiStats>,
}
