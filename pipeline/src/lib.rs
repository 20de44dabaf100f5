// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The packet pipeline: pure functions from frames to decisions. No I/O, no clock of its own.

pub mod checksum;
pub mod flow;
pub mod fragment;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
mod headers;
pub mod offload;
pub mod p4;
pub mod parse;
pub mod reject;
pub mod rss;
pub mod segment;
#[cfg(test)]
mod testing;
pub mod tunnel;
