// SPDX-License-Identifier: Apache-2.0 OR MIT
//! P4Runtime for the pipeline: P4Info of programs, a gRPC server on top of the engine, a client.

pub mod bytes;
pub mod client;
pub mod constraints;
pub mod loaded;
pub mod p4info;
pub mod program;
pub mod proto;
pub mod server;
pub mod watch;
