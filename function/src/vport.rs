// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The configuration of a virtual port: what the control plane sets and the data plane applies.

use std::collections::{BTreeMap, HashSet};

use adit_uapi::virtchnl2::rss::DEFAULT_HASH;
use adit_uapi::virtchnl2::FlowRule;
use thiserror::Error;

/// The length of an RSS key in bytes: enough for two IPv6 addresses and two ports, and what Linux
/// uses (NETDEV_RSS_KEY_LEN is at least 52).
pub const RSS_KEY_LEN: usize = 52;
/// The number of entries of an RSS look-up table.
pub const RSS_LUT_LEN: usize = 512;
/// The maximum number of flow rules of a port.
pub const MAX_FLOWS: usize = 1024;

/// The configuration of a virtual port in the L2 stage and in the classifier.
#[derive(Clone, Debug)]
pub struct VportConfig {
    /// Set while the vport is enabled (ENABLE_VPORT).
    pub enabled: bool,
    /// Set if sent frames are looped back instead of leaving (VIRTCHNL2_OP_LOOPBACK).
    pub loopback: bool,
    /// Set if unicast frames for any address are delivered (VIRTCHNL2_UNICAST_PROMISC).
    pub unicast_promiscuous: bool,
    /// Set if multicast frames for any address are delivered (VIRTCHNL2_MULTICAST_PROMISC).
    pub multicast_promiscuous: bool,
    /// Unicast and multicast addresses to deliver. Broadcast is always delivered.
    pub addresses: HashSet<[u8; 6]>,
    /// Device-wide ids of the port's RX queues; indirection tables and rules hold indexes into
    /// this.
    pub rx_queues: Vec<u32>,
    rss_key: [u8; RSS_KEY_LEN],
    /// The index in `rx_queues` for each hash. An entry may be past the last queue, after queues
    /// were removed: see [`rx_queue`](Self::rx_queue).
    pub rss_lut: [u16; RSS_LUT_LEN],
    rss_hash: u64,
    /// Flow rules as the driver sent them, by its ids. They take precedence over RSS.
    pub rules: BTreeMap<u32, FlowRule>,
}

impl Default for VportConfig {
    fn default() -> Self {
        Self {
            enabled: false,
            loopback: false,
            unicast_promiscuous: false,
            multicast_promiscuous: false,
            addresses: HashSet::new(),
            rx_queues: Vec::new(),
            rss_key: [0; RSS_KEY_LEN],
            rss_lut: [0; RSS_LUT_LEN],
            rss_hash: DEFAULT_HASH,
            rules: BTreeMap::new(),
        }
    }
}

impl VportConfig {
    /// The configuration of a new vport: it accepts frames for `mac`, spread over its queues.
    #[must_use]
    pub fn new(mac: [u8; 6], rx_queues: Vec<u32>) -> Self {
        let mut new = Self {
            rx_queues,
            ..Self::default()
        };
        new.addresses.insert(mac);
        new.spread();
        new
    }

    /// Fills the look-up table with all queues in turn.
    fn spread(&mut self) {
        let queues = self.rx_queues.len().max(1);
        for (at, entry) in self.rss_lut.iter_mut().enumerate() {
            *entry = (at % queues) as u16;
        }
    }

    /// The key of the Toeplitz hash.
    #[must_use]
    pub fn rss_key(&self) -> &[u8; RSS_KEY_LEN] {
        &self.rss_key
    }

    /// Sets the hash key.
    pub fn set_rss_key(&mut self, key: [u8; RSS_KEY_LEN]) {
        self.rss_key = key;
    }

    /// The types of packets that are hashed: bits of `virtchnl2::rss::ptype_group`.
    #[must_use]
    pub fn rss_hash(&self) -> u64 {
        self.rss_hash
    }

    /// Sets the types of packets that are hashed.
    pub fn set_rss_hash(&mut self, groups: u64) {
        self.rss_hash = groups;
    }

    /// Sets entries of the look-up table from `start` on. Entries beyond its end are ignored.
    pub fn set_rss_lut(&mut self, start: usize, entries: &[u16]) {
        let part = self.rss_lut.iter_mut().skip(start);
        part.zip(entries).for_each(|(to, &from)| *to = from);
    }

    /// The device-wide id of the RX queue for a hash: the first queue if the table's entry is for
    /// one that was removed. `None` without queues.
    #[must_use]
    pub fn rx_queue(&self, hash: u32) -> Option<u32> {
        let entry = self.rss_lut[hash as usize % RSS_LUT_LEN];
        self.rx_queues
            .get(usize::from(entry))
            .or(self.rx_queues.first())
            .copied()
    }
}

/// The action on a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowAction {
    /// Assigned to a queue, an index into the port's RX queues.
    Queue(u32),
    /// Dropped.
    Drop,
}

/// The reason why a data plane does not add a flow rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FlowRuleError {
    /// A rule with the id, or for the same frames, exists.
    #[error("a rule with the id, or for the same frames, exists")]
    Exists,
    /// The table is full, or has no group left for the rule's masks.
    #[error("the table has no space for the rule")]
    NoSpace,
    /// The rule's headers cannot be matched, or not in their order.
    #[error("the headers of the rule are not supported, or not in this order")]
    Headers,
    /// The rule's masks cover bytes that cannot be matched.
    #[error("a mask of the rule covers bytes that cannot be matched")]
    Mask,
}
