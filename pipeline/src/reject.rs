// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The answer to a packet that is rejected: a TCP reset, or an ICMP error.
//!
//! The rules are those of RFC 1122 (3.2.2), RFC 1812 (4.3.2), RFC 4443 (2.4) and of Linux's
//! `nf_reject_ipv4.c` and `nf_reject_ipv6.c`; of a router's errors those of `icmp_send` and `icmp6_send`.

use crate::checksum::verify::{verify, Check};
use crate::checksum::{checksum, pseudo_header, Sum};
use crate::headers::{be16, proto, put_be16, IPV4_LEN, IPV6_LEN, TCP_LEN};
use crate::parse::{DstKind, Fragment, Parsed, L3, L4};

/// Hop limit of an answer (`IPDEFTTL`).
const HOPS: u8 = 64;
/// Maximum length of an ICMP error from its IP header on (RFC 1812, 4.3.2.3).
const MAX_ERROR_V4: usize = 576;
/// Maximum length of an ICMPv6 error from its IP header on: IPv6's minimum MTU (RFC 4443, 2.4 (c)).
const MAX_ERROR_V6: usize = 1280;
/// Length of the header of an ICMP error (RFC 792; RFC 4443, 3.1).
const ERROR_LEN: usize = 8;

/// Bits of TCP's flags (RFC 9293, 3.1).
mod flag {
    pub(super) const FIN: u8 = 0x01;
    pub(super) const SYN: u8 = 0x02;
    pub(super) const RST: u8 = 0x04;
    pub(super) const ACK: u8 = 0x10;
}

/// The kind of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A TCP segment with RST.
    Reset,
    /// ICMP destination unreachable, port unreachable: type 3 code 3, or 1 and 4 of ICMPv6.
    Unreachable,
    /// ICMP time exceeded in transit: type 11 code 0, or 3 and 0 of ICMPv6.
    HopsExceeded,
    /// ICMP fragmentation needed: type 3 code 4, or ICMPv6 packet too big: type 2.
    TooBig,
}

impl Answer {
    /// All kinds, in the order of their counters.
    pub const ALL: [Answer; 4] = [
        Answer::Reset,
        Answer::Unreachable,
        Answer::HopsExceeded,
        Answer::TooBig,
    ];

    /// Returns a name for counters.
    pub fn name(self) -> &'static str {
        match self {
            Answer::Reset => "reset",
            Answer::Unreachable => "unreachable",
            Answer::HopsExceeded => "hops-exceeded",
            Answer::TooBig => "too-big",
        }
    }
}

/// The reason why a packet is rejected, which the answer tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reason {
    /// Its destination refuses it.
    #[default]
    Refused,
    /// A router has found its hops used up.
    HopsExceeded,
    /// It is larger than a router's next link carries: from its IP header on, this many bytes.
    TooBig(u16),
}

/// A rejection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rejection {
    /// The reason.
    pub reason: Reason,
    /// The address that the answer comes from, of IPv4 in the lower 32 bits; 0: the packet's destination.
    pub source: u128,
}

/// An answer that was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answered {
    /// Its kind.
    pub answer: Answer,
    /// The receiver: the address of IPv4, or the network of IPv6, its first 64 bits.
    pub receiver: u64,
}

/// Reasons why a packet is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unanswered {
    /// No IP packet, or a malformed or truncated header.
    NotIp,
    /// A source or destination that is no single host, of the network layer or the link layer, or an answer
    /// without a source.
    Address,
    /// A fragment other than the first.
    Fragment,
    /// A wrong checksum, or one that cannot be verified.
    Checksum,
    /// A TCP reset.
    Reset,
    /// An ICMP error, a redirect, or a type that is none of a query.
    Error,
    /// More answers than a port gets in a time.
    Rate,
    /// More answers than a source gets in a time.
    SourceRate,
    /// The program did not forward the answer, which goes through it.
    NotForwarded,
}

impl Unanswered {
    /// All reasons, in the order of their counters.
    pub const ALL: [Unanswered; 9] = [
        Unanswered::NotIp,
        Unanswered::Address,
        Unanswered::Fragment,
        Unanswered::Checksum,
        Unanswered::Reset,
        Unanswered::Error,
        Unanswered::Rate,
        Unanswered::SourceRate,
        Unanswered::NotForwarded,
    ];

