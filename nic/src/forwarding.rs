// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The filters of a virtual port, and the selection of its RX queue.

mod flows;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::LazyLock;

use adit_pipeline::p4::externs::Receive;
use adit_pipeline::parse::{DstKind, Parsed};
use adit_pipeline::rss::{flow, Rss};
use adit_uapi::virtchnl2::rss::DEFAULT_HASH;

pub use flows::{FlowAction, Flows, MAX_FLOWS};

/// The length of an RSS key in bytes: enough for two IPv6 addresses and two ports, and what Linux
/// uses (NETDEV_RSS_KEY_LEN is at least 52).
pub const RSS_KEY_LEN: usize = 52;
/// The number of entries of an RSS look-up table.
pub const RSS_LUT_LEN: usize = 512;

/// The state of a virtual port in the L2 stage and in the classifier.
#[derive(Clone, Debug)]
pub struct Forwarding {
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
    rss: Rss,
    /// The index in `rx_queues` for each hash. An entry may be past the last queue, after queues
    /// were removed: see [`rx_queue`](Self::rx_queue).
    pub rss_lut: [u16; RSS_LUT_LEN],
    rss_hash: u64,
    /// Flow rules that assign flows to queues; they take precedence over RSS.
    pub flows: Flows,
}

/// The destination of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Steering {
    /// Delivered to an RX queue.
    Queue {
        /// Its device-wide id.
        queue: u32,
        /// The RSS hash, if the packet is hashed.
        hash: Option<u32>,
    },
    /// Dropped by a rule.
    Drop,
    /// Dropped: the port has no RX queue.
    NoQueue,
}

/// The RSS state of a port before its driver configures it. Its table is large, and shared until
/// then.
static DEFAULT_RSS: LazyLock<Rss> =
    LazyLock::new(|| Rss::new(&[0; RSS_KEY_LEN], &[0], flow_types(DEFAULT_HASH)).expect(RSS_FITS));

/// The invariant that the constants of this module uphold.
const RSS_FITS: &str = "the key, the table and the types are within what the pipeline takes";

/// Maps the finer types of the standard's RSS hash (`virtchnl2_rss_hash`) to flow bits: a request
/// for some of the packets of a flow type applies to all of them.
fn flow_types(groups: u64) -> u64 {
    use adit_uapi::virtchnl2::rss::ptype_group as group;
    let table: [(&[u32], u64); 8] = [
        (
            &[group::NONF_IPV4_TCP, group::NONF_IPV4_TCP_SYN_NO_ACK],
            flow::IPV4_TCP,
        ),
        (
            &[
                group::NONF_IPV4_UDP,
                group::NONF_UNICAST_IPV4_UDP,
                group::NONF_MULTICAST_IPV4_UDP,
            ],
            flow::IPV4_UDP,
        ),
        (&[group::NONF_IPV4_SCTP], flow::IPV4_SCTP),
        (
            &[group::NONF_IPV4_OTHER, group::FRAG_IPV4],
            flow::IPV4_OTHER,
        ),
        (
            &[group::NONF_IPV6_TCP, group::NONF_IPV6_TCP_SYN_NO_ACK],
            flow::IPV6_TCP,
        ),
        (
            &[
                group::NONF_IPV6_UDP,
                group::NONF_UNICAST_IPV6_UDP,
                group::NONF_MULTICAST_IPV6_UDP,
            ],
            flow::IPV6_UDP,
        ),
        (&[group::NONF_IPV6_SCTP], flow::IPV6_SCTP),
        (
            &[group::NONF_IPV6_OTHER, group::FRAG_IPV6],
            flow::IPV6_OTHER,
        ),
    ];
    let asked = |of: &[u32]| of.iter().any(|&g| groups & (1 << g) != 0);
    table
        .iter()
        .filter(|(of, _)| asked(of))
        .map(|(_, bit)| bit)
        .sum()
}

impl Default for Forwarding {
    fn default() -> Self {
        Self {
            enabled: false,
            loopback: false,
            unicast_promiscuous: false,
            multicast_promiscuous: false,
            addresses: HashSet::new(),
            rx_queues: Vec::new(),
            rss_key: [0; RSS_KEY_LEN],
            rss: DEFAULT_RSS.clone(),
            rss_lut: [0; RSS_LUT_LEN],
            rss_hash: DEFAULT_HASH,
            flows: Flows::default(),
        }
    }
}

impl Forwarding {
    /// The state of a new vport: it accepts frames for `mac`, spread over its queues.
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

    /// Returns whether the port accepts a frame, by its destination.
    #[must_use]
    pub fn wants(&self, kind: DstKind, frame: &[u8]) -> bool {
        match kind {
            DstKind::Broadcast => true,
            DstKind::Multicast if self.multicast_promiscuous => true,
            DstKind::Unicast if self.unicast_promiscuous => true,
            DstKind::Multicast | DstKind::Unicast => frame
                .first_chunk()
                .is_some_and(|dst| self.addresses.contains(dst)),
        }
    }

    /// The key of the Toeplitz hash.
    #[must_use]
    pub fn rss_key(&self) -> &[u8; RSS_KEY_LEN] {
        &self.rss_key
    }

    /// Sets the hash key.
    pub fn set_rss_key(&mut self, key: [u8; RSS_KEY_LEN]) {
        self.rss.set_key(&key).expect(RSS_FITS);
        self.rss_key = key;
    }

    /// The types of packets that are hashed: bits of `virtchnl2::rss::ptype_group`.
    #[must_use]
    pub fn rss_hash(&self) -> u64 {
        self.rss_hash
    }

    /// Sets the types of packets that are hashed.
    pub fn set_rss_hash(&mut self, groups: u64) {
        self.rss.set_types(flow_types(groups)).expect(RSS_FITS);
        self.rss_hash = groups;
    }

    /// Selects the destination of a frame that the port accepts, given the program's metadata.
    #[must_use]
    pub fn steer(&self, parsed: &Parsed, front: &[u8], told: &Receive) -> Steering {
        let own = || self.rss.hash(parsed, front).map(|(hash, _)| hash);
        let hash = told.hash.or_else(own);
        // A program takes precedence over the driver's rules; the driver may have no such queue.
        let named = told
            .queue
            .and_then(|at| self.rx_queues.get(usize::from(at)));
        if let Some(&queue) = named {
            return Steering::Queue { queue, hash };
        }
        let ruled = match self.flows.lookup(parsed, front) {
            Some(FlowAction::Drop) => return Steering::Drop,
            // The queue may have been removed since the rule was added.
            Some(FlowAction::Queue(at)) => self.rx_queues.get(at as usize).copied(),
            None => None,
        };
        let queue = ruled.or_else(|| match hash {
            Some(hash) => self.rx_queue(hash),
            None => self.rx_queues.first().copied(),
        });
        queue.map_or(Steering::NoQueue, |queue| Steering::Queue { queue, hash })
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
