// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The configuration of a stack.

use std::net::IpAddr;
use std::time::Duration;

use crate::Address;

/// Bounds of the stack's memory and of the time that unfinished connections may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections, in all states.
    pub connections: usize,
    /// Connections of one client address; 0 for no limit.
    pub per_client: usize,
    /// Connections whose handshake is not finished.
    pub half_open: usize,
    /// Bytes of each connection's receive buffer.
    pub receive_buffer: usize,
    /// Bytes of each connection's send buffer.
    pub send_buffer: usize,
    /// The time that a handshake may take.
    pub handshake: Duration,
    /// The time that the peer of a closed connection has to acknowledge and to close.
    pub linger: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            per_client: 0,
            half_open: 512,
            receive_buffer: 8 << 10,
            send_buffer: 32 << 10,
            handshake: Duration::from_secs(10),
            linger: Duration::from_secs(10),
        }
    }
}

/// The configuration of a stack.
#[derive(Clone, Debug)]
pub struct Config {
    /// The MAC address.
    pub mac: [u8; 6],
    /// The IP addresses.
    pub addresses: Vec<Address>,
    /// Default gateways, at most one of each address family.
    pub gateways: Vec<IpAddr>,
    /// The TCP port of the server.
    pub port: u16,
    /// The bounds.
    pub limits: Limits,
}
