// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A NIC on loopback for tests: P4Runtime and the service of connections over an engine with the
//! node's program, and packets through it with a clock of the test's.

pub mod entries;
pub mod nic;
pub mod setup;
mod tap;
