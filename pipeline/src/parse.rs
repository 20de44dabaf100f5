// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Single-pass parser of a frame's front: the offsets and kinds of its headers.
//!
//! Only a frame without an Ethernet header is refused. If a header is not understood or is
//! malformed, the deeper layers keep their `None` value and [`Parsed::defect`] has the reason. As
//! in a NIC, such a frame is delivered without offloads.

use crate::headers::{
    be16, ethertype, proto, ETH_LEN, IPV4_LEN, IPV6_LEN, SCTP_LEN, TCP_LEN, UDP_LEN, VLAN_LEN,
};

/// Maximum number of VLAN tags parsed; a third one counts as an unknown EtherType.
pub const MAX_VLAN_TAGS: usize = 2;
/// Maximum number of IPv6 extension headers parsed (RFC 8200, 4.1 lists seven; a chain is
/// unbounded).
pub const MAX_IPV6_EXTENSIONS: usize = 8;

/// The frame has no Ethernet header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("frame of {len} bytes, of which {front} are at hand: an Ethernet header takes {ETH_LEN}")]
pub struct NoEthernet {
    /// Length of the whole frame.
    pub len: usize,
    /// Bytes of it that were readable.
    pub front: usize,
}

/// The kind of a destination address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DstKind {
    /// One station.
    Unicast,
    /// A group (bit 0 of the first byte).
    Multicast,
    /// All stations.
    Broadcast,
}

impl DstKind {
    /// Classifies an address.
    pub fn of(mac: &[u8; 6]) -> DstKind {
        match mac {
            [0xff, 0xff, 0xff, 0xff, 0xff, 0xff] => DstKind::Broadcast,
            m if m[0] & 1 != 0 => DstKind::Multicast,
            _ => DstKind::Unicast,
        }
    }
}

/// One VLAN tag (IEEE 802.1Q, 9.4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VlanTag {
    /// Tag protocol identifier: 0x8100 (802.1Q) or 0x88a8 (802.1ad).
    pub tpid: u16,
    /// Priority, drop eligibility and VLAN identifier.
    pub tci: u16,
}

/// The network layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum L3 {
    /// None, unknown, or malformed.
    None,
    /// RFC 826.
    Arp,
    /// RFC 791.
    Ipv4,
    /// RFC 8200.
    Ipv6,
}

/// The transport layer. A later fragment has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum L4 {
    /// None, unknown, or malformed.
    None,
    /// RFC 9293.
    Tcp,
    /// RFC 768.
    Udp,
    /// RFC 9260.
    Sctp,
    /// RFC 792.
    Icmp,
    /// RFC 4443.
    Icmpv6,
}

/// The fragmentation state of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fragment {
    /// A whole packet (or an IPv6 atomic fragment, RFC 6946).
    Whole,
    /// The first fragment: it has the transport header and part of the payload.
    First,
    /// A later fragment: no transport header.
    Later,
}

/// Reasons why parsing ended before a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// The readable bytes end before the frame does: a longer front is needed.
    FrontTooShort,
    /// A header does not fit in the frame, or in the length its IP header states.
    Truncated,
    /// An invalid IP version or header length (IPv4 IHL, TCP data offset).
    BadHeader,
    /// More than [`MAX_IPV6_EXTENSIONS`] extension headers.
    TooManyExtensions,
}

/// Offsets and kinds of a frame's headers. Offsets count from the first byte of the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// Length of the whole frame, as passed in.
    pub frame_len: u32,
    /// Length of IP header and payload as stated by the IP header, unchecked: zero in a
    /// segmentation request, arbitrary in a hostile frame. Zero without IP.
    pub l3_len: u32,
    /// Bytes before the network layer: Ethernet and VLAN tags.
    pub l2_len: u16,
    /// The EtherType after the VLAN tags.
    pub ethertype: u16,
    /// Start of the transport header, or of the data after the IP header and its extensions.
    pub l4_offset: u16,
    /// End of the innermost header parsed: the payload follows.
    pub payload_offset: u16,
    /// Start of the IPv6 fragment header, 0 if there is none.
    pub fragment_offset: u16,
    /// Network layer; it starts at `l2_len`.
    pub l3: L3,
    /// Transport layer.
    pub l4: L4,
    /// IP protocol number of the header at `l4_offset`; 0 without IP.
    pub ip_proto: u8,
    /// Fragmentation state of the IP packet.
    pub fragment: Fragment,
    /// Set if an IPv6 routing header has segments left, or a Home Address option may hide the
    /// source: the header's addresses are then not those of the pseudo header (RFC 8200, 8.1; RFC
    /// 6275, 11.3.1).
    pub rerouted: bool,
    /// Kind of the destination address.
    pub dst: DstKind,
    /// Reason why parsing ended early.
    pub defect: Option<Defect>,
    vlan: [VlanTag; MAX_VLAN_TAGS],
    vlan_count: u8,
}

