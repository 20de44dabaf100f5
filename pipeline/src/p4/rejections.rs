// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Answers to the packets that programs reject (`reject` in `adit.p4`), at limited rates: what floods
//! one port takes no answers from others, and one source takes few from those behind its port.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::objects::Bucket;
use super::packets::FIRST_HOST_PORT;
use crate::reject::{answer, Answer, Answered, Rejection, Unanswered};

/// Answers a second, and at once.
#[derive(Clone, Copy, Debug)]
struct Rate {
    rate: u64,
    burst: u64,
}

/// Those that a port gets.
const PORT: Rate = Rate {
    rate: 10_000,
    burst: 1_000,
};
/// Those that a source behind a port gets: an address of IPv4, a network of 64 bits of IPv6.
const SOURCE: Rate = Rate {
    rate: 2_000,
    burst: 200,
};
/// Parts of an answer in a bucket.
const NANO: u128 = 1_000_000_000;

/// The wires and virtual ports that have buckets of their own; others share them.
const WIRES: usize = 64;
const VPORTS: usize = 4096;
/// The buckets of sources, which share them by a keyed hash, so that none can choose with whom.
const SOURCES: usize = 4096;

/// The rates of answers, and what became of rejected packets.
#[derive(Debug)]
pub struct Rejections {
    ports: Box<[Bucket]>,
    sources: Box<[Bucket]>,
    keys: RandomState,
    answers: [AtomicU64; Answer::ALL.len()],
    unanswered: [AtomicU64; Unanswered::ALL.len()],
}

impl Default for Rejections {
    fn default() -> Rejections {
        let buckets = |count| (0..count).map(|_| Bucket::default()).collect();
        Rejections {
            ports: buckets(WIRES + VPORTS),
            sources: buckets(SOURCES),
            keys: RandomState::new(),
            answers: Default::default(),
            unanswered: Default::default(),
        }
    }
}

impl Rate {
    fn takes(self, bucket: Option<&Bucket>, now_ns: u64) -> bool {
        let brought = u128::from(self.rate) * u128::from(now_ns);
        bucket.is_none_or(|bucket| bucket.take(brought, self.burst, NANO).0)
    }
}

/// A packet that is rejected.
pub(super) struct Rejected<'a> {
    /// The port that it came from.
    pub(super) port: u32,
    /// Its first bytes, and its length.
    pub(super) front: &'a [u8],
    pub(super) length: usize,
    pub(super) checksums_verified: bool,
    pub(super) rejection: Rejection,
}

impl Rejections {
    /// The number of answers of that kind.
    pub fn answers(&self, answer: Answer) -> u64 {
        let count = self.answers.get(answer as usize);
        count.map_or(0, |count| count.load(Relaxed))
    }

    /// The number of packets that were not answered for that reason.
    pub fn unanswered(&self, reason: Unanswered) -> u64 {
        let count = self.unanswered.get(reason as usize);
        count.map_or(0, |count| count.load(Relaxed))
    }

    /// Writes the answer to a packet to `out`, behind what is there. Returns its kind, which is to be
    /// counted when it is sent.
    pub(super) fn answer(
        &self,
        now_ns: u64,
        packet: &Rejected<'_>,
        out: &mut Vec<u8>,
    ) -> Option<Answer> {
        let Rejected {
            front,
            length,
            checksums_verified,
            rejection,
            ..
        } = packet;
        let made = answer(front, *length, *checksums_verified, rejection, out);
        match made.and_then(|made| self.limit(now_ns, packet.port, made)) {
            Ok(answer) => Some(answer),
            Err(reason) => {
                self.lose(reason);
                None
            }
        }
    }

    /// Counts an answer that is sent.
    pub(super) fn count(&self, answer: Answer) {
        if let Some(count) = self.answers.get(answer as usize) {
            count.fetch_add(1, Relaxed);
        }
    }

    /// Counts a packet that is not answered.
    pub(super) fn lose(&self, reason: Unanswered) {
        if let Some(count) = self.unanswered.get(reason as usize) {
            count.fetch_add(1, Relaxed);
        }
    }

    /// Returns the answer's kind if its receiver and port may have another one.
    fn limit(&self, now_ns: u64, port: u32, made: Answered) -> Result<Answer, Unanswered> {
        let receiver = self.keys.hash_one((port, made.receiver)) as usize;
        if !SOURCE.takes(self.sources.get(receiver % SOURCES), now_ns) {
            return Err(Unanswered::SourceRate);
        }
        let place = match port.checked_sub(FIRST_HOST_PORT) {
            None => port as usize % WIRES,
            Some(vport) => WIRES + vport as usize % VPORTS,
        };
        match PORT.takes(self.ports.get(place), now_ns) {
            true => Ok(made.answer),
            false => Err(Unanswered::Rate),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::headers::{put_be16, ETH_LEN};
    use crate::testing::ip_frame;

    /// A datagram without a checksum, from a host.
    fn datagram(host: u32) -> Vec<u8> {
        let source = std::net::Ipv4Addr::from(0x0a00_0001 + host).into();
        let mut udp = vec![0, 7, 0, 9, 0, 8, 0, 0];
        put_be16(&mut udp, 6, 0);
        ip_frame((source, [10, 1, 0, 1].into()), 17, &udp)
    }

    fn is_answered(all: &Rejections, now_ns: u64, port: u32, frame: &[u8]) -> bool {
        let packet = Rejected {
            port,
            front: frame,
            length: frame.len(),
            checksums_verified: false,
            rejection: Rejection::default(),
        };
        all.answer(now_ns, &packet, &mut Vec::new()).is_some()
    }

    /// The number of answers to packets of a port from each of so many hosts.
    fn answered(all: &Rejections, now_ns: u64, port: u32, hosts: u32, packets: u32) -> u64 {
        let mut count = 0;
        for host in 0..hosts {
            let frame = datagram(host);
            assert!(frame.len() > ETH_LEN);
            let answers = (0..packets).filter(|_| is_answered(all, now_ns, port, &frame));
            count += answers.count() as u64;
        }
        count
    }

    #[test]
    fn a_source_that_floods_leaves_others_their_answers() {
        let all = Rejections::default();
        assert_eq!(answered(&all, 1, 0, 1, 5000), SOURCE.burst);
        assert_eq!(all.unanswered(Unanswered::SourceRate), 5000 - SOURCE.burst);
        // One of others behind the same port, of which one may share the first one's bucket.
        let found = (1..9).any(|host| {
            let frame = datagram(host);
            is_answered(&all, 1, 0, &frame)
        });
        assert!(found);
        // A second later it gets as many again, but not what it has not used meanwhile.
        assert_eq!(answered(&all, 1_000_000_000, 0, 1, 5000), SOURCE.burst);
        let rest = all.unanswered(Unanswered::Rate);
        assert_eq!(rest, 0, "the port's rate is not reached");
    }

    #[test]
    fn a_port_that_floods_leaves_others_their_answers() {
        let all = Rejections::default();
        let from = |port| answered(&all, 1, port, 2000, 2);
        assert_eq!(from(0), PORT.burst);
        assert!(all.unanswered(Unanswered::Rate) > 2000);
        for port in [1, 63, FIRST_HOST_PORT, FIRST_HOST_PORT + 1] {
            assert_eq!(from(port), PORT.burst, "port {port:#x}");
        }
        // Not more memory for more ports: they share.
        assert_eq!(from(64), 0);
    }
}
