// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The announcement of the stack's addresses.
//!
//! An IP address often moves to another ADI, and so to another MAC address: a container is replaced. Hosts
//! that know the old one use it for up to a minute (`base_reachable_time` of Linux), and a connection that
//! begins meanwhile fails, unless they hear of the new one.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol,
    EthernetRepr, Icmpv6Packet, Icmpv6Repr, IpProtocol, Ipv4Address, Ipv6Address, Ipv6Packet,
    Ipv6Repr, NdiscNeighborFlags, NdiscRepr,
};

/// The number of announcements of each address: MAX_NEIGHBOR_ADVERTISEMENT (RFC 4861, section 10). ARP is
/// content with ANNOUNCE_NUM, two (RFC 5227, section 1.1).
const COUNT: u32 = 3;
/// The time between two of them: ANNOUNCE_INTERVAL (RFC 5227, section 1.1). Neighbour discovery requires
/// at least one second (RFC 4861, section 7.2.6).
const INTERVAL: Duration = Duration::from_secs(2);

/// The maximum length of an announcement's frame in bytes.
pub(super) const MAX_LEN: usize = 86;

/// The times of the announcements.
#[derive(Debug, Default)]
pub(super) struct Announcements {
    left: u32,
    at: Option<Instant>,
}

impl Announcements {
    /// Begins again, with the first one at `now`.
    pub(super) fn begin(&mut self, now: Instant) {
        self.left = COUNT;
        self.at = Some(now);
    }

    /// Returns the time of the next one.
    pub(super) fn next(&self) -> Option<Instant> {
        self.at
    }

    /// Returns whether one is due, and if so moves on to the next one.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let is_due = self.at.is_some_and(|at| at <= now);
        if is_due {
            self.left -= 1;
            self.at = (self.left > 0).then(|| now + INTERVAL);
        }
        is_due
    }
}

/// Writes the announcement of an address to the start of `frame`, of at least [`MAX_LEN`] bytes, and returns
/// its length: an ARP announcement (RFC 5227, section 2.3), or an unsolicited neighbour advertisement (RFC
/// 4861, section 7.2.6).
pub(super) fn write(frame: &mut [u8], mac: EthernetAddress, address: IpAddr) -> usize {
    match address {
        IpAddr::V4(ip) => write_arp(frame, mac, ip),
        IpAddr::V6(ip) => write_advertisement(frame, mac, ip),
    }
}

fn write_arp(frame: &mut [u8], mac: EthernetAddress, ip: Ipv4Address) -> usize {
    let arp = ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Request,
        source_hardware_addr: mac,
        source_protocol_addr: ip,
        target_hardware_addr: EthernetAddress([0; 6]),
        target_protocol_addr: ip,
    };
    let len = EthernetFrame::<&[u8]>::buffer_len(arp.buffer_len());
    let mut ethernet = EthernetFrame::new_unchecked(&mut frame[..len]);
    let header = EthernetRepr {
        src_addr: mac,
        dst_addr: EthernetAddress::BROADCAST,
        ethertype: EthernetProtocol::Arp,
    };
    header.emit(&mut ethernet);
    arp.emit(&mut ArpPacket::new_unchecked(ethernet.payload_mut()));
    len
}

fn write_advertisement(frame: &mut [u8], mac: EthernetAddress, ip: Ipv6Address) -> usize {
    let to = Ipv6Address::new(0xFF02, 0, 0, 0, 0, 0, 0, 1);
    let icmp = Icmpv6Repr::Ndisc(NdiscRepr::NeighborAdvert {
        flags: NdiscNeighborFlags::OVERRIDE,
        target_addr: ip,
        lladdr: Some(mac.into()),
    });
    let packet = Ipv6Repr {
        src_addr: ip,
        dst_addr: to,
        next_header: IpProtocol::Icmpv6,
        payload_len: icmp.buffer_len(),
        hop_limit: 255,
    };
    let len = EthernetFrame::<&[u8]>::buffer_len(packet.buffer_len() + icmp.buffer_len());
    let mut ethernet = EthernetFrame::new_unchecked(&mut frame[..len]);
    let header = EthernetRepr {
        src_addr: mac,
        // The group of all nodes (RFC 2464, section 7).
        dst_addr: EthernetAddress([0x33, 0x33, 0, 0, 0, 1]),
        ethertype: EthernetProtocol::Ipv6,
    };
    header.emit(&mut ethernet);
    let mut ipv6 = Ipv6Packet::new_unchecked(ethernet.payload_mut());
    packet.emit(&mut ipv6);
    let mut message = Icmpv6Packet::new_unchecked(ipv6.payload_mut());
    icmp.emit(&ip, &to, &mut message, &ChecksumCapabilities::default());
    len
}

#[cfg(test)]
mod tests {
    use super::*;
    use adit_adi::Checksum;

    use crate::tuple::{self, Content};

    const MAC: EthernetAddress = EthernetAddress([2, 0, 0, 0, 0, 1]);

    #[test]
    fn announcements_are_packets_about_the_address() {
        for (address, expected) in [("10.99.0.3", 42), ("fd99::3", MAX_LEN)] {
            let address: IpAddr = address.parse().unwrap();
            let (mut frame, mut other) = ([0xA5; MAX_LEN], [0; MAX_LEN]);
            let len = write(&mut frame, MAC, address);
            assert_eq!(len, expected);
            write(&mut other, MAC, address);
            assert_eq!(frame[..len], other[..len], "no byte of a former user");
            let content = tuple::read(&frame[..len], Checksum::Unchecked, MAC);
            let target = match address {
                IpAddr::V4(_) => address,
                IpAddr::V6(_) => "ff02::1".parse().unwrap(),
            };
            assert_eq!(content, Content::Neighbour { target });
        }
    }

    #[test]
    fn an_advertisement_has_a_correct_checksum_and_overrides() {
        let mut frame = [0; MAX_LEN];
        let ip: Ipv6Address = "fd99::3".parse().unwrap();
        write(&mut frame, MAC, ip.into());
        let packet = Ipv6Packet::new_checked(&frame[14..]).unwrap();
        assert_eq!(packet.hop_limit(), 255);
        let icmp = Icmpv6Packet::new_checked(packet.payload()).unwrap();
        assert!(icmp.verify_checksum(&packet.src_addr(), &packet.dst_addr()));
        assert_eq!(icmp.target_addr(), ip);
        assert_eq!(icmp.neighbor_flags(), NdiscNeighborFlags::OVERRIDE);
    }

    #[test]
    fn there_are_three_two_seconds_apart() {
        let start = Instant::now();
        let mut announcements = Announcements::default();
        assert!(!announcements.take(start));
        announcements.begin(start);
        let at = |ms| start + Duration::from_millis(ms);
        let due: Vec<u64> = (0..10_000)
            .filter(|ms| announcements.take(at(*ms)))
            .collect();
        assert_eq!(due, [0, 2_000, 4_000]);
        assert_eq!(announcements.next(), None);
    }
}
