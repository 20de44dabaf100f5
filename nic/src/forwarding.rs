// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The filters of a virtual port, and the selection of its RX queue.

mod flows;
#[cfg(test)]
mod rule_tests;
#[cfg(test)]
mod tests;

use std::ops::Deref;
use std::sync::LazyLock;

use adit_pipeline::flow::FlowTable;
use adit_pipeline::p4::Receive;
use adit_pipeline::parse::{DstKind, Parsed};
use adit_pipeline::rss::{flow, Rss};
use adit_uapi::virtchnl2::rss::DEFAULT_HASH;

pub use adit_function::vport::{FlowAction, VportConfig, MAX_FLOWS, RSS_KEY_LEN, RSS_LUT_LEN};

/// The state of a virtual port in the L2 stage and in the classifier: its configuration, and what
/// is compiled from it. The configuration changes only by the methods of this type, which keep the
/// two consistent.
#[derive(Clone, Debug)]
pub struct Forwarding {
    config: VportConfig,
    rss: Rss,
    flows: FlowTable<FlowAction>,
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
            config: VportConfig::default(),
            rss: DEFAULT_RSS.clone(),
            flows: FlowTable::new(MAX_FLOWS),
        }
    }
}

impl Deref for Forwarding {
    type Target = VportConfig;

    fn deref(&self) -> &VportConfig {
        &self.config
    }
}

impl Forwarding {
    /// The state of a new vport: it accepts frames for `mac`, spread over its queues.
    #[must_use]
    pub fn new(mac: [u8; 6], rx_queues: Vec<u32>) -> Self {
        Self {
            config: VportConfig::new(mac, rx_queues),
            ..Self::default()
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

    /// Enables or disables traffic.
    pub fn set_enabled(&mut self, enabled: bool) {
        self.config.enabled = enabled;
    }

    /// Sets whether sent frames are looped back instead of leaving.
    pub fn set_loopback(&mut self, loopback: bool) {
        self.config.loopback = loopback;
    }

    /// Sets whether unicast and multicast frames for any address are delivered.
    pub fn set_promiscuous(&mut self, unicast: bool, multicast: bool) {
        self.config.unicast_promiscuous = unicast;
        self.config.multicast_promiscuous = multicast;
    }

    /// Adds an address to deliver; returns whether it is new.
    pub fn add_address(&mut self, address: [u8; 6]) -> bool {
        self.config.addresses.insert(address)
    }

    /// Removes an address.
    pub fn remove_address(&mut self, address: &[u8; 6]) {
        self.config.addresses.remove(address);
    }

    /// Replaces the RX queues, by their device-wide ids.
    pub fn set_rx_queues(&mut self, rx_queues: Vec<u32>) {
        self.config.rx_queues = rx_queues;
    }

    /// Sets entries of the RSS look-up table from `start` on. Entries beyond its end are ignored.
    pub fn set_rss_lut(&mut self, start: usize, entries: &[u16]) {
        self.config.set_rss_lut(start, entries);
    }

    /// Sets the hash key.
    pub fn set_rss_key(&mut self, key: [u8; RSS_KEY_LEN]) {
        self.rss.set_key(&key).expect(RSS_FITS);
        self.config.set_rss_key(key);
    }

    /// Sets the types of packets that are hashed.
    pub fn set_rss_hash(&mut self, groups: u64) {
        self.rss.set_types(flow_types(groups)).expect(RSS_FITS);
        self.config.set_rss_hash(groups);
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
        let ruled = match self.flow(parsed, front) {
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
}
