// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Frame metadata after a program has changed the frame's headers.

use adit_pipeline::checksum::pseudo_header;
use adit_pipeline::offload::{Checksum, FrameMeta, GsoKind};
use adit_pipeline::parse::{Parsed, L3, L4};

/// The length of an Ethernet header.
const ETHERNET: usize = 14;

/// Updates the metadata after the first `before` bytes were replaced by `after` others; returns
/// `false` if that is impossible.
///
/// The device completes a partial checksum when the frame leaves: the pseudo-header, whose sum is
/// in the checksum field, is that of the new addresses, whatever the program wrote to the field. A
/// checksum that was validated may no longer be correct.
pub(crate) fn amend(frame: &mut [u8], meta: &mut FrameMeta, before: usize, after: usize) -> bool {
    match meta.checksum {
        Checksum::Unknown => {}
        Checksum::Valid => meta.checksum = Checksum::Unknown,
        Checksum::Partial { start, offset } => {
            let moved = usize::from(start) + after;
            if moved < before + ETHERNET {
                // Its header was removed, together with the tunnel that it belonged to.
                meta.checksum = Checksum::Unknown;
            } else {
                let Ok(start) = u16::try_from(moved - before) else {
                    return false;
                };
                if !renew(frame, start, offset, after.saturating_sub(before)) {
                    return false;
                }
                meta.checksum = Checksum::Partial { start, offset };
            }
        }
    }
    let Some(gso) = meta.gso else {
        return true;
    };
    // The types of headers have not changed, or the frame would have been segmented.
    Parsed::new(frame, frame.len()).is_ok_and(|parsed| {
        let kind = match (parsed.l3, parsed.l4) {
            (L3::Ipv4, L4::Tcp) => GsoKind::Tcp4,
            (L3::Ipv6, L4::Tcp) => GsoKind::Tcp6,
            (_, L4::Udp) => GsoKind::Udp,
            _ => return false,
        };
        kind == gso.kind && parsed.payload_offset == gso.header_len && !parsed.is_fragment()
    })
}

