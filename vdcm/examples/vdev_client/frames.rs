// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A host with one IPv4 address: ARP and ICMP echo.

use std::net::Ipv4Addr;

use anyhow::Result;
use etherparse::checksum::Sum16BitWords;
use etherparse::PacketBuilder;

const BROADCAST: [u8; 6] = [0xFF; 6];
const ARP: [u8; 2] = [0x08, 0x06];
const IPV4: [u8; 2] = [0x08, 0x00];
/// Hardware type Ethernet, protocol type IPv4, their address lengths.
const ARP_ETHERNET_IPV4: [u8; 6] = [0, 1, 8, 0, 6, 4];
const REQUEST: u8 = 1;
const REPLY: u8 = 2;
const ICMP: u8 = 1;
const UDP: u8 = 17;
const ECHO_REPLY: u8 = 0;
const ECHO_REQUEST: u8 = 8;
const ECHO_ID: u16 = 0xAD1;

/// The meaning of a frame.
pub(crate) enum Received {
    /// A request, which is to be answered with this frame.
    Answer(Vec<u8>),
    /// The MAC address of an IP address.
    Neighbour(Ipv4Addr, [u8; 6]),
    /// A reply to an echo request: its sender and sequence number.
    Echo(Ipv4Addr, u16),
    /// A datagram of UDP.
    Datagram,
    /// A frame that is ignored.
    Nothing,
}

impl Received {
    /// Returns whether it is to be answered with an echo reply, as opposed to ARP's.
    pub(crate) fn is_echo_reply(&self) -> bool {
        matches!(self, Self::Answer(frame) if array(frame, 12) == Some(IPV4))
    }
}

/// The host.
#[derive(Clone, Copy)]
pub(crate) struct Station {
    pub(crate) mac: [u8; 6],
    pub(crate) ip: Ipv4Addr,
}

fn array<const N: usize>(frame: &[u8], at: usize) -> Option<[u8; N]> {
    frame.get(at..at + N)?.try_into().ok()
}

impl Station {
    fn arp(&self, operation: u8, to: [u8; 6], target: ([u8; 6], Ipv4Addr)) -> Vec<u8> {
        let mut frame = [
            &to[..],
            &self.mac,
            &ARP,
            &ARP_ETHERNET_IPV4,
            &[0, operation],
        ]
        .concat();
        frame.extend(self.mac);
        frame.extend(self.ip.octets());
        frame.extend(target.0);
        frame.extend(target.1.octets());
        frame.resize(60, 0);
        frame
    }

    /// An ARP request.
    pub(crate) fn who_has(&self, ip: Ipv4Addr) -> Vec<u8> {
        self.arp(REQUEST, BROADCAST, ([0; 6], ip))
    }

    /// An echo request with a payload of 56 bytes.
    pub(crate) fn echo_request(
        &self,
        mac: [u8; 6],
        ip: Ipv4Addr,
        sequence: u16,
    ) -> Result<Vec<u8>> {
        let packet = PacketBuilder::ethernet2(self.mac, mac)
            .ipv4(self.ip.octets(), ip.octets(), 64)
            .icmpv4_echo_request(ECHO_ID, sequence);
        let mut frame = Vec::new();
        packet.write(&mut frame, &[0x5A; 56])?;
        Ok(frame)
    }

    /// Parses a frame.
    pub(crate) fn receive(&self, frame: &[u8]) -> Received {
        let meaning = match array::<2>(frame, 12) {
            Some(ARP) => self.receive_arp(frame),
            Some(IPV4) => self.receive_ipv4(frame),
            _ => None,
        };
        meaning.unwrap_or(Received::Nothing)
    }

    fn receive_arp(&self, frame: &[u8]) -> Option<Received> {
        let mac: [u8; 6] = array(frame, 22)?;
        let from = Ipv4Addr::from(array::<4>(frame, 28)?);
        if Ipv4Addr::from(array::<4>(frame, 38)?) != self.ip {
            return None;
        }
        match frame[21] {
            REQUEST => Some(Received::Answer(self.arp(REPLY, mac, (mac, from)))),
            REPLY => Some(Received::Neighbour(from, mac)),
            _ => None,
        }
    }

    /// Parses a packet without options.
    fn receive_ipv4(&self, frame: &[u8]) -> Option<Received> {
        let from = Ipv4Addr::from(array::<4>(frame, 26)?);
        let to = Ipv4Addr::from(array::<4>(frame, 30)?);
        let icmp = frame.get(34..)?;
        let is = |protocol| frame[14] == 0x45 && frame[23] == protocol;
        if is(UDP) && to == self.ip {
            return Some(Received::Datagram);
        }
        if !is(ICMP) || to != self.ip || icmp.len() < 8 {
            return None;
        }
        match icmp[0] {
            ECHO_REQUEST => Some(Received::Answer(self.echo_reply(frame))),
            ECHO_REPLY if icmp[4..6] == ECHO_ID.to_be_bytes() => {
                let sequence = u16::from_be_bytes([icmp[6], icmp[7]]);
                Some(Received::Echo(from, sequence))
            }
            _ => None,
        }
    }

    /// The request with its addresses exchanged, as a reply.
    fn echo_reply(&self, request: &[u8]) -> Vec<u8> {
        let mut reply = request.to_vec();
        reply[..6].copy_from_slice(&request[6..12]);
        reply[6..12].copy_from_slice(&self.mac);
        // The header's checksum does not depend on the order of the addresses.
        reply[26..30].copy_from_slice(&request[30..34]);
        reply[30..34].copy_from_slice(&request[26..30]);
        // The total length is without the padding of a short frame.
        let len = usize::from(u16::from_be_bytes([request[16], request[17]]));
        reply.truncate((14 + len).clamp(42, request.len()));
        reply[34] = ECHO_REPLY;
        reply[36..38].fill(0);
        let sum = Sum16BitWords::new().add_slice(&reply[34..]);
        let sum = sum.ones_complement().to_be().to_be_bytes();
        reply[36..38].copy_from_slice(&sum);
        reply
    }
}