impl Parsed {
    /// Parses the frame of `frame_len` bytes that begins with `front`.
    ///
    /// A `front` longer than the frame is truncated to it. 256 bytes are enough for all but
    /// contrived IPv6 extension headers.
    pub fn new(front: &[u8], frame_len: usize) -> Result<Parsed, NoEthernet> {
        let frame_len = frame_len.min(u32::MAX as usize);
        let front = &front[..front.len().min(frame_len)];
        // Offsets are 16 bits wide; no header chain within the parser's limits is that long.
        let front = &front[..front.len().min(usize::from(u16::MAX))];
        let (Some(dst), Some(first_type)) = (front.first_chunk::<6>(), be16(front, 12)) else {
            return Err(NoEthernet {
                len: frame_len,
                front: front.len(),
            });
        };
        let mut p = Parsed {
            frame_len: frame_len as u32,
            l3_len: 0,
            l2_len: ETH_LEN as u16,
            ethertype: first_type,
            l4_offset: ETH_LEN as u16,
            payload_offset: ETH_LEN as u16,
            fragment_offset: 0,
            l3: L3::None,
            l4: L4::None,
            ip_proto: 0,
            fragment: Fragment::Whole,
            rerouted: false,
            dst: DstKind::of(dst),
            defect: None,
            vlan: [VlanTag::default(); MAX_VLAN_TAGS],
            vlan_count: 0,
        };
        p.defect = p.walk(front).err();
        Ok(p)
    }

    /// The VLAN tags, outermost first.
    pub fn vlan_tags(&self) -> &[VlanTag] {
        &self.vlan[..usize::from(self.vlan_count)]
    }

    /// Returns whether the packet is a fragment.
    pub fn is_fragment(&self) -> bool {
        self.fragment != Fragment::Whole
    }

    /// The end of the IP packet as stated by its header, or the frame's end if the stated length is
    /// zero or exceeds the frame. Ethernet padding follows it.
    pub fn l3_end(&self) -> usize {
        match (self.l3_len, self.frame_len) {
            (0, frame) => frame as usize,
            (l3, frame) => (usize::from(self.l2_len) + l3 as usize).min(frame as usize),
        }
    }

