// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The faults that stop a queue.

use adit_uapi::virtchnl2::adi::fault_reason;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::memory::{DmaFault, FaultCause};
use crate::pasid::TranslationFault;

/// The reason that a queue stopped. It stays stopped until the driver disables it or resets the
/// function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum QueueFault {
    /// The ring's memory, or a buffer's, is not accessible.
    #[error(transparent)]
    Dma(#[from] DmaFault),
    /// The tail is beyond the ring.
    #[error("tail {tail} of a ring of {len} entries")]
    Tail {
        /// The tail that the driver wrote.
        tail: u32,
        /// The number of entries of the ring.
        len: u16,
    },
    /// A descriptor has a type that is not valid in this queue.
    #[error("descriptor type {dtype} at entry {entry}")]
    DescriptorType {
        /// The descriptor's type field.
        dtype: u8,
        /// The descriptor's index in the ring.
        entry: u16,
    },
    /// A packet has more descriptors than are allowed.
    #[error("a packet of more than {max} descriptors")]
    EndlessPacket {
        /// The maximum number of descriptors.
        max: usize,
    },
    /// The queue's completion queue is not enabled.
    #[error("its completion queue is not enabled")]
    NoCompletionQueue,
}

impl QueueFault {
    /// The reason reported to the owner of an ADI (`fault_reason`).
    #[must_use]
    pub fn reason(&self) -> u32 {
        use TranslationFault as F;
        match self {
            Self::Dma(fault) => match fault.cause {
                FaultCause::Misaligned => fault_reason::ALIGNMENT,
                FaultCause::Unmapped | FaultCause::Permission => fault_reason::TABLES,
                FaultCause::Translation(cause) => match cause {
                    F::NotMapped | F::AddressRange => fault_reason::NOT_MAPPED,
                    F::Permission => fault_reason::PERMISSION,
                    F::NotPresent(_) | F::PasidDisabled | F::PasidRange => fault_reason::PASID,
                    F::NoRootTable
                    | F::Unreadable(_)
                    | F::TranslationType(_)
                    | F::AddressWidth(_)
                    | F::NotPassedThrough
                    | F::NoMemory => fault_reason::TABLES,
                },
            },
            Self::Tail { .. } => fault_reason::TAIL,
            Self::DescriptorType { .. } | Self::EndlessPacket { .. } => fault_reason::DESCRIPTOR,
            Self::NoCompletionQueue => fault_reason::NO_COMPLETION_QUEUE,
        }
    }
}
