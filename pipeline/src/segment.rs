// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Segmentation of a large TCP or UDP frame into frames that fit the link (TSO, USO).

use thiserror::Error;

use crate::checksum::fill::{complete_partial, fill_ipv4, fill_l4};
use crate::checksum::Sum;
use crate::headers::{be16, put_be16, IPV6_LEN};
use crate::offload::{Checksum, FrameMeta, GsoKind};
use crate::parse::{Parsed, L3, L4};

const TCP_FLAGS: usize = 13;
const FIN: u8 = 0x01;
const PSH: u8 = 0x08;
const CWR: u8 = 0x80;
/// Maximum number of segments of one frame: 64 KiB in segments of 8 bytes, Linux's minimum.
pub const MAX_SEGMENTS: usize = 8192;

/// Reasons why a frame cannot be segmented.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SegmentError {
    /// The metadata has no segmentation request.
    #[error("the frame carries no segmentation request")]
    NotAsked,
    /// The headers are not those of the requested kind.
    #[error("the frame is not {0:?}, or its headers do not end at the given start of its payload")]
    Headers(GsoKind),
    /// Segments would be empty, or there would be none.
    #[error("segments of {segment_size} bytes out of a payload of {payload}")]
    Sizes {
        /// Bytes of payload in each segment.
        segment_size: u16,
        /// Total bytes of payload.
        payload: usize,
    },
    /// A routing header leads to another destination, which only a checksum that the sender left
    /// partial knows.
    #[error("a routing header or home address hides an address, and the checksum is not partial")]
    Rerouted,
    /// A segment's length does not fit in its IP header.
    #[error("segments whose IP header would state {0} bytes, of at most 65535")]
    TooLong(usize),
}

/// A frame during segmentation.
#[derive(Debug)]
pub struct Segmenter<'a> {
    frame: &'a [u8],
    parsed: Parsed,
    header_len: usize,
    segment_size: usize,
    next: usize,
    /// The sum of the pseudo header without a length, if the frame does not show its addresses.
    hidden: Option<Sum>,
}

impl<'a> Segmenter<'a> {
    /// Checks a frame and its request.
    ///
    /// # Errors
    /// Returns an error if the request does not fit the frame.
    pub fn new(frame: &'a [u8], meta: &FrameMeta) -> Result<Self, SegmentError> {
        let gso = meta.gso.ok_or(SegmentError::NotAsked)?;
        let headers = SegmentError::Headers(gso.kind);
        let parsed = Parsed::new(frame, frame.len()).map_err(|_| headers)?;
        let fits = match gso.kind {
            GsoKind::Tcp4 => (parsed.l3, parsed.l4) == (L3::Ipv4, L4::Tcp),
            GsoKind::Tcp6 => (parsed.l3, parsed.l4) == (L3::Ipv6, L4::Tcp),
            GsoKind::Udp => parsed.l4 == L4::Udp,
        };
        let header_len = usize::from(gso.header_len);
        if !fits || parsed.is_fragment() || header_len != usize::from(parsed.payload_offset) {
            return Err(headers);
        }
        let payload = frame.len().saturating_sub(header_len);
        let segment_size = usize::from(gso.segment_size);
        if payload == 0 || segment_size == 0 || payload.div_ceil(segment_size) > MAX_SEGMENTS {
            return Err(SegmentError::Sizes {
                segment_size: gso.segment_size,
                payload,
            });
        }
        // The IPv6 payload length does not count the fixed header.
        let uncounted =
            usize::from(parsed.l2_len) + if parsed.l3 == L3::Ipv6 { IPV6_LEN } else { 0 };
        let stated = header_len + segment_size.min(payload) - uncounted;
        if stated > usize::from(u16::MAX) {
            return Err(SegmentError::TooLong(stated));
        }
        let hidden = match parsed.rerouted {
            true => Some(hidden_addresses(frame, &parsed, meta.checksum)?),
            false => None,
        };
        Ok(Self {
            frame,
            parsed,
            header_len,
            segment_size,
            next: 0,
            hidden,
        })
    }

