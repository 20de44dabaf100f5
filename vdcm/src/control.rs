// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The control protocol: JSON lines over a UNIX stream socket (`vdcm/PROTOCOL.md`).
//!
//! A [`Server`](server::Server) has one thread for all connections. It executes a request when its
//! line is complete, one of each connection in turn; it never waits for a client. What a client can
//! occupy is bounded: the length of a request, one reply at a time, connections for each user, and
//! the time for each of these.

pub mod access;
pub mod client;
mod connection;
pub mod devices;
pub mod message;
mod passed;
pub mod server;
