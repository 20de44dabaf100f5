// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Verification of the checksums of a received frame, which may be spread over several buffers.

use super::{pseudo_header, Sum};
use crate::headers::{be16, UDP_LEN};
use crate::parse::{Parsed, L3, L4};

/// The result for one checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// A correct checksum.
    Ok,
    /// A wrong checksum.
    Bad,
    /// The protocol has none, or the sender left it out (UDP over IPv4, RFC 768).
    NotPresent,
    /// Not verifiable: a fragment, inconsistent lengths, a routing header, or an
    /// unsupported protocol.
    Unchecked,
}

/// The results for a frame's checksums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The IPv4 header checksum.
    pub ip: Check,
    /// The transport checksum: TCP, UDP or SCTP.
    pub l4: Check,
}

/// Verifies the frame whose bytes are the concatenation of `slices`.
///
/// `p` comes from parsing this frame; the first slice must hold its headers. Reads each byte once.
pub fn verify(p: &Parsed, slices: &[&[u8]]) -> Verdict {
    let front = slices.first().copied().unwrap_or_default();
    Verdict {
        ip: verify_ip(p, front),
        l4: verify_l4(p, front, slices),
    }
}

fn verify_ip(p: &Parsed, front: &[u8]) -> Check {
    if p.l3 != L3::Ipv4 {
        return Check::NotPresent;
    }
    let at = usize::from(p.l2_len);
    match front.get(at..usize::from(p.l4_offset)) {
        Some(header) if Sum::new().add(header).is_valid() => Check::Ok,
        Some(_) => Check::Bad,
        None => Check::Unchecked,
    }
}

fn verify_l4(p: &Parsed, front: &[u8], slices: &[&[u8]]) -> Check {
    if p.l3 != L3::Ipv4 && p.l3 != L3::Ipv6 {
        return Check::NotPresent;
    }
    let at = usize::from(p.l4_offset);
    let ip_end = usize::from(p.l2_len) + p.l3_len as usize;
    if p.is_fragment() || ip_end < at || ip_end > p.frame_len as usize {
        return Check::Unchecked;
    }
    // A routing header does not change SCTP's checksum: it covers no addresses.
    let mut len = ip_end - at;
    match p.l4 {
        L4::Sctp => return verify_sctp(slices, at, len),
        L4::Tcp | L4::Udp if p.rerouted => return Check::Unchecked,
        L4::Tcp => {}
        L4::Udp => match (be16(front, at + 4).map(usize::from), be16(front, at + 6)) {
            (_, Some(0)) if p.l3 == L3::Ipv4 => return Check::NotPresent,
            // IPv6 requires one (RFC 8200, 8.1), except in tunnels that negotiated otherwise (RFC
            // 6935).
            (_, Some(0)) => return Check::Bad,
            (Some(stated), _) if (UDP_LEN..=len).contains(&stated) => len = stated,
            _ => return Check::Unchecked,
        },
        L4::Icmp | L4::Icmpv6 | L4::None => return Check::Unchecked,
    }
    let Some(mut sum) = pseudo_header(p, front, len as u32) else {
        return Check::Unchecked;
    };
    match each_in(slices, at, len, |bytes| {
        sum.add(bytes);
    }) {
        true if sum.is_valid() => Check::Ok,
        true => Check::Bad,
        false => Check::Unchecked,
    }
}

/// Verifies the CRC-32C over the packet with its checksum field zero; it is stored least
/// significant byte first (RFC 9260, 6.8 and appendix A).
fn verify_sctp(slices: &[&[u8]], at: usize, len: usize) -> Check {
    let mut crc = 0;
    let mut stored = [0; 4];
    let mut filled = 0;
    let mut add = |bytes: &[u8]| crc = crc32c::crc32c_append(crc, bytes);
    let whole = each_in(slices, at, 8, &mut add)
        && each_in(slices, at + 8, 4, |bytes| {
            stored[filled..filled + bytes.len()].copy_from_slice(bytes);
            filled += bytes.len();
        })
        && {
            add(&[0; 4]);
            each_in(slices, at + 12, len.saturating_sub(12), add)
        };
    match whole {
        true if crc == u32::from_le_bytes(stored) => Check::Ok,
        true => Check::Bad,
        false => Check::Unchecked,
    }
}

/// Calls `f` with the bytes `[at, at + len)` of the slices' concatenation, piece by piece. Returns
/// `false` if the slices are too short; `f` may have been called for some of the bytes.
fn each_in(slices: &[&[u8]], at: usize, len: usize, mut f: impl FnMut(&[u8])) -> bool {
    let (mut skip, mut left) = (at, len);
    for s in slices {
        if left == 0 {
            break;
        }
        if skip >= s.len() {
            skip -= s.len();
            continue;
        }
        let piece = &s[skip..s.len().min(skip.saturating_add(left))];
        f(piece);
        left -= piece.len();
        skip = 0;
    }
    left == 0
}
