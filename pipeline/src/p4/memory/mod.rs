// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Data structures that packets read while control planes write.

mod arena;
mod epoch;
mod parts;
mod pool;
mod prefetch;
mod snapshot;

pub(super) use arena::{Arena, Words};
pub(super) use epoch::{Epochs, Pin, MAX_WORKERS};
pub(super) use parts::Parts;
pub(super) use pool::Pool;
pub(super) use prefetch::prefetch;
pub(super) use snapshot::{Limbo, Snapshot};