    /// Source and destination address bytes of the IP header: 4 + 4 or 16 + 16 of them. `None`
    /// without IP, or if `front` is not the slice that was parsed.
    pub fn addresses<'a>(&self, front: &'a [u8]) -> Option<&'a [u8]> {
        let l3 = usize::from(self.l2_len);
        match self.l3 {
            L3::Ipv4 => front.get(l3 + 12..l3 + 20),
            L3::Ipv6 => front.get(l3 + 8..l3 + 40),
            L3::Arp | L3::None => None,
        }
    }

    /// Source and destination port bytes of TCP, UDP and SCTP.
    pub fn ports<'a>(&self, front: &'a [u8]) -> Option<&'a [u8; 4]> {
        match self.l4 {
            L4::Tcp | L4::Udp | L4::Sctp => front.get(usize::from(self.l4_offset)..)?.first_chunk(),
            L4::Icmp | L4::Icmpv6 | L4::None => None,
        }
    }

    /// Checks that a header of `len` bytes at `at` fits in the packet and in the front.
    fn need(&self, front: &[u8], at: usize, len: usize) -> Result<(), Defect> {
        if at + len > self.l3_end() {
            return Err(Defect::Truncated);
        }
        if at + len > front.len() {
            return Err(Defect::FrontTooShort);
        }
        Ok(())
    }

    fn walk(&mut self, front: &[u8]) -> Result<(), Defect> {
        let mut at = ETH_LEN;
        while matches!(self.ethertype, ethertype::VLAN | ethertype::SVLAN)
            && usize::from(self.vlan_count) < MAX_VLAN_TAGS
        {
            self.need(front, at, VLAN_LEN)?;
            let tci = be16(front, at).ok_or(Defect::FrontTooShort)?;
            self.vlan[usize::from(self.vlan_count)] = VlanTag {
                tpid: self.ethertype,
                tci,
            };
            self.vlan_count += 1;
            self.ethertype = be16(front, at + 2).ok_or(Defect::FrontTooShort)?;
            at += VLAN_LEN;
            self.l2_len = at as u16;
            self.enter(at);
        }
        match self.ethertype {
            ethertype::ARP => {
                self.need(front, at, 8)?;
                self.l3 = L3::Arp;
                Ok(())
            }
            ethertype::IPV4 => self.ipv4(front, at),
            ethertype::IPV6 => self.ipv6(front, at),
            _ => Ok(()),
        }
    }

    /// Records that the headers parsed so far end at `at`.
    fn enter(&mut self, at: usize) {
        self.l4_offset = at as u16;
        self.payload_offset = at as u16;
    }

    fn ipv4(&mut self, front: &[u8], at: usize) -> Result<(), Defect> {
        self.need(front, at, IPV4_LEN)?;
        let ip = &front[at..];
        let header = usize::from(ip[0] & 0xf) * 4;
        if ip[0] >> 4 != 4 || header < IPV4_LEN {
            return Err(Defect::BadHeader);
        }
        self.need(front, at, header)?;
        let stated = u32::from(u16::from_be_bytes([ip[2], ip[3]]));
        if stated != 0 && stated < header as u32 {
            return Err(Defect::Truncated);
        }
        self.l3 = L3::Ipv4;
        self.l3_len = stated;
        self.ip_proto = ip[9];
        let flags = u16::from_be_bytes([ip[6], ip[7]]);
        self.fragment = fragment(flags & 0x1fff, flags & 0x2000 != 0);
        self.enter(at + header);
        self.transport(front)
    }

    fn ipv6(&mut self, front: &[u8], at: usize) -> Result<(), Defect> {
        self.need(front, at, IPV6_LEN)?;
        let ip = &front[at..];
        if ip[0] >> 4 != 6 {
            return Err(Defect::BadHeader);
        }
        self.l3 = L3::Ipv6;
        // A payload length of zero means a jumbogram (RFC 2675) or a segmentation request.
        self.l3_len = match u16::from_be_bytes([ip[4], ip[5]]) {
            0 => 0,
            n => u32::from(n) + IPV6_LEN as u32,
        };
        self.ip_proto = ip[6];
        self.enter(at + IPV6_LEN);
        for _ in 0..MAX_IPV6_EXTENSIONS {
            if !self.extension(front)? {
                return self.transport(front);
            }
        }
        match is_extension(self.ip_proto) && self.fragment != Fragment::Later {
            true => Err(Defect::TooManyExtensions),
            false => self.transport(front),
        }
    }

    /// Skips one IPv6 extension header. Returns `false` if there is none left.
    fn extension(&mut self, front: &[u8]) -> Result<bool, Defect> {
        if !is_extension(self.ip_proto) || self.fragment == Fragment::Later {
            return Ok(false);
        }
        let at = usize::from(self.l4_offset);
        self.need(front, at, 8)?;
        let ext = &front[at..];
        let len = match self.ip_proto {
            proto::FRAGMENT => {
                let word = u16::from_be_bytes([ext[2], ext[3]]);
                self.fragment = fragment(word >> 3, word & 1 != 0);
                self.fragment_offset = at as u16;
                8
            }
            // RFC 4302, 2.2: in words of four bytes, of which the first two are not counted.
            proto::AUTHENTICATION => (usize::from(ext[1]) + 2) * 4,
            kind => {
                let len = (usize::from(ext[1]) + 1) * 8;
                self.rerouted |= match kind {
                    proto::ROUTING => ext[3] != 0,
                    proto::DEST_OPTIONS => ext.get(2..len).is_none_or(may_have_home_address),
                    _ => false,
                };
                len
            }
        };
        self.need(front, at, len)?;
        self.ip_proto = ext[0];
        self.enter(at + len);
        Ok(true)
    }

    fn transport(&mut self, front: &[u8]) -> Result<(), Defect> {
        if self.fragment == Fragment::Later {
            return Ok(());
        }
        let at = usize::from(self.l4_offset);
        let (l4, len) = match (self.ip_proto, self.l3) {
            (proto::TCP, _) => {
                self.need(front, at, TCP_LEN)?;
                match usize::from(front[at + 12] >> 4) * 4 {
                    n if n < TCP_LEN => return Err(Defect::BadHeader),
                    n => (L4::Tcp, n),
                }
            }
            (proto::UDP, _) => (L4::Udp, UDP_LEN),
            (proto::SCTP, _) => (L4::Sctp, SCTP_LEN),
            (proto::ICMP, L3::Ipv4) => (L4::Icmp, 8),
            (proto::ICMPV6, L3::Ipv6) => (L4::Icmpv6, 4),
            _ => return Ok(()),
        };
        self.need(front, at, len)?;
        self.l4 = l4;
        self.payload_offset = (at + len) as u16;
        Ok(())
    }
}

/// Returns whether a header is followed by another one, which it announces: those that programs and
/// the connection tracker skip, too. Nothing follows a mobility header (RFC 6275, 6.1.1).
pub(crate) fn is_extension(next: u8) -> bool {
    use proto::{AUTHENTICATION, DEST_OPTIONS, FRAGMENT, HOP_BY_HOP, ROUTING};
    matches!(
        next,
        HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DEST_OPTIONS
    )
}

/// Returns whether options may have a home address (RFC 6275, 6.3): those that are malformed may.
fn may_have_home_address(mut options: &[u8]) -> bool {
    const PAD1: u8 = 0;
    const HOME_ADDRESS: u8 = 0xc9;
    loop {
        options = match *options {
            [] => return false,
            [HOME_ADDRESS, ..] => return true,
            [PAD1, ref rest @ ..] => rest,
            [_, len, ref rest @ ..] => match rest.get(usize::from(len)..) {
                Some(rest) => rest,
                None => return true,
            },
            [_] => return true,
        };
    }
}

fn fragment(offset: u16, more: bool) -> Fragment {
    match (offset, more) {
        (0, false) => Fragment::Whole,
        (0, true) => Fragment::First,
        _ => Fragment::Later,
    }
}

#[cfg(test)]
mod tests;