    /// Returns a name for counters.
    pub fn name(self) -> &'static str {
        match self {
            Unanswered::NotIp => "not-ip",
            Unanswered::Address => "address",
            Unanswered::Fragment => "fragment",
            Unanswered::Checksum => "checksum",
            Unanswered::Reset => "reset",
            Unanswered::Error => "icmp-error",
            Unanswered::Rate => "rate",
            Unanswered::SourceRate => "source-rate",
            Unanswered::NotForwarded => "not-forwarded",
        }
    }
}

/// Writes the answer to the frame of `frame_len` bytes that begins with `front` to `out`, behind what is
/// there. It goes back to the sender, with the frame's own VLAN tags.
///
/// The answer is about the frame as it is here: to the outer packet if it is one of a tunnel.
/// `checksums_verified`: the frame's checksums are valid, or still to be computed.
pub fn answer(
    front: &[u8],
    frame_len: usize,
    checksums_verified: bool,
    rejection: &Rejection,
    out: &mut Vec<u8>,
) -> Result<Answered, Unanswered> {
    let p = Parsed::new(front, frame_len).map_err(|_| Unanswered::NotIp)?;
    let front = &front[..front.len().min(frame_len)];
    check_headers(&p, front)?;
    check_link(&p, front)?;
    check_addresses(&p, front)?;
    if p.fragment == Fragment::Later {
        return Err(Unanswered::Fragment);
    }
    check_kind(&p, front, rejection.reason)?;
    if !checksums_verified {
        check_checksums(&p, front, rejection.reason)?;
    }
    let ends = Ends::new(&p, front, rejection.source)?;
    link(&p, front, out);
    let answer = match (rejection.reason, p.l4) {
        (Reason::Refused, L4::Tcp) => {
            reset(&p, front, &ends, out);
            Answer::Reset
        }
        (Reason::Refused, _) => Answer::Unreachable,
        (Reason::HopsExceeded, _) => Answer::HopsExceeded,
        (Reason::TooBig(_), _) => Answer::TooBig,
    };
    if answer != Answer::Reset {
        error(&p, front, &ends, answer, rejection.reason, out);
    }
    Ok(Answered {
        answer,
        receiver: receiver(&p, front),
    })
}

/// The addresses of an answer.
struct Ends<'f> {
    from: [u8; 16],
    to: &'f [u8],
}

