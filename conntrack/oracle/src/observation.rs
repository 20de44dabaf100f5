// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The observable state of a tracker after a packet, and the differences between two trackers.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use adit_conntrack::{CtState, Status, Tuple};

/// The tolerance of the kernel's remaining time downwards: it counts whole seconds, rounded down,
/// and has taken the packet a little later.
const LESS: Duration = Duration::from_millis(1900);
/// The tolerance upwards: ticks are rounded up.
const MORE: Duration = Duration::from_millis(100);

/// The state that a tracker gives a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The packet is tracked. Bits of translation are compared with the status.
    State(CtState),
    /// The tracker does not track such packets.
    Untracked,
    /// The packet was dropped before its state was seen.
    Unseen,
}

/// A connection, as control planes see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The tuples of both directions.
    pub tuples: [Tuple; 2],
    /// The status bits.
    pub status: Status,
    /// The time until the timeout.
    pub timeout: Duration,
    /// The mark.
    pub mark: u32,
    /// The state of the protocol: the attributes of `CTA_PROTOINFO` by name.
    pub proto: Vec<(&'static str, u32)>,
    /// Packets and bytes of both directions.
    pub counters: [(u64, u64); 2],
    /// The zone's number.
    pub zone: u16,
    /// The helper's name.
    pub helper: Option<String>,
    /// The original tuple of the connection that expected this one.
    pub master: Option<Tuple>,
}

/// An expectation, as control planes see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// The tuple of the packet that is expected.
    pub tuple: Tuple,
    /// The bits of the source that are compared: the tuple's addresses and ports.
    pub mask: (IpAddr, u16),
    /// The original tuple of the connection that expects it.
    pub master: Tuple,
    /// The time until which it is expected.
    pub timeout: Duration,
    /// The helper's class.
    pub class: u32,
    /// The flags.
    pub flags: u32,
    /// The zone's number.
    pub zone: u16,
    /// The helper's name.
    pub helper: String,
    /// The direction, address and port of its translation, and the name of the function.
    pub nat: Option<(u32, IpAddr, u16)>,
    /// The name of the function that translates it.
    pub function: String,
}

/// Reports whether the kernel's remaining time is that of the library.
fn times_agree(ours: Duration, kernels: Duration) -> bool {
    kernels + LESS >= ours && kernels <= ours + MORE
}

impl Expected {
    fn agrees(&self, kernel: &Expected) -> bool {
        let comparable = Expected {
            timeout: kernel.timeout,
            ..self.clone()
        };
        times_agree(self.timeout, kernel.timeout) && comparable == *kernel
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} mask {:?} of {:?} {:.1}s class={} flags={:#x} zone={} helper={} nat={:?} {}",
            self.tuple,
            self.mask,
            self.master,
            self.timeout.as_secs_f64(),
            self.class,
            self.flags,
            self.zone,
            self.helper,
            self.nat,
            self.function,
        )
    }
}

impl Entry {
    /// The tuples in an order of their own.
    fn key(&self) -> String {
        format!("{:?}", self.tuples)
    }

    fn agrees(&self, kernel: &Entry) -> bool {
        let comparable = Entry {
            timeout: kernel.timeout,
            ..self.clone()
        };
        times_agree(self.timeout, kernel.timeout) && comparable == *kernel
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} / {:?} ", self.tuples[0], self.tuples[1])?;
        write!(
            f,
            "{:?} {:.1}s mark={}",
            self.status,
            self.timeout.as_secs_f64(),
            self.mark
        )?;
        for (name, value) in &self.proto {
            write!(f, " {name}={value:#x}")?;
        }
        if let Some(helper) = &self.helper {
            write!(f, " helper={helper}")?;
        }
        if let Some(master) = &self.master {
            write!(f, " master={master:?}")?;
        }
        write!(f, " zone={} counters={:?}", self.zone, self.counters)
    }
}

/// The observable state of a tracker after a packet.
#[derive(Clone, Debug)]
pub struct Observation {
    /// The packet's state.
    pub verdict: Verdict,
    /// The packets that were passed on: the packet itself, the fragments of a datagram of which it is
    /// the last, or nothing.
    pub forwarded: Vec<Vec<u8>>,
    /// All connections.
    pub entries: Vec<Entry>,
    /// All expectations.
    pub expected: Vec<Expected>,
}

