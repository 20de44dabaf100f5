// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A queue pair of an ADI as a port.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use adit_adi::{Adi, Buffer, Checksum, QueuePair, Wakeup};

use crate::{Address, Error, Frame, Port};

impl Frame for Buffer {
    fn set_len(&mut self, len: usize) {
        Buffer::set_len(self, len);
    }

    fn checksum(&self) -> Checksum {
        self.info().checksum
    }

    fn request_checksum(&mut self) {
        Buffer::request_checksum(self);
    }
}

/// A queue pair of an ADI.
pub struct AdiPort {
    pair: QueuePair,
    mtu: usize,
}

impl AdiPort {
    /// A port on a queue pair; `mtu` is the maximum length of an IP packet in bytes.
    #[must_use]
    pub fn new(pair: QueuePair, mtu: usize) -> Self {
        Self { pair, mtu }
    }

    /// Returns the queue pair.
    #[must_use]
    pub fn pair(&self) -> &QueuePair {
        &self.pair
    }
}

impl Port for AdiPort {
    type Frame = Buffer;

    fn mtu(&self) -> usize {
        self.mtu
    }

    fn completes_checksums(&self) -> bool {
        true
    }

    fn alloc(&mut self) -> Option<Buffer> {
        self.pair.pool().alloc()
    }

    fn receive(&mut self, frames: &mut Vec<Buffer>, max: usize) -> Result<usize, Error> {
        Ok(self.pair.rx.receive(frames, max)?)
    }

    fn send(&mut self, frames: &mut VecDeque<Buffer>) -> Result<usize, Error> {
        let sent = self
            .pair
            .tx
            .send(&mut std::iter::from_fn(|| frames.pop_front()))?;
        Ok(sent)
    }

    fn wait(&mut self, timeout: Option<Duration>) -> Result<Wakeup, Error> {
        Ok(self.pair.wait(timeout)?)
    }

    fn waker(&self) -> Result<Option<OwnedFd>, Error> {
        let fd = self.pair.as_fd().try_clone_to_owned();
        fd.map(Some).map_err(|source| Error::Io {
            what: "the eventfd of a queue pair cannot be duplicated",
            source,
        })
    }
}

/// Has the ADI receive the multicast frames in which others solicit the MAC address of these IPv6
/// addresses (RFC 4861, section 2.3; RFC 2464, section 7).
///
/// # Errors
/// Fails when the device refuses an address.
pub fn join_solicited(adi: &Adi, addresses: &[Address]) -> Result<(), Error> {
    for address in addresses {
        if let IpAddr::V6(ip) = address.ip() {
            let [.., a, b, c] = ip.octets();
            adi.add_multicast([0x33, 0x33, 0xFF, a, b, c])?;
        }
    }
    Ok(())
}
