// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Drop counters, by reason.

use std::collections::BTreeMap;

/// A reason to drop a frame between a wire and a driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// RX: the virtual port is not enabled. TX: it has ended while the frame waited for its wire.
    PortDisabled,
    /// RX: the ADI is suspended.
    Suspended,
    /// RX: no filter of the port matches.
    Filtered,
    /// RX: a flow rule drops it.
    Rule,
    /// RX: the selected queue is not running.
    QueueDisabled,
    /// RX: too few buffers are posted.
    NoBuffer,
    /// RX: longer than the driver's maximum.
    TooLong,
    /// RX: it cannot be segmented to the driver's maximum.
    Unsegmentable,
    /// RX or TX: no Ethernet header.
    Runt,
    /// RX or TX: a ring or buffer could not be used.
    QueueFault,
    /// TX: longer than any wire carries, or empty.
    BadLength,
    /// TX: the requested offload does not fit the frame.
    BadOffload,
    /// TX: the wire did not accept it (the wire's counters have the reason).
    Wire,
    /// TX: there is no wire.
    NoWire,
    /// TX: an ADI used an address that is not its own.
    Spoofed,
    /// TX: an ADI inserted a VLAN tag.
    Tagged,
    /// RX or TX: the program drops it.
    Program,
    /// RX or TX: the program rejects it, with an answer if the rules for answers allow one.
    Rejected,
    /// RX or TX: the program sets no destination.
    NotForwarded,
    /// RX or TX: it exceeded the maximum number of passes through the program.
    TooManyPasses,
    /// RX or TX: the program exceeded the limit on its steps.
    ProgramTooLong,
    /// RX or TX: the program sends it to a port that does not exist.
    NoSuchPort,
    /// RX or TX: the program adds more headers than the headroom holds.
    NoHeadroom,
    /// RX or TX: too many packets wait for the control plane.
    SlowPathFull,
    /// RX or TX: it waited when the process of the device was replaced.
    Update,
}

impl DropReason {
    /// Every reason, in the order of the counters.
    pub const ALL: [Self; 25] = [
        Self::PortDisabled,
        Self::Suspended,
        Self::Filtered,
        Self::Rule,
        Self::QueueDisabled,
        Self::NoBuffer,
        Self::TooLong,
        Self::Unsegmentable,
        Self::Runt,
        Self::QueueFault,
        Self::BadLength,
        Self::BadOffload,
        Self::Wire,
        Self::NoWire,
        Self::Spoofed,
        Self::Tagged,
        Self::Program,
        Self::Rejected,
        Self::NotForwarded,
        Self::TooManyPasses,
        Self::ProgramTooLong,
        Self::NoSuchPort,
        Self::NoHeadroom,
        Self::SlowPathFull,
        Self::Update,
    ];

    /// The reason as a metrics label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::PortDisabled => "port_disabled",
            Self::Suspended => "suspended",
            Self::Filtered => "filtered",
            Self::Rule => "rule",
            Self::QueueDisabled => "queue_disabled",
            Self::NoBuffer => "no_buffer",
            Self::TooLong => "too_long",
            Self::Unsegmentable => "unsegmentable",
            Self::Runt => "runt",
            Self::QueueFault => "queue_fault",
            Self::BadLength => "bad_length",
            Self::BadOffload => "bad_offload",
            Self::Wire => "wire",
            Self::NoWire => "no_wire",
            Self::Spoofed => "spoofed",
            Self::Tagged => "tagged",
            Self::Program => "program",
            Self::Rejected => "rejected",
            Self::NotForwarded => "not_forwarded",
            Self::TooManyPasses => "too_many_passes",
            Self::ProgramTooLong => "program_too_long",
            Self::NoSuchPort => "no_such_port",
            Self::NoHeadroom => "no_headroom",
            Self::SlowPathFull => "slow_path_full",
            Self::Update => "update",
        }
    }
}

