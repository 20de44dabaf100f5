// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A host with one IPv4 address: answers and sends ARP and ICMP echo requests. Bytes in, bytes out.

use std::net::Ipv4Addr;

use etherparse::{
    ArpEthIpv4Packet, ArpHardwareId, ArpOperation, ArpPacket, EtherType, Ethernet2Header,
    IcmpEchoHeader, Icmpv4Type, LinkSlice, NetSlice, PacketBuilder, SlicedPacket, TransportSlice,
};

/// The broadcast address.
const BROADCAST: [u8; 6] = [0xFF; 6];
/// The time to live of packets.
const TTL: u8 = 64;

/// The meaning of a frame for the station.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// A request, which is to be answered with this frame.
    Answer(Vec<u8>),
    /// An ARP reply: the MAC address of an IP address.
    Neighbour(Ipv4Addr, [u8; 6]),
    /// A reply to one of our echo requests.
    Echo {
        /// The sender.
        from: Ipv4Addr,
        /// The sequence number.
        sequence: u16,
        /// The length of the payload in bytes.
        len: usize,
    },
    /// A frame that is ignored.
    Nothing,
}

/// The station.
#[derive(Clone, Debug)]
pub(crate) struct Station {
    pub(crate) mac: [u8; 6],
    pub(crate) ip: Ipv4Addr,
    /// Distinguishes its echo requests from others.
    pub(crate) id: u16,
}

impl Station {
    /// Parses a received frame.
    pub(crate) fn receive(&self, frame: &[u8]) -> Received {
        let Ok(packet) = SlicedPacket::from_ethernet(frame) else {
            return Received::Nothing;
        };
        let Some(LinkSlice::Ethernet2(ethernet)) = &packet.link else {
            return Received::Nothing;
        };
        match (&packet.net, &packet.transport) {
            (Some(NetSlice::Arp(arp)), _) => ArpEthIpv4Packet::try_from(arp.to_packet())
                .map_or(Received::Nothing, |arp| self.arp(&arp)),
            (Some(NetSlice::Ipv4(ip)), Some(TransportSlice::Icmpv4(icmp))) => {
                let to = ip.header().destination_addr();
                if to != self.ip || ethernet.destination() != self.mac {
                    return Received::Nothing;
                }
                let from = ip.header().source_addr();
                let payload = icmp.payload();
                match icmp.header().icmp_type {
                    Icmpv4Type::EchoRequest(echo) => {
                        let back = self
                            .ipv4(ethernet.source(), from)
                            .icmpv4_echo_reply(echo.id, echo.seq);
                        build(back.size(payload.len()), |out| back.write(out, payload))
                            .map_or(Received::Nothing, Received::Answer)
                    }
                    Icmpv4Type::EchoReply(IcmpEchoHeader { id, seq }) if id == self.id => {
                        Received::Echo {
                            from,
                            sequence: seq,
                            len: payload.len(),
                        }
                    }
                    _ => Received::Nothing,
                }
            }
            _ => Received::Nothing,
        }
    }

    fn arp(&self, arp: &ArpEthIpv4Packet) -> Received {
        let from = Ipv4Addr::from(arp.sender_ipv4);
        if Ipv4Addr::from(arp.target_ipv4) != self.ip {
            return Received::Nothing;
        }
        match arp.operation {
            ArpOperation::REQUEST => {
                let frame =
                    self.arp_frame(ArpOperation::REPLY, from, arp.sender_mac, arp.sender_mac);
                frame.map_or(Received::Nothing, Received::Answer)
            }
            ArpOperation::REPLY => Received::Neighbour(from, arp.sender_mac),
            _ => Received::Nothing,
        }
    }

    /// Builds an ARP request for an address.
    pub(crate) fn who_has(&self, ip: Ipv4Addr) -> Option<Vec<u8>> {
        self.arp_frame(ArpOperation::REQUEST, ip, [0; 6], BROADCAST)
    }

