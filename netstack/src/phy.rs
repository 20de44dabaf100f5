// SPDX-License-Identifier: Apache-2.0 OR MIT
//! smoltcp's view of a port: at most one received frame at a time, and frames that leave as a burst.

use std::collections::VecDeque;

use smoltcp::phy::{Checksum, ChecksumCapabilities, Device, DeviceCapabilities, Medium};
use smoltcp::phy::{RxToken, TxToken};
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetFrame, EthernetProtocol, IpProtocol, Ipv4Packet, Ipv6Packet};

use crate::{Frame, Port};

/// The length of an Ethernet header in bytes.
pub(crate) const ETHERNET: usize = 14;
/// Frames that may wait for space in the TX ring. More stay in the send buffers of their connections.
const BACKLOG: usize = 256;
/// The offset of the checksum in a TCP header (RFC 9293, section 3.1).
const TCP_CHECKSUM: usize = 16;

pub(crate) struct Phy<P: Port> {
    pub(crate) port: P,
    /// The frame that smoltcp takes next.
    pub(crate) received: Option<P::Frame>,
    /// Frames on their way to the port.
    pub(crate) out: VecDeque<P::Frame>,
    /// Set while replies are discarded.
    pub(crate) mute: bool,
    /// Set when a frame could not be sent: no space, or no buffer.
    pub(crate) exhausted: bool,
}

impl<P: Port> Phy<P> {
    pub(crate) fn new(port: P) -> Self {
        Self {
            port,
            received: None,
            out: VecDeque::with_capacity(2 * BACKLOG),
            mute: false,
            exhausted: false,
        }
    }

    /// Returns whether frames may be received: each may have an immediate reply.
    pub(crate) fn has_room(&self) -> bool {
        self.out.len() < BACKLOG
    }

    fn token(&mut self) -> Option<Tx<'_, P>> {
        if self.out.len() >= 2 * BACKLOG {
            self.exhausted = true;
            return None;
        }
        let Some(frame) = self.port.alloc() else {
            self.exhausted = true;
            return None;
        };
        Some(Tx {
            frame,
            out: &mut self.out,
            mute: self.mute,
            complete: self.port.completes_checksums(),
        })
    }
}

impl<P: Port> Device for Phy<P> {
    type RxToken<'a>
        = Rx<P>
    where
        P: 'a;
    type TxToken<'a>
        = Tx<'a, P>
    where
        P: 'a;

    fn receive(&mut self, _: Instant) -> Option<(Rx<P>, Tx<'_, P>)> {
        let frame = self.received.take()?;
        let token = self.token()?;
        Some((Rx(frame), token))
    }

    fn transmit(&mut self, _: Instant) -> Option<Tx<'_, P>> {
        self.token()
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut checksum = ChecksumCapabilities::default();
        // Those of received TCP segments are checked before smoltcp sees them.
        checksum.ipv4 = Checksum::Tx;
        checksum.tcp = if self.port.completes_checksums() {
            Checksum::None
        } else {
            Checksum::Tx
        };
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = self.port.mtu() + ETHERNET;
        capabilities.checksum = checksum;
        capabilities
    }
}

/// A received frame.
pub(crate) struct Rx<P: Port>(P::Frame);

impl<P: Port> RxToken for Rx<P> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

/// Space for a frame.
pub(crate) struct Tx<'a, P: Port> {
    frame: P::Frame,
    out: &'a mut VecDeque<P::Frame>,
    mute: bool,
    complete: bool,
}

impl<P: Port> TxToken for Tx<'_, P> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(mut self, len: usize, f: F) -> R {
        self.frame.set_len(len);
        let result = f(&mut self.frame);
        if !self.mute {
            if self.complete && add_pseudo_header(&mut self.frame) {
                self.frame.request_checksum();
            }
            self.out.push_back(self.frame);
        }
        result
    }
}

/// Writes the sum of the pseudo header to the checksum of a TCP segment, as devices expect it that
/// complete it. Returns `false` for other frames.
fn add_pseudo_header(frame: &mut [u8]) -> bool {
    let Ok(ethernet) = EthernetFrame::new_checked(&*frame) else {
        return false;
    };
    let (sum, header) = match ethernet.ethertype() {
        EthernetProtocol::Ipv4 => {
            let Ok(ip) = Ipv4Packet::new_checked(ethernet.payload()) else {
                return false;
            };
            if ip.next_header() != IpProtocol::Tcp {
                return false;
            }
            let header = usize::from(ip.header_len());
            let len = u32::from(ip.total_len()) - u32::from(ip.header_len());
            let (from, to) = (ip.src_addr().octets(), ip.dst_addr().octets());
            (sum([&from[..], &to[..]], len), header)
        }
        EthernetProtocol::Ipv6 => {
            let Ok(ip) = Ipv6Packet::new_checked(ethernet.payload()) else {
                return false;
            };
            if ip.next_header() != IpProtocol::Tcp {
                return false;
            }
            let len = u32::from(ip.payload_len());
            let (from, to) = (ip.src_addr().octets(), ip.dst_addr().octets());
            (sum([&from[..], &to[..]], len), 40)
        }
        _ => return false,
    };
    let at = ETHERNET + header + TCP_CHECKSUM;
    let Some(field) = frame.get_mut(at..at + 2) else {
        return false;
    };
    field.copy_from_slice(&sum.to_be_bytes());
    true
}

/// Returns the folded sum of a pseudo header, not complemented (RFC 1071; RFC 8200, section 8.1).
fn sum(addresses: [&[u8]; 2], len: u32) -> u16 {
    let words = addresses.into_iter().flat_map(|it| it.chunks_exact(2));
    let mut sum: u32 = words
        .map(|w| u32::from(u16::from_be_bytes([w[0], w[1]])))
        .sum();
    sum += u32::from(u8::from(IpProtocol::Tcp)) + (len >> 16) + (len & 0xFFFF);
    while sum > 0xFFFF {
        sum = (sum >> 16) + (sum & 0xFFFF);
    }
    sum as u16 // folded
}
