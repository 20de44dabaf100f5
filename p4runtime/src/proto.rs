// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The standard's protobuf messages, generated from `proto/`: P4Runtime 1.4 and later additions.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    reason = "generated; the standard documents them"
)]

pub mod google {
    pub mod rpc {
        tonic::include_proto!("google.rpc");
    }
}

pub mod p4 {
    pub mod config {
        pub mod v1 {
            tonic::include_proto!("p4.config.v1");
        }
    }
    pub mod v1 {
        tonic::include_proto!("p4.v1");
    }
}

pub use google::rpc::Status;
pub use p4::config::v1 as config;
pub use p4::v1;

/// The descriptors of all messages.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