/// Writes the pseudo-header's sum to the checksum field of the transport header at `start`, after
/// the outer headers of the frame, or after those of the frame that begins at `inner`. The checksum
/// field is left unchanged in other kinds of tunnels, and behind a routing header with segments left
/// or a home address.
fn renew(frame: &mut [u8], start: u16, offset: u16, inner: usize) -> bool {
    let at = usize::from(start) + usize::from(offset);
    if at + 2 > frame.len() {
        return false;
    }
    for base in [0, inner] {
        let bytes = &frame[base..];
        let Ok(parsed) = Parsed::new(bytes, bytes.len()) else {
            continue;
        };
        let is_there = base + usize::from(parsed.l4_offset) == usize::from(start)
            && matches!((parsed.l4, offset), (L4::Tcp, 16) | (L4::Udp, 6));
        if is_there && parsed.rerouted {
            // An address of the pseudo header is not in the IP header.
            return true;
        }
        let len = parsed
            .l3_end()
            .checked_sub(usize::from(parsed.l4_offset))
            .filter(|_| is_there);
        let sum = len.and_then(|len| pseudo_header(&parsed, bytes, len as u32));
        if let Some(sum) = sum {
            frame[at..at + 2].copy_from_slice(&sum.folded().to_be_bytes());
            return true;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use adit_pipeline::checksum::fill::{complete_partial, fill_ipv4};
    use adit_pipeline::checksum::verify::{verify, Check};
    use adit_pipeline::offload::Gso;

    use super::*;
    use crate::frame::Frame;

    /// UDP over IPv4 with a partial checksum.
    fn unfinished() -> (Frame, FrameMeta) {
        let mut f = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
        f.extend([
            0x45, 0, 0, 33, 0, 1, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
        ]);
        f.extend([0x12, 0x34, 0, 80, 0, 13, 0, 0, b'h', b'e', b'l', b'l', b'o']);
        let parsed = Parsed::new(&f, f.len()).unwrap();
        fill_ipv4(&mut f, &parsed).unwrap();
        let sum = pseudo_header(&parsed, &f, 13).unwrap().folded();
        f[40..42].copy_from_slice(&sum.to_be_bytes());
        let checksum = Checksum::Partial {
            start: 34,
            offset: 6,
        };
        (
            Frame::from(&f[..]),
            FrameMeta {
                checksum,
                gso: None,
            },
        )
    }

    fn is_right(frame: &mut [u8], meta: FrameMeta, at: usize) -> bool {
        let Checksum::Partial { start, offset } = meta.checksum else {
            return false;
        };
        complete_partial(frame, start, offset).unwrap();
        let inner = &frame[at..];
        let parsed = Parsed::new(inner, inner.len()).unwrap();
        verify(&parsed, &[inner]).l4 == Check::Ok
    }

    #[test]
    fn an_unfinished_checksum_follows_the_addresses() {
        let (mut frame, mut meta) = unfinished();
        let mut headers = frame[..42].to_vec();
        headers[30..34].copy_from_slice(&[192, 0, 2, 7]);
        // As a program would do that mistakes the sum for a checksum.
        headers[40..42].copy_from_slice(&[0xDE, 0xAD]);
        assert!(frame.replace_front(42, &headers));
        assert!(amend(&mut frame, &mut meta, 42, 42));
        assert!(is_right(&mut frame, meta, 0));
    }

    /// The pseudo header behind a routing header with segments left has an address that is not the
    /// IP header's.
    #[test]
    fn an_unfinished_checksum_of_a_rerouted_packet_stays() {
        let mut f = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x86, 0xdd];
        f.extend([0x60, 0, 0, 0, 0, 21, 43, 64]);
        f.extend([0x20; 32]);
        f.extend([17, 0, 4, 1, 0, 0, 0, 0]);
        f.extend(&unfinished().0[34..]);
        f[68..70].copy_from_slice(&[0x12, 0x34]);
        let mut meta = FrameMeta {
            checksum: Checksum::Partial {
                start: 62,
                offset: 6,
            },
            gso: None,
        };
        let expected = meta;
        assert!(amend(&mut f, &mut meta, 14, 14));
        assert_eq!((&f[68..70], meta), (&[0x12, 0x34][..], expected));
        f[57] = 0;
        assert!(amend(&mut f, &mut meta, 14, 14));
        assert_ne!(f[68..70], [0x12, 0x34], "it is there, and not rerouted");
    }

    #[test]
    fn an_unfinished_checksum_moves_into_a_tunnel_and_out_of_one() {
        let (mut frame, mut meta) = unfinished();
        let mut outer = frame[..34].to_vec();
        outer.extend([0x12, 0xB5, 0x12, 0xB5, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 1, 0]);
        let headers = [&outer[..], &frame[..42]].concat();
        assert!(frame.replace_front(42, &headers));
        assert!(amend(&mut frame, &mut meta, 42, 42 + outer.len()));
        let mut finished = Frame::from(&frame[..]);
        assert!(is_right(&mut finished, meta, outer.len()));
        let inner = frame[outer.len()..][..42].to_vec();
        assert!(frame.replace_front(42 + outer.len(), &inner));
        assert!(amend(&mut frame, &mut meta, 42 + outer.len(), 42));
        assert!(is_right(&mut frame, meta, 0));
    }

    #[test]
    fn what_was_checked_is_checked_again() {
        let (mut frame, mut meta) = unfinished();
        meta.checksum = Checksum::Valid;
        assert!(amend(&mut frame, &mut meta, 14, 14));
        assert_eq!(meta.checksum, Checksum::Unknown);
    }

    #[test]
    fn a_tunnel_takes_its_unfinished_checksum_with_it() {
        let (inner, mut meta) = unfinished();
        let mut outer = inner[..42].to_vec();
        outer.extend([8, 0, 0, 0, 0, 0, 1, 0]);
        let mut frame = Frame::from(&[&outer[..], &inner[..]].concat()[..]);
        let before = outer.len() + 14;
        assert!(frame.replace_front(before, &inner[..14]));
        assert!(amend(&mut frame, &mut meta, before, 14));
        assert_eq!(meta.checksum, Checksum::Unknown);
        assert_eq!(frame[..], inner[..]);
    }

    #[test]
    fn what_cannot_be_finished_any_more_is_told() {
        let (frame, meta) = unfinished();
        for (before, after) in [(0, 65_535), (42, 60)] {
            let mut short = frame[..20].to_vec();
            assert!(!amend(&mut short, &mut meta.clone(), before, after));
        }
        let gso = Gso {
            kind: GsoKind::Tcp4,
            segment_size: 3,
            header_len: 42,
        };
        let mut merged = FrameMeta {
            gso: Some(gso),
            ..meta
        };
        assert!(
            !amend(&mut frame.to_vec(), &mut merged, 42, 42),
            "it is UDP"
        );
        merged.gso = Some(Gso {
            kind: GsoKind::Udp,
            ..gso
        });
        assert!(amend(&mut frame.to_vec(), &mut merged, 42, 42));
    }
}
