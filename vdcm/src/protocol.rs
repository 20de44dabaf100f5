// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The types that the daemon and its clients exchange, as they are serialised.
//!
//! Names of fields and variants are part of the control protocol: a new field has a default, and
//! none changes its meaning. Addresses and ids are text, as users write them.

mod error;
mod info;
mod spec;
mod stats;
pub(crate) mod text;
mod trace;

pub use error::{ErrorCode, VdevError};
pub use info::{AdiInfo, AdiState, VdevInfo, VdevState};
pub use spec::{Layout, Limits, Spec, MAX_ADIS, MAX_GROUP, MAX_NAME_LEN};
pub use stats::{AdiStats, DmaStats, Traffic, VdevStats};
pub use trace::{ResetCause, TraceEntry, TraceEvent};
