// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The connection tracker over gRPC: the service `adit.v1.Conntrack`, whose messages
//! `proto/adit/v1/conntrack.proto` documents, and a client.
#![forbid(unsafe_code)]

pub mod client;
mod convert;
pub mod proto;
mod server;
pub mod state;

pub use convert::Malformed;
pub use server::{service, Clock, Gate};
