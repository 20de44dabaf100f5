// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Why frames go no further, counted by reason.

/// A reason to drop a frame between a wire and a driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drop {
    /// RX: the virtual port is not enabled.
    PortDisabled,
    /// RX: no filter of the port wants it.
    Filtered,
    /// RX: a rule says so.
    Rule,
    /// RX: the queue chosen for it is not running.
    QueueDisabled,
    /// RX: too few buffers are posted.
    NoBuffer,
    /// RX: longer than the driver takes.
    TooLong,
    /// RX: it cannot be cut to what the driver takes.
    Unsegmentable,
    /// RX or TX: no Ethernet header.
    Runt,
    /// RX or TX: a ring or buffer could not be used.
    QueueFault,
    /// TX: longer than any wire carries, or empty.
    BadLength,
    /// TX: what is asked to be done with it does not fit it.
    BadOffload,
    /// TX: the wire did not take it (why is among the wire's counters).
    Wire,
    /// TX: there is no wire.
    NoWire,
    /// TX: an ADI used an address that is not its own.
    Spoofed,
    /// TX: an ADI put a VLAN tag on it.
    Tagged,
    /// RX or TX: the program says so.
    Program,
    /// RX or TX: the program does not say where to.
    NotForwarded,
    /// RX or TX: it went through the program too often.
    TooManyPasses,
    /// RX or TX: the program ran for too long.
    ProgramTooLong,
    /// RX or TX: the program sends it to a port that is not there.
    NoSuchPort,
    /// RX or TX: the program makes it longer than there is room for.
    NoHeadroom,
    /// RX or TX: too many packets wait for the control plane.
    SlowPathFull,
}

impl Drop {
    /// Every reason, in the order of the counters.
    pub const ALL: [Self; 22] = [
        Self::PortDisabled,
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
        Self::NotForwarded,
        Self::TooManyPasses,
        Self::ProgramTooLong,
        Self::NoSuchPort,
        Self::NoHeadroom,
        Self::SlowPathFull,
    ];

    /// The reason as a metrics label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::PortDisabled => "port_disabled",
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
            Self::NotForwarded => "not_forwarded",
            Self::TooManyPasses => "too_many_passes",
            Self::ProgramTooLong => "program_too_long",
            Self::NoSuchPort => "no_such_port",
            Self::NoHeadroom => "no_headroom",
            Self::SlowPathFull => "slow_path_full",
        }
    }
}

/// Counters of one direction of one virtual port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts([u64; Drop::ALL.len()]);

impl Counts {
    /// Counts one frame.
    pub fn count(&mut self, reason: Drop) {
        self.count_many(reason, 1);
    }

    /// Counts frames.
    pub fn count_many(&mut self, reason: Drop, frames: u64) {
        self.0[reason as usize] += frames;
    }

    /// Frames dropped for a reason.
    #[must_use]
    pub fn get(&self, reason: Drop) -> u64 {
        self.0[reason as usize]
    }

    /// Adds what others have counted.
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

/// Counters of one virtual port. Frames from the wire are those delivered plus `rx`; frames from
/// the driver are those that left plus `tx`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drops {
    /// From the wire to the driver.
    pub rx: Counts,
    /// From the driver to the wire.
    pub tx: Counts,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_its_own_counter_and_label() {
        let mut counts = Counts::default();
        let mut labels = std::collections::HashSet::new();
        for (i, reason) in Drop::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, i);
            assert!(labels.insert(reason.label()));
            counts.count(reason);
            assert_eq!(counts.get(reason), 1);
        }
        assert_eq!(counts.total(), Drop::ALL.len() as u64);
    }
}
