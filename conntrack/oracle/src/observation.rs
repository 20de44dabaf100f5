// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The observable state of a tracker after a packet, and the differences between two trackers.

use std::fmt;
use std::time::Duration;

use adit_conntrack::{CtState, Status, Tuple};

/// The tolerance of the kernel's remaining time downwards: it counts whole seconds, rounded down,
/// and has taken the packet a little later.
const LESS: Duration = Duration::from_millis(1900);
/// The tolerance upwards: ticks are rounded up.
const MORE: Duration = Duration::from_millis(100);

/// The state that a tracker gives a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The packet is tracked. Bits of translation are compared with the status.
    State(CtState),
    /// The tracker does not track such packets.
    Untracked,
    /// The packet was dropped before its state was seen.
    Unseen,
}

/// A connection, as control planes see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The tuples of both directions.
    pub(crate) tuples: [Tuple; 2],
    pub(crate) status: Status,
    /// The time until the timeout.
    pub(crate) timeout: Duration,
    pub(crate) mark: u32,
    /// The state of the protocol: the attributes of `CTA_PROTOINFO` by name.
    pub(crate) proto: Vec<(&'static str, u32)>,
    /// Packets and octets of both directions.
    pub(crate) counters: [(u64, u64); 2],
}

impl Entry {
    /// The tuples in an order of their own.
    fn key(&self) -> String {
        format!("{:?}", self.tuples)
    }

    fn agrees(&self, kernel: &Entry) -> bool {
        let timeouts =
            kernel.timeout + LESS >= self.timeout && kernel.timeout <= self.timeout + MORE;
        let comparable = Entry {
            timeout: kernel.timeout,
            ..self.clone()
        };
        timeouts && comparable == *kernel
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
        write!(f, " counters={:?}", self.counters)
    }
}

/// The observable state of a tracker after a packet.
#[derive(Clone, Debug)]
pub(crate) struct Observation {
    pub(crate) verdict: Verdict,
    /// The packet as it was passed on; absent if it was dropped.
    pub(crate) forwarded: Option<Vec<u8>>,
    /// All connections.
    pub(crate) entries: Vec<Entry>,
}

impl Observation {
    /// Reports whether this, the library's observation, is what the kernel shows.
    pub(crate) fn agrees(&self, kernel: &Observation) -> bool {
        let sorted = |observation: &Observation| {
            let mut entries = observation.entries.clone();
            entries.sort_by_key(Entry::key);
            entries
        };
        let (ours, theirs) = (sorted(self), sorted(kernel));
        self.verdict == kernel.verdict
            && self.forwarded == kernel.forwarded
            && ours.len() == theirs.len()
            && ours.iter().zip(&theirs).all(|(a, b)| a.agrees(b))
    }
}

impl fmt::Display for Observation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.verdict {
            Verdict::State(state) => writeln!(f, "state {state:?}")?,
            verdict => writeln!(f, "{verdict:?}")?,
        }
        match &self.forwarded {
            Some(bytes) => writeln!(f, "passed on {}", hex(bytes))?,
            None => writeln!(f, "dropped")?,
        }
        for entry in &self.entries {
            writeln!(f, "entry {entry}")?;
        }
        Ok(())
    }
}

/// Octets in hexadecimal digits.
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
        let tuple = Tuple::new(Protocol::UDP, src, dst);
        Observation {
            verdict: Verdict::State(CtState::TRACKED | CtState::NEW),
            forwarded: Some(vec![1]),
            entries: vec![Entry {
                tuples: [tuple, tuple.invert().unwrap()],
                status: Status::CONFIRMED,
                timeout,
                mark: 0,
                proto: Vec::new(),
                counters: [(1, 28), (0, 0)],
            }],
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
            |it| it.forwarded = None,
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