impl<'f> Ends<'f> {
    /// From `source`, or from the packet's destination if that is 0.
    fn new(p: &Parsed, front: &'f [u8], source: u128) -> Result<Ends<'f>, Unanswered> {
        let addresses = p.addresses(front).ok_or(Unanswered::NotIp)?;
        let (to, destination) = addresses.split_at(addresses.len() / 2);
        let spare = 16 - to.len();
        let mut from = source.to_be_bytes();
        if source == 0 {
            from[spare..].copy_from_slice(destination);
        }
        let is_of_family = from[..spare].iter().all(|octet| *octet == 0);
        match is_of_family && is_host(&from[spare..]) {
            true => Ok(Ends { from, to }),
            false => Err(Unanswered::Address),
        }
    }

    fn from(&self) -> &[u8] {
        &self.from[16 - self.to.len()..]
    }
}

/// The source's address of IPv4, or its network of IPv6: a host has all addresses of that.
fn receiver(p: &Parsed, front: &[u8]) -> u64 {
    let addresses = p.addresses(front).unwrap_or_default();
    let (source, _) = addresses.split_at(addresses.len() / 2);
    let known = source.iter().take(8);
    known.fold(0, |all, octet| all << 8 | u64::from(*octet))
}

/// Checks that there are an IP header and, of protocols that are known, a transport header.
fn check_headers(p: &Parsed, front: &[u8]) -> Result<(), Unanswered> {
    let is_ip = matches!(p.l3, L3::Ipv4 | L3::Ipv6);
    let stated = usize::from(p.l2_len) + p.l3_len as usize;
    let is_whole = stated <= p.frame_len as usize;
    let is_there = usize::from(p.payload_offset) <= front.len();
    match is_ip && is_whole && is_there && p.defect.is_none() {
        true => Ok(()),
        false => Err(Unanswered::NotIp),
    }
}

/// Checks that the frame is from one station to another.
fn check_link(p: &Parsed, front: &[u8]) -> Result<(), Unanswered> {
    let source: Option<&[u8; 6]> = front.get(6..).and_then(<[u8]>::first_chunk);
    let is_from_one = source.is_some_and(|s| DstKind::of(s) == DstKind::Unicast && *s != [0; 6]);
    match is_from_one && p.dst == DstKind::Unicast {
        true => Ok(()),
        false => Err(Unanswered::Address),
    }
}

/// Checks that the packet is from one host to another (RFC 1812, 4.3.2.7; RFC 4443, 2.4 (e)).
fn check_addresses(p: &Parsed, front: &[u8]) -> Result<(), Unanswered> {
    let addresses = p.addresses(front).ok_or(Unanswered::NotIp)?;
    let (source, destination) = addresses.split_at(addresses.len() / 2);
    match is_host(source) && is_host(destination) {
        true => Ok(()),
        false => Err(Unanswered::Address),
    }
}

/// Returns whether an address may be that of one host on the network.
fn is_host(address: &[u8]) -> bool {
    use std::net::{Ipv4Addr, Ipv6Addr};
    match (<[u8; 4]>::try_from(address), <[u8; 16]>::try_from(address)) {
        // 0.0.0.0/8 and 127.0.0.0/8 stay in a host; from 224.0.0.0 on are groups, reserved addresses
        // and the broadcast address.
        (Ok(v4), _) => {
            let first = Ipv4Addr::from(v4).octets()[0];
            first != 0 && first != 127 && first < 224
        }
        (_, Ok(v6)) => {
            let v6 = Ipv6Addr::from(v6);
            !v6.is_unspecified() && !v6.is_loopback() && !v6.is_multicast()
        }
        _ => false,
    }
}

/// Checks that the packet is none that is never answered: a reset, or an ICMP error.
fn check_kind(p: &Parsed, front: &[u8], reason: Reason) -> Result<(), Unanswered> {
    let at = usize::from(p.l4_offset);
    let byte = |n: usize| front.get(at + n).copied().unwrap_or_default();
    match (p.l4, byte(0)) {
        // A router tells a resetting host, too, that its segment has not arrived.
        (L4::Tcp, _) if byte(13) & flag::RST != 0 && reason == Reason::Refused => {
            Err(Unanswered::Reset)
        }
        // Queries and their answers, which `icmp_pointers` of Linux has as no errors: echo, timestamp,
        // information, address mask. An unassigned type may be that of an error.
        (L4::Icmp, 0 | 8 | 13..=18) => Ok(()),
        (L4::Icmp, _) => Err(Unanswered::Error),
        // Informational messages are from 128 on; 137 is a redirect.
        (L4::Icmpv6, ..128 | 137) => Err(Unanswered::Error),
        // A protocol number of the other family.
        _ => Ok(()),
    }
}

fn check_checksums(p: &Parsed, front: &[u8], reason: Reason) -> Result<(), Unanswered> {
    let verdict = verify(p, &[front]);
    let is_right = match (p.l4, verdict.l4) {
        // Of a packet that it passes on, a router verifies the IP header only.
        _ if reason != Reason::Refused => true,
        (L4::Icmp | L4::Icmpv6, _) => is_icmp_right(p, front),
        // A sum that covers the whole datagram cannot be verified in its first fragment.
        (L4::Udp, Check::Unchecked) => {
            let field = be16(front, usize::from(p.l4_offset) + 6);
            p.l3 == L3::Ipv4 && p.is_fragment() && field == Some(0)
        }
        (L4::Tcp, Check::Unchecked) => false,
        (_, checked) => checked != Check::Bad,
    };
    match is_right && matches!(verdict.ip, Check::Ok | Check::NotPresent) {
        true => Ok(()),
        false => Err(Unanswered::Checksum),
    }
}

/// Verifies the checksum of a whole ICMP or ICMPv6 message.
fn is_icmp_right(p: &Parsed, front: &[u8]) -> bool {
    let Some(message) = front.get(usize::from(p.l4_offset)..p.l3_end()) else {
        return false;
    };
    let sum = match p.l4 {
        L4::Icmpv6 => pseudo_header(p, front, message.len() as u32),
        _ => Some(Sum::new()),
    };
    !p.is_fragment() && sum.is_some_and(|mut sum| sum.add(message).is_valid())
}

/// Writes the link layer's header: back to the sender, with the same tags.
fn link(p: &Parsed, front: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&front[6..12]);
    out.extend_from_slice(&front[..6]);
    out.extend_from_slice(&front[12..usize::from(p.l2_len)]);
}

/// Writes the IP header of an answer with `len` bytes behind it.
fn network(p: &Parsed, ends: &Ends<'_>, class: u8, protocol: u8, len: usize, out: &mut Vec<u8>) {
    match p.l3 {
        L3::Ipv4 => {
            let start = out.len();
            out.extend([0x45, class]);
            out.extend(((IPV4_LEN + len) as u16).to_be_bytes());
            // Not to be fragmented, so that an identifier of 0 will do (RFC 6864, 4.1).
            out.extend([0, 0, 0x40, 0, HOPS, protocol, 0, 0]);
            out.extend_from_slice(ends.from());
            out.extend_from_slice(ends.to);
            let check = checksum(&out[start..]);
            put_be16(out, start + 10, check);
        }
        _ => {
            out.extend([0x60, 0, 0, 0]);
            out.extend((len as u16).to_be_bytes());
            out.extend([protocol, HOPS]);
            out.extend_from_slice(ends.from());
            out.extend_from_slice(ends.to);
        }
    }
}