impl DropReason {
    /// An explanation for people.
    #[must_use]
    pub fn explanation(self) -> &'static str {
        match self {
            Self::PortDisabled => "the virtual port is not enabled, or has ended",
            Self::Suspended => "the ADI is suspended",
            Self::Filtered => "no address filter of the virtual port has its destination",
            Self::Rule => "a flow rule of the driver drops it",
            Self::QueueDisabled => "the receive queue is not running",
            Self::NoBuffer => "the receive queue has too few buffers",
            Self::TooLong => "it is longer than the driver accepts",
            Self::Unsegmentable => "it cannot be segmented to what the driver accepts",
            Self::Runt => "it has no Ethernet header",
            Self::QueueFault => "a ring or buffer of the queue could not be used",
            Self::BadLength => "it is empty, or longer than any wire carries",
            Self::BadOffload => "the requested offload does not fit it",
            Self::Wire => "the wire did not accept it",
            Self::NoWire => "there is no wire",
            Self::Spoofed => "its source address is not one of the ADI's",
            Self::Tagged => "an ADI may not insert a VLAN tag",
            Self::Program => "the program dropped it",
            Self::Rejected => "the program rejected it",
            Self::NotForwarded => "the program did not forward it",
            Self::TooManyPasses => "it went through the program too often",
            Self::ProgramTooLong => "the program ran for too long",
            Self::NoSuchPort => "the program sends it to a port that there is not",
            Self::NoHeadroom => "the program adds more headers than there is room for",
            Self::SlowPathFull => "too many packets wait for the control plane",
            Self::Update => "it waited when the process of the device was replaced",
        }
    }
}

/// Counters of one direction of one virtual port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts([u64; DropReason::ALL.len()]);

impl Counts {
    /// Counts one frame.
    pub fn count(&mut self, reason: DropReason) {
        self.count_many(reason, 1);
    }

    /// Counts frames.
    pub fn count_many(&mut self, reason: DropReason, frames: u64) {
        self.0[reason as usize] += frames;
    }

    /// Frames dropped for a reason.
    #[must_use]
    pub fn get(&self, reason: DropReason) -> u64 {
        self.0[reason as usize]
    }

    /// The counters that are not zero, by the labels of their reasons.
    #[must_use]
    pub fn named(&self) -> BTreeMap<String, u64> {
        let counts = DropReason::ALL.map(|reason| (reason.label().to_owned(), self.get(reason)));
        counts
            .into_iter()
            .filter(|(_, frames)| *frames > 0)
            .collect()
    }

    /// Adds counters by the labels of their reasons. Unknown ones are ignored.
    pub fn add_named(&mut self, named: &BTreeMap<String, u64>) {
        for reason in DropReason::ALL {
            self.count_many(reason, named.get(reason.label()).copied().unwrap_or(0));
        }
    }

    /// Adds another set of counters.
    pub fn add(&mut self, other: &Self) {
        for (mine, others) in self.0.iter_mut().zip(other.0) {
            *mine += others;
        }
    }

    /// Frames dropped for any reason.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

/// Drop counters of one virtual port. Frames from the wire are those delivered plus `rx`; frames
/// from the driver are those sent plus `tx`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drops {
    /// Frames from the wire to the driver.
    pub rx: Counts,
    /// Frames from the driver to the wire.
    pub tx: Counts,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_its_own_counter_and_label() {
        let mut counts = Counts::default();
        let mut labels = std::collections::HashSet::new();
        for (i, reason) in DropReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, i);
            assert!(labels.insert(reason.label()));
            counts.count(reason);
            assert_eq!(counts.get(reason), 1);
        }
        assert_eq!(counts.total(), DropReason::ALL.len() as u64);
        let mut named = counts.named();
        named.insert("of_another_release".into(), 9);
        counts.add_named(&named);
        assert_eq!(counts.total(), 2 * DropReason::ALL.len() as u64);
    }
}