    /// Returns the total number of segments.
    pub fn count(&self) -> usize {
        (self.frame.len() - self.header_len).div_ceil(self.segment_size)
    }

    /// Skips the next `n` segments.
    pub fn skip(&mut self, n: usize) {
        self.next = self.next.saturating_add(n);
    }

    /// Writes the next segment, with all its checksums, to the start of `out`. Returns `None` after
    /// the last segment, or if `out` is too short for a segment.
    pub fn next_into(&mut self, out: &mut [u8]) -> Option<usize> {
        let payload = &self.frame[self.header_len..];
        let start = self.next.checked_mul(self.segment_size)?;
        let rest = payload.get(start..).filter(|rest| !rest.is_empty())?;
        let piece = &rest[..rest.len().min(self.segment_size)];
        let last = piece.len() == rest.len();
        let len = self.header_len + piece.len();
        let out = out.get_mut(..len)?;
        out[..self.header_len].copy_from_slice(&self.frame[..self.header_len]);
        out[self.header_len..].copy_from_slice(piece);
        self.patch(out, start, last)?;
        self.next += 1;
        Some(len)
    }

    fn patch(&self, out: &mut [u8], start: usize, last: bool) -> Option<()> {
        let (l3, l4) = (
            usize::from(self.parsed.l2_len),
            usize::from(self.parsed.l4_offset),
        );
        let len = out.len();
        if self.parsed.l3 == L3::Ipv4 {
            put_be16(out, l3 + 2, (len - l3) as u16)?;
            let id = u16::from_be_bytes([out[l3 + 4], out[l3 + 5]]);
            put_be16(out, l3 + 4, id.wrapping_add(self.next as u16))?;
        } else {
            put_be16(out, l3 + 4, (len - l3 - IPV6_LEN) as u16)?;
        }
        if self.parsed.l4 == L4::Tcp {
            let seq: [u8; 4] = out.get(l4 + 4..l4 + 8)?.try_into().ok()?;
            let seq = u32::from_be_bytes(seq).wrapping_add(start as u32);
            out[l4 + 4..l4 + 8].copy_from_slice(&seq.to_be_bytes());
            let flags = out.get_mut(l4 + TCP_FLAGS)?;
            if !last {
                *flags &= !(FIN | PSH);
            }
            if self.next != 0 {
                *flags &= !CWR;
            }
        } else {
            put_be16(out, l4 + 4, (len - l4) as u16)?;
        }
        let parsed = Parsed::new(out, len).ok()?;
        if parsed.l3 == L3::Ipv4 {
            fill_ipv4(out, &parsed).ok()?;
        }
        let Some(mut pseudo) = self.hidden else {
            return fill_l4(out, &parsed).ok();
        };
        let (start, offset) = (parsed.l4_offset, checksum_offset(parsed.l4));
        let sum = pseudo.add_u32((len - l4) as u32).folded();
        put_be16(out, l4 + usize::from(offset), sum)?;
        complete_partial(out, start, offset).ok()
    }
}

/// The offset of the checksum in a TCP or UDP header.
fn checksum_offset(l4: L4) -> u16 {
    match l4 {
        L4::Tcp => 16,
        _ => 6,
    }
}