/// The sum of the pseudo header of an answer.
fn pseudo(ends: &Ends<'_>, protocol: u8, len: usize) -> Sum {
    let mut sum = Sum::new();
    sum.add(ends.from())
        .add(ends.to)
        .add_u16(protocol.into())
        .add_u32(len as u32);
    sum
}

/// Writes a TCP reset (RFC 9293, 3.10.7.1).
fn reset(p: &Parsed, front: &[u8], ends: &Ends<'_>, out: &mut Vec<u8>) {
    let at = usize::from(p.l4_offset);
    let segment = &front[at..];
    let word = |n: usize| {
        let bytes = segment.get(n..).and_then(<[u8]>::first_chunk);
        bytes.copied().map_or(0, u32::from_be_bytes)
    };
    let flags = segment[13];
    let (sequence, acknowledged, flags) = match flags & flag::ACK != 0 {
        true => (word(8), 0, flag::RST),
        false => {
            let payload = p.l3_end().saturating_sub(usize::from(p.payload_offset));
            let controls = (flags & (flag::SYN | flag::FIN)).count_ones();
            let next = word(4).wrapping_add(payload as u32).wrapping_add(controls);
            (0, next, flag::RST | flag::ACK)
        }
    };
    network(p, ends, 0, proto::TCP, TCP_LEN, out);
    let start = out.len();
    out.extend_from_slice(&segment[2..4]);
    out.extend_from_slice(&segment[..2]);
    out.extend(u32::to_be_bytes(sequence));
    out.extend(u32::to_be_bytes(acknowledged));
    out.extend([0x50, flags, 0, 0, 0, 0, 0, 0]);
    let check = pseudo(ends, proto::TCP, TCP_LEN)
        .add(&out[start..])
        .checksum();
    put_be16(out, start + 16, check);
}

/// The type and the code of an ICMP error (RFC 792, RFC 4443).
fn type_and_code(answer: Answer, l3: L3) -> [u8; 2] {
    match (answer, l3) {
        (Answer::HopsExceeded, L3::Ipv4) => [11, 0],
        (Answer::HopsExceeded, _) => [3, 0],
        (Answer::TooBig, L3::Ipv4) => [3, 4],
        (Answer::TooBig, _) => [2, 0],
        (_, L3::Ipv4) => [3, 3],
        (_, _) => [1, 4],
    }
}

/// Writes an ICMP error, which quotes as much of the packet as it may.
fn error(
    p: &Parsed,
    front: &[u8],
    ends: &Ends<'_>,
    answer: Answer,
    reason: Reason,
    out: &mut Vec<u8>,
) {
    let at = usize::from(p.l2_len);
    let (protocol, room) = match p.l3 {
        L3::Ipv4 => (proto::ICMP, MAX_ERROR_V4 - IPV4_LEN),
        _ => (proto::ICMPV6, MAX_ERROR_V6 - IPV6_LEN),
    };
    let end = p.l3_end().min(front.len()).min(at + room - ERROR_LEN);
    let quoted = &front[at..end];
    let len = ERROR_LEN + quoted.len();
    // The sender's type of service, with the precedence of internetwork control (RFC 1812, 4.3.2.5).
    let class = match p.l3 {
        L3::Ipv4 => front[at + 1] & 0x1e | 0xc0,
        _ => 0,
    };
    network(p, ends, class, protocol, len, out);
    let start = out.len();
    out.extend(type_and_code(answer, p.l3));
    // The next link's MTU is in the last octets of the header (RFC 1191, 4; RFC 4443, 3.2).
    let mtu = match reason {
        Reason::TooBig(mtu) => mtu,
        _ => 0,
    };
    out.extend([0, 0, 0, 0]);
    out.extend(mtu.to_be_bytes());
    out.extend_from_slice(quoted);
    let mut sum = match p.l3 {
        L3::Ipv4 => Sum::new(),
        _ => pseudo(ends, protocol, len),
    };
    let check = sum.add(&out[start..]).checksum();
    put_be16(out, start + 2, check);
}

#[cfg(test)]
mod tests;
