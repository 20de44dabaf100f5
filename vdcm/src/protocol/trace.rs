// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The record of what happened to a composed device.

use serde::{Deserialize, Serialize};

/// The cause of a reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResetCause {
    /// The driver's message RESET_VF.
    Driver,
    /// A function-level reset in configuration space.
    Function,
    /// The client's reset of the device.
    Client,
    /// The client disconnected.
    Disconnect,
    /// An ADI is gone.
    AdiGone,
    /// An ADI was replaced.
    AdiSwapped,
    /// A saved state could not be restored.
    Restore,
    /// A cause that this version does not know.
    #[serde(other)]
    Unknown,
}

impl ResetCause {
    /// All that this version knows.
    pub const ALL: [Self; 7] = [
        Self::Driver,
        Self::Function,
        Self::Client,
        Self::Disconnect,
        Self::AdiGone,
        Self::AdiSwapped,
        Self::Restore,
    ];

    /// The name, as it is serialised.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Driver => "driver",
            Self::Function => "function",
            Self::Client => "client",
            Self::Disconnect => "disconnect",
            Self::AdiGone => "adi_gone",
            Self::AdiSwapped => "adi_swapped",
            Self::Restore => "restore",
            Self::Unknown => "unknown",
        }
    }
}

/// An event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum TraceEvent {
    /// A request of the driver, with the control plane's answer.
    Request {
        /// The virtchnl2 opcode.
        opcode: u32,
        /// The opcode's name; empty if it is unknown.
        name: String,
        /// The length of its payload in bytes.
        len: u32,
        /// The status of the reply (virtchnl2); 0 for success.
        status: u32,
    },
    /// A message to the driver that is no reply.
    Notified {
        /// The virtual port.
        vport: u32,
        /// Set if its link is up.
        link_up: bool,
    },
    /// A message to an ADI.
    AdiRequest {
        /// The ADI's virtual port.
        vport: u32,
        /// The opcode.
        opcode: u32,
        /// The opcode's name; empty if it is unknown.
        name: String,
        /// The reason for which it was not executed, if so.
        error: Option<String>,
    },
    /// A queue of an ADI was stopped by a fault.
    AdiFault {
        /// The ADI's virtual port.
        vport: u32,
        /// The fault, as text.
        fault: String,
    },
    /// A window of memory was mapped, or refused.
    Map {
        /// Its address.
        iova: u64,
        /// Its length in bytes.
        len: u64,
        /// The reason for which it was refused, if so.
        error: Option<String>,
    },
    /// A window of memory was unmapped.
    Unmap {
        /// Its address.
        iova: u64,
        /// Its length in bytes.
        len: u64,
    },
    /// The device was reset.
    Reset {
        /// The cause.
        cause: ResetCause,
    },
    /// The device was suspended.
    Suspended,
    /// The suspension has ended.
    Resumed,
    /// A saved state was restored; the device is suspended.
    Restored,
    /// A client connected.
    Connected,
    /// The client disconnected.
    Disconnected,
    /// An event that this version does not know.
    #[serde(other)]
    Unknown,
}

/// An event, with its number and its time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceEntry {
    /// Its number: counts up from 1 while the device exists. Numbers that are missing are of
    /// entries that were overwritten.
    pub seq: u64,
    /// The time in microseconds since the device was created.
    pub time_us: u64,
    /// The event.
    #[serde(flatten)]
    pub event: TraceEvent,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_a_flat_object() {
        let entry = TraceEntry {
            seq: 3,
            time_us: 14,
            event: TraceEvent::Reset {
                cause: ResetCause::AdiGone,
            },
        };
        let text = serde_json::to_string(&entry).unwrap();
        assert_eq!(
            text,
            r#"{"seq":3,"time_us":14,"event":"reset","cause":"adi_gone"}"#
        );
        assert_eq!(serde_json::from_str::<TraceEntry>(&text).unwrap(), entry);
    }

    #[test]
    fn names_of_causes_are_those_of_the_protocol() {
        for cause in ResetCause::ALL {
            let text = serde_json::to_string(&cause).unwrap();
            assert_eq!(text, format!("\"{}\"", cause.name()));
        }
    }

    #[test]
    fn an_event_of_a_later_version_is_an_event_still() {
        let text = r#"{"seq":3,"time_us":14,"event":"on_fire","heat":9}"#;
        let entry: TraceEntry = serde_json::from_str(text).unwrap();
        assert_eq!((entry.seq, entry.event), (3, TraceEvent::Unknown));
        let cause: ResetCause = serde_json::from_str("\"lightning\"").unwrap();
        assert_eq!(cause.name(), "unknown");
    }
}
