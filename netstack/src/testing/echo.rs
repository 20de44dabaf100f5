// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A server that sends back what it receives.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::{Next, Service, Socket};

/// The time that a client may be silent by default.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A server that sends back what it receives, until the client ends its connection.
#[derive(Debug, Default)]
pub struct Echo {
    /// Connections begun.
    pub open: usize,
    /// Connections that have ended.
    pub closed: usize,
    /// The time that a client may be silent, if not the default; with zero each connection is reset.
    pub patience: Option<Duration>,
}

impl Service for Echo {
    /// The bytes that are still to be sent.
    type Session = Vec<u8>;

    fn open(&mut self, peer: SocketAddr, local: SocketAddr, _: Instant) -> Vec<u8> {
        assert_ne!(peer, local);
        self.open += 1;
        Vec::new()
    }

    fn advance(&mut self, kept: &mut Vec<u8>, socket: &mut Socket<'_>, now: Instant) -> Next {
        loop {
            let sent = socket.send(|space| {
                let len = kept.len().min(space.len());
                space[..len].copy_from_slice(&kept[..len]);
                len
            });
            kept.drain(..sent);
            if !kept.is_empty() {
                return Next::Wait(now + TIMEOUT);
            }
            let received = socket.receive(|bytes| {
                kept.extend_from_slice(bytes);
                bytes.len()
            });
            if received == 0 {
                break;
            }
        }
        if socket.is_at_end() {
            return Next::Done;
        }
        match self.patience {
            Some(Duration::ZERO) => Next::Abort,
            patience => Next::Wait(now + patience.unwrap_or(TIMEOUT)),
        }
    }

    fn close(&mut self, _: Vec<u8>) {
        self.closed += 1;
    }
}
