// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The fate of a packet, and what two fates have to have in common.

use std::fmt;

use adit_conntrack::testing::{fill_checksums, fill_header_checksum};
use adit_conntrack::Family;
use adit_conntrack_oracle::observation::comparable;
use adit_conntrack_oracle::trace::Side;

use crate::layout;

/// The destination of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A link.
    Link(Side),
    /// The node's own stack.
    Host,
    /// The control plane.
    Control,
}

/// The packets that leave after one has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Observation {
    pub(crate) leaving: Vec<(Place, Vec<u8>)>,
}

impl fmt::Display for Observation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.leaving.is_empty() {
            writeln!(f, "nothing")?;
        }
        for (place, bytes) in &self.leaving {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            writeln!(f, "{place:?} {hex}")?;
        }
        Ok(())
    }
}

impl Observation {
    /// The observation without what each side may choose; of the kernel's, with the program's choices
    /// in its answers. `is_answer` is set if the program has answered the packet.
    pub(crate) fn kernels(self, ours: &Observation, is_answer: bool) -> Observation {
        let both = self.leaving.into_iter().enumerate();
        let leaving = both.map(|(n, (place, bytes))| {
            let bytes = match (is_answer, ours.leaving.get(n)) {
                (true, Some((_, answer))) => as_ours(bytes, answer),
                _ => bytes,
            };
            (place, comparable(bytes))
        });
        Observation {
            leaving: leaving.collect(),
        }
    }
}

/// The kernel's answer to a packet that was rejected, with what is the program's by intent: the
/// identification and the flag not to fragment; the source of an ICMP error of the packet's destination,
/// for which the kernel has an address of the node, and that of a router's error, which the kernel
/// translates with its connection; and the time to live of the packet that it quotes, which is the one
/// that it came with.
fn as_ours(mut kernels: Vec<u8>, ours: &[u8]) -> Vec<u8> {
    let is_v4 = |packet: &[u8]| packet.first().is_some_and(|octet| octet >> 4 == 4);
    let (source, destination, header, protocol, hops) = match is_v4(&kernels) {
        true => (12..16, 16..20, 20, 9, 8),
        false => (8..24, 24..40, 40, 6, 7),
    };
    if is_v4(&kernels) != is_v4(ours) || kernels.len() != ours.len() || kernels.len() < header + 8 {
        return kernels;
    }
    let quote = header + 8;
    if header == 20 {
        kernels[4..8].copy_from_slice(&ours[4..8]);
    }
    // Destination unreachable, time exceeded, and packet too big of IPv6.
    let is_error = match header {
        20 => kernels[protocol] == 1 && [3, 11].contains(&kernels[header]),
        _ => kernels[protocol] == 58 && [1, 2, 3].contains(&kernels[header]),
    };
    if is_error && kernels.len() >= quote + header {
        let family = if header == 20 { Family::V4 } else { Family::V6 };
        let is_own = |octets: &[u8]| {
            let own = layout::own(family).map(|address| match address {
                std::net::IpAddr::V4(it) => it.octets().to_vec(),
                std::net::IpAddr::V6(it) => it.octets().to_vec(),
            });
            own.iter().any(|own| own == octets)
        };
        let quoted = &ours[quote + destination.start..quote + destination.end];
        let (theirs, given) = (&kernels[source.clone()], &ours[source.clone()]);
        if is_own(theirs) && given == quoted || is_own(given) && theirs == quoted {
            kernels[source.clone()].copy_from_slice(&ours[source]);
        }
        if kernels[quote + hops] + 1 == ours[quote + hops] {
            kernels[quote + hops] += 1;
            if header == 20 {
                fill_header_checksum(&mut kernels[quote..]);
            }
        }
    }
    fill_checksums(&mut kernels);
    kernels
}

#[cfg(test)]
mod tests {
    use adit_conntrack::testing::Flow;

    use super::*;

    fn seen(packet: Vec<u8>) -> Observation {
        Observation {
            leaving: vec![(Place::Link(Side::Left), packet)],
        }
    }

    #[test]
    fn answers_agree_but_for_what_each_side_may_choose() {
        let [client, service] = [[10, 0, 1, 1], [10, 0, 4, 1]].map(std::net::IpAddr::from);
        let flow = Flow {
            src: client,
            src_port: 1024,
            dst: service,
            dst_port: 80,
        };
        let mut forwarded = flow.udp(b"query");
        forwarded[8] -= 1;
        fill_header_checksum(&mut forwarded);
        let error = |src, quoted: &[u8]| {
            let flow = Flow {
                src,
                dst: client,
                ..flow
            };
            flow.icmp(3, 3, [0; 4], quoted)
        };
        let ours = seen(error(service, &flow.udp(b"query")));
        let kernels = |packet| seen(packet).kernels(&ours, true);
        let [own, _] = layout::own(Family::V4);
        assert_eq!(kernels(error(own, &forwarded)), ours);
        // From somebody else, about another packet, with a wrong checksum, or of another kind.
        assert_ne!(kernels(error([10, 0, 1, 9].into(), &forwarded)), ours);
        assert_ne!(kernels(error(own, &flow.udp(b"other"))), ours);
        assert_ne!(kernels(flow.reverse().tcp(4, 0, 0, &[])), ours);
        let mut wrong = ours.clone();
        wrong.leaving[0].1[23] ^= 1;
        assert_ne!(seen(error(own, &forwarded)).kernels(&wrong, true), wrong);
        // What is passed on is compared as it is.
        let mut other = forwarded.clone();
        other[8] += 1;
        fill_header_checksum(&mut other);
        let ours = seen(forwarded);
        assert_ne!(seen(other).kernels(&ours, false), ours);
    }
}