impl Observation {
    /// Reports whether this, the library's observation, is what the kernel shows.
    pub fn agrees(&self, kernel: &Observation) -> bool {
        let sorted = |observation: &Observation| {
            let mut entries = observation.entries.clone();
            entries.sort_by_key(Entry::key);
            entries
        };
        let (ours, theirs) = (sorted(self), sorted(kernel));
        let expected = |observation: &Observation| {
            let mut expected = observation.expected.clone();
            expected.sort_by_key(|one| format!("{:?}", (one.tuple, one.mask)));
            expected
        };
        let (our_expected, their_expected) = (expected(self), expected(kernel));
        self.verdict == kernel.verdict
            && self.forwarded == kernel.forwarded
            && ours.len() == theirs.len()
            && ours.iter().zip(&theirs).all(|(a, b)| a.agrees(b))
            && our_expected.len() == their_expected.len()
            && our_expected
                .iter()
                .zip(&their_expected)
                .all(|(a, b)| a.agrees(b))
    }
}

impl fmt::Display for Observation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.verdict {
            Verdict::State(state) => writeln!(f, "state {state:?}")?,
            verdict => writeln!(f, "{verdict:?}")?,
        }
        for bytes in &self.forwarded {
            writeln!(f, "passed on {}", hex(bytes))?;
        }
        if self.forwarded.is_empty() {
            writeln!(f, "nothing passed on")?;
        }
        for entry in &self.entries {
            writeln!(f, "entry {entry}")?;
        }
        for one in &self.expected {
            writeln!(f, "expected {one}")?;
        }
        Ok(())
    }
}

/// A packet without what both trackers choose: the identification of an IPv6 fragment.
pub fn comparable(mut packet: Vec<u8>) -> Vec<u8> {
    let is_fragment = packet.len() >= 48 && packet[0] >> 4 == 6 && packet[6] == 44;
    if is_fragment {
        packet[44..48].fill(0);
    }
    packet
}

/// Bytes in hexadecimal digits.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use adit_conntrack::testing::V4;
    use adit_conntrack::{Endpoint, Protocol};

    use super::*;

    fn observation(timeout: Duration) -> Observation {
        let [src, dst] = [(V4.src, V4.src_port), (V4.dst, V4.dst_port)]
            .map(|(address, part)| Endpoint { address, part });
        let tuple = Tuple::new(Protocol::UDP, src, dst).unwrap();
        Observation {
            verdict: Verdict::State(CtState::TRACKED | CtState::NEW),
            forwarded: vec![vec![1]],
            entries: vec![Entry {
                tuples: [tuple, tuple.invert().unwrap()],
                status: Status::CONFIRMED,
                timeout,
                mark: 0,
                proto: Vec::new(),
                counters: [(1, 28), (0, 0)],
                zone: 0,
                helper: None,
                master: None,
            }],
            expected: Vec::new(),
        }
    }

    #[test]
    fn timeouts_agree_to_the_second() {
        let ours = observation(Duration::from_millis(29_990));
        for (seconds, agrees) in [(27, false), (29, true), (30, true), (31, false)] {
            let kernel = observation(Duration::from_secs(seconds));
            assert_eq!(ours.agrees(&kernel), agrees, "{seconds}");
        }
    }

    #[test]
    fn any_other_difference_counts() {
        let ours = observation(Duration::from_secs(30));
        let kernel = observation(Duration::from_secs(30));
        let changes: [fn(&mut Observation); 6] = [
            |it| it.verdict = Verdict::Unseen,
            |it| it.forwarded.clear(),
            |it| it.entries.clear(),
            |it| it.entries[0].status = Status::NONE,
            |it| it.entries[0].proto = vec![("state", 1)],
            |it| it.entries[0].counters[1] = (1, 28),
        ];
        assert!(ours.agrees(&kernel));
        for change in changes {
            let mut kernel = kernel.clone();
            change(&mut kernel);
            assert!(!ours.agrees(&kernel), "{kernel}");
        }
    }
}
