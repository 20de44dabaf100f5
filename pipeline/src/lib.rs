// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The packet pipeline: pure functions from frames to decisions. No I/O, no clock of its own.

pub mod offload;