    /// Builds an echo request.
    pub(crate) fn echo_request(
        &self,
        to: ([u8; 6], Ipv4Addr),
        sequence: u16,
        payload: &[u8],
    ) -> Option<Vec<u8>> {
        let packet = self.ipv4(to.0, to.1).icmpv4_echo_request(self.id, sequence);
        build(packet.size(payload.len()), |out| packet.write(out, payload))
    }

    fn ipv4(
        &self,
        mac: [u8; 6],
        ip: Ipv4Addr,
    ) -> etherparse::PacketBuilderStep<etherparse::IpHeaders> {
        PacketBuilder::ethernet2(self.mac, mac).ipv4(self.ip.octets(), ip.octets(), TTL)
    }

    fn arp_frame(
        &self,
        operation: ArpOperation,
        target: Ipv4Addr,
        target_mac: [u8; 6],
        to: [u8; 6],
    ) -> Option<Vec<u8>> {
        let arp = ArpPacket::new(
            ArpHardwareId::ETHERNET,
            EtherType::IPV4,
            operation,
            &self.mac,
            &self.ip.octets(),
            &target_mac,
            &target.octets(),
        )
        .ok()?;
        let header = Ethernet2Header {
            source: self.mac,
            destination: to,
            ether_type: EtherType::ARP,
        };
        build(60, |out| {
            header.write(out)?;
            arp.write(out)
        })
    }
}

/// Builds a frame, padded to Ethernet's minimum length.
fn build<E>(len: usize, write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Option<Vec<u8>> {
    let mut frame = Vec::with_capacity(len.max(60));
    write(&mut frame).ok()?;
    frame.resize(frame.len().max(60), 0);
    Some(frame)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const A: Station = Station {
        mac: [2, 0, 0, 0, 0, 1],
        ip: Ipv4Addr::new(10, 0, 0, 1),
        id: 7,
    };
    const B: Station = Station {
        mac: [2, 0, 0, 0, 0, 2],
        ip: Ipv4Addr::new(10, 0, 0, 2),
        id: 9,
    };

    fn answer(received: Received) -> Vec<u8> {
        match received {
            Received::Answer(frame) => frame,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn two_stations_resolve_and_reach_each_other() {
        let asked = A.who_has(B.ip).unwrap();
        let answered = answer(B.receive(&asked));
        assert_eq!(A.receive(&answered), Received::Neighbour(B.ip, B.mac));
        let ping = A.echo_request((B.mac, B.ip), 3, b"12345678").unwrap();
        assert_eq!(ping.len(), 60);
        let pong = answer(B.receive(&ping));
        assert_eq!(
            A.receive(&pong),
            Received::Echo {
                from: B.ip,
                sequence: 3,
                len: 8
            }
        );
    }

    #[test]
    fn what_is_for_others_is_not_answered() {
        let third = Station {
            ip: Ipv4Addr::new(10, 0, 0, 3),
            ..B
        };
        assert_eq!(third.receive(&A.who_has(B.ip).unwrap()), Received::Nothing);
        let ping = A.echo_request((B.mac, B.ip), 3, &[0; 8]).unwrap();
        assert_eq!(third.receive(&ping), Received::Nothing);
        // The reply to another process's echo request.
        let pong = answer(B.receive(&ping));
        let other = Station { id: 8, ..A };
        assert_eq!(other.receive(&pong), Received::Nothing);
    }

    proptest! {
        #[test]
        fn any_bytes_are_heard_without_harm(frame in prop::collection::vec(any::<u8>(), 0..200)) {
            A.receive(&frame);
        }

        #[test]
        fn any_change_of_a_request_is_heard_without_harm(at in 0_usize..74, value in any::<u8>()) {
            let mut frame = A.echo_request((B.mac, B.ip), 3, &[0; 32]).unwrap();
            frame[at] = value;
            B.receive(&frame);
        }
    }
}