/// The sum of the pseudo header of a rerouted frame without the length: of the final destination,
/// which a partial checksum has.
fn hidden_addresses(
    frame: &[u8],
    parsed: &Parsed,
    checksum: Checksum,
) -> Result<Sum, SegmentError> {
    let (start, offset) = (parsed.l4_offset, checksum_offset(parsed.l4));
    let l4 = usize::from(start);
    match be16(frame, l4 + usize::from(offset)) {
        Some(field) if checksum == (Checksum::Partial { start, offset }) => {
            let mut sum = Sum::new();
            sum.add_u16(field).add_u32(!((frame.len() - l4) as u32));
            Ok(sum)
        }
        _ => Err(SegmentError::Rerouted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checksum::verify::{verify, Check};
    use crate::offload::{Gso, OnWire};
    use crate::testing::{ip_frame, l4, l4_sum};
    use proptest::prelude::*;

    fn meta(kind: GsoKind, segment_size: u16, header_len: usize) -> FrameMeta {
        let gso = Gso {
            kind,
            segment_size,
            header_len: header_len as u16,
        };
        FrameMeta {
            checksum: Checksum::Unknown,
            gso: Some(gso),
        }
    }

    /// Builds a frame's headers; the IP lengths are those for `payload` bytes.
    fn headers(kind: GsoKind, vlan: bool, payload: usize) -> Vec<u8> {
        let mut f = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
        if vlan {
            f.extend([0x81, 0, 0, 5]);
        }
        let l4: &[u8] = match kind {
            GsoKind::Udp => &[0x12, 0x34, 0, 53, 0, 0, 0, 0],
            _ => &[
                0, 80, 1, 2, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0, 9, 0x50, 0x99, 4, 0, 0, 0, 0, 0,
            ],
        };
        let (len, proto) = (
            l4.len() + payload,
            if kind == GsoKind::Udp { 17 } else { 6 },
        );
        if kind == GsoKind::Tcp6 {
            f.extend([0x86, 0xDD, 0x60, 0, 0, 0]);
            f.extend((len as u16).to_be_bytes());
            f.extend([proto, 64]);
            f.extend([0x20; 32]);
        } else {
            f.extend([8, 0, 0x45, 0]);
            f.extend((len as u16 + 20).to_be_bytes());
            f.extend([
                0xFF, 0xFE, 0x40, 0, 64, proto, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
            ]);
        }
        f.extend(l4);
        f
    }

    proptest! {
        #[test]
        fn segments_are_whole_frames_that_add_up(
            kind in prop_oneof![Just(GsoKind::Tcp4), Just(GsoKind::Tcp6), Just(GsoKind::Udp)],
            vlan: bool,
            payload in prop::collection::vec(any::<u8>(), 1..9000),
            segment_size in 8_u16..3000,
        ) {
            let mut frame = headers(kind, vlan, payload.len());
            let header_len = frame.len();
            frame.extend(&payload);
            let meta = meta(kind, segment_size, header_len);
            let mut segments = Segmenter::new(&frame, &meta).unwrap();
            let (mut out, mut joined, mut n) = (vec![0; 70_000], Vec::<u8>::new(), 0_usize);
            let mut bytes = 0;
            while let Some(len) = segments.next_into(&mut out) {
                bytes += len as u64;
                let segment = &out[..len];
                let parsed = Parsed::new(segment, len).unwrap();
                prop_assert_eq!(parsed.l3_end(), len);
                let verdict = verify(&parsed, &[segment]);
                prop_assert_eq!(verdict.l4, Check::Ok);
                prop_assert_eq!(verdict.ip == Check::Ok, kind != GsoKind::Tcp6);
                let l4 = usize::from(parsed.l4_offset);
                joined.extend(&segment[header_len..]);
                let last = joined.len() == payload.len();
                if kind != GsoKind::Udp {
                    let seq = u32::from_be_bytes(segment[l4 + 4..l4 + 8].try_into().unwrap());
                    let sent = (n * usize::from(segment_size)) as u32;
                    prop_assert_eq!(seq, 0xFFFF_FF00_u32.wrapping_add(sent));
                    let flags = 0x10 | if last { 0x09 } else { 0 } | if n == 0 { 0x80 } else { 0 };
                    prop_assert_eq!(segment[l4 + 13], flags);
                }
                if kind != GsoKind::Tcp6 {
                    let l3 = usize::from(parsed.l2_len);
                    let id = u16::from_be_bytes([segment[l3 + 4], segment[l3 + 5]]);
                    prop_assert_eq!(id, 0xFFFE_u16.wrapping_add(n as u16));
                }
                prop_assert!(last || segment.len() - header_len == usize::from(segment_size));
                n += 1;
            }
            prop_assert_eq!(joined, payload);
            let counted = OnWire { frames: n as u64, bytes };
            prop_assert_eq!(meta.on_wire(frame.len()), counted);
        }

        #[test]
        fn whatever_comes_nothing_panics(
            frame in prop::collection::vec(any::<u8>(), 0..200),
            kind in prop_oneof![Just(GsoKind::Tcp4), Just(GsoKind::Tcp6), Just(GsoKind::Udp)],
            segment_size: u16, header_len in 0_usize..200, room in 0_usize..300,
        ) {
            if let Ok(mut s) = Segmenter::new(&frame, &meta(kind, segment_size, header_len)) {
                let mut out = vec![0; room];
                let mut n = 0;
                while s.next_into(&mut out).is_some() {
                    n += 1;
                    prop_assert!(n <= MAX_SEGMENTS);
                }
            }
        }
    }

    /// TCP behind a routing header with a segment left: the pseudo header has the final destination,
    /// which the frame's checksum field knows.
    #[test]
    fn segments_of_a_rerouted_frame_have_the_sum_of_its_final_destination() {
        let (source, last) = (
            "2001:db8::1".parse().unwrap(),
            "2001:db8::9".parse().unwrap(),
        );
        let payload: Vec<u8> = (0..2500_u16).map(|n| n as u8).collect();
        let mut routing = vec![6, 2, 4, 1, 0, 0, 0, 0];
        routing.extend([0x20; 16]);
        let tcp = l4(6, 1000, 80, &payload);
        let next = "2001:db8::2".parse().unwrap();
        let mut frame = ip_frame((source, next), 43, &[routing, tcp].concat());
        let l4_len = 20 + payload.len();
        let pseudo = l4_sum((source, last), 6, &vec![0; l4_len]);
        frame[94..96].copy_from_slice(&pseudo.to_be_bytes());
        let mut request = meta(GsoKind::Tcp6, 1000, 98);
        assert_eq!(
            Segmenter::new(&frame, &request).unwrap_err(),
            SegmentError::Rerouted
        );
        request.checksum = Checksum::Partial {
            start: 78,
            offset: 16,
        };
        let mut segments = Segmenter::new(&frame, &request).unwrap();
        let (mut out, mut n) = (vec![0; 2000], 0);
        while let Some(len) = segments.next_into(&mut out) {
            assert_eq!(l4_sum((source, last), 6, &out[78..len]), 0xffff, "{n}");
            n += 1;
        }
        assert_eq!(n, 3);
    }

    /// IP headers count up to 65535: the longest frame that fits is segmented, one byte more is
    /// refused.
    #[test]
    fn segments_fit_in_their_ip_header() {
        for (kind, most) in [(GsoKind::Tcp4, 65_535 - 40), (GsoKind::Tcp6, 65_535 - 20)] {
            let mut frame = headers(kind, true, 0);
            let header_len = frame.len();
            frame.resize(header_len + most, 0);
            let whole = meta(kind, u16::MAX, header_len);
            let mut out = vec![0; frame.len()];
            let len = Segmenter::new(&frame, &whole).unwrap().next_into(&mut out);
            assert_eq!(len, Some(frame.len()));
            frame.push(0);
            let refused = Segmenter::new(&frame, &whole).unwrap_err();
            assert_eq!(refused, SegmentError::TooLong(65_536));
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_by_name() {
        let mut frame = headers(GsoKind::Tcp4, false, 100);
        frame.resize(154, 0);
        let refused = |m: FrameMeta| Segmenter::new(&frame, &m).unwrap_err();
        assert_eq!(refused(FrameMeta::default()), SegmentError::NotAsked);
        let six = refused(meta(GsoKind::Tcp6, 10, 54));
        assert_eq!(six, SegmentError::Headers(GsoKind::Tcp6));
        let early = refused(meta(GsoKind::Tcp4, 10, 34));
        assert_eq!(early, SegmentError::Headers(GsoKind::Tcp4));
        let empty = refused(meta(GsoKind::Tcp4, 0, 54));
        assert_eq!(
            empty,
            SegmentError::Sizes {
                segment_size: 0,
                payload: 100
            }
        );
    }
}
