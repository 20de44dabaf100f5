// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Translation of the offload requests of a TX descriptor into those of a wire.

use adit_pipeline::checksum::fill::{fill_ipv4, fill_l4};
use adit_pipeline::checksum::{pseudo_header, Sum};
use adit_pipeline::offload::{Checksum, FrameMeta, Gso, GsoKind};
use adit_pipeline::parse::{Parsed, L3, L4};
use thiserror::Error;

use crate::frame::Frame;
use crate::queues::{Segmentation, TxOffload};

/// The length of the Ethernet addresses in bytes; a VLAN tag follows them.
const ADDRESSES: usize = 12;
const TPID_8021Q: u16 = 0x8100;

/// A reason not to send a frame from the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum EgressError {
    /// Shorter than an Ethernet header.
    #[error("shorter than an Ethernet header")]
    Runt,
    /// Longer, with its tag, than any wire carries.
    #[error("too long for a VLAN tag")]
    TooLong,
    /// A checksum is requested, and no transport header has one.
    #[error("no transport header to put a checksum in")]
    NoChecksum,
    /// Segmentation is requested for a frame that cannot be segmented that way.
    #[error("a segmentation request that does not fit the frame")]
    Segmentation,
}

/// Prepares a frame: makes its headers consistent, and returns the remaining offloads.
///
/// # Errors
/// When the request does not fit the frame.
pub fn prepare(frame: &mut Frame, offload: &TxOffload) -> Result<FrameMeta, EgressError> {
    if let Some(tci) = offload.vlan_tci {
        let (tpid, tci) = (TPID_8021Q.to_be_bytes(), tci.to_be_bytes());
        if frame.len() < ADDRESSES {
            return Err(EgressError::Runt);
        }
        if !frame.insert(ADDRESSES, &[tpid[0], tpid[1], tci[0], tci[1]]) {
            return Err(EgressError::TooLong);
        }
    }
    let parsed = Parsed::new(frame, frame.len()).map_err(|_| EgressError::Runt)?;
    if let Some(request) = offload.segmentation {
        return segmentation(frame, &parsed, request);
    }
    if !offload.checksum {
        return Ok(FrameMeta::default());
    }
    // One flag requests the checksums of both layers. Linux fills in the IPv4 one by itself.
    let has_own = parsed.l3 == L3::Ipv4 && fill_ipv4(frame, &parsed).is_ok();
    let offset = match parsed.l4 {
        L4::Tcp => 16,
        L4::Udp => 6,
        // CRC32c: no host completes it for us.
        L4::Sctp => {
            fill_l4(frame, &parsed).map_err(|_| EgressError::NoChecksum)?;
            return Ok(FrameMeta::default());
        }
        _ if has_own => return Ok(FrameMeta::default()),
        _ => return Err(EgressError::NoChecksum),
    };
    Ok(FrameMeta {
        checksum: Checksum::Partial {
            start: parsed.l4_offset,
            offset,
        },
        gso: None,
    })
}

/// Completes the headers of a frame that is to be segmented. Linux leaves the IP length zero and
/// the length out of the pseudo-header sum, for the device to fill in. A wire requires both as in
/// an unsegmented frame.
fn segmentation(
    frame: &mut [u8],
    parsed: &Parsed,
    request: Segmentation,
) -> Result<FrameMeta, EgressError> {
    const BAD: EgressError = EgressError::Segmentation;
    let header_len = usize::from(request.header_len);
    let kind = match (parsed.l3, parsed.l4) {
        (L3::Ipv4, L4::Tcp) => GsoKind::Tcp4,
        (L3::Ipv6, L4::Tcp) => GsoKind::Tcp6,
        (L3::Ipv4 | L3::Ipv6, L4::Udp) => GsoKind::Udp,
        _ => return Err(BAD),
    };
    let payload = frame
        .len()
        .checked_sub(header_len)
        .filter(|&n| n > 0)
        .ok_or(BAD)?;
    if request.mss == 0
        || request.payload_len as usize != payload
        || header_len != usize::from(parsed.payload_offset)
        || parsed.is_fragment()
    {
        return Err(BAD);
    }
    let l3 = usize::from(parsed.l2_len);
    let (at, counted_from) = if parsed.l3 == L3::Ipv4 {
        (l3 + 2, l3)
    } else {
        (l3 + 4, l3 + 40)
    };
    let l3_len = u16::try_from(frame.len() - counted_from).map_err(|_| BAD)?;
    frame[at..at + 2].copy_from_slice(&l3_len.to_be_bytes());
    if parsed.l3 == L3::Ipv4 {
        fill_ipv4(frame, parsed).map_err(|_| BAD)?;
    }
    let l4 = usize::from(parsed.l4_offset);
    let l4_len = frame.len() - l4;
    let offset = if parsed.l4 == L4::Tcp { 16 } else { 6 };
    if parsed.l4 == L4::Udp {
        let len = u16::try_from(l4_len).map_err(|_| BAD)?;
        frame[l4 + 4..l4 + 6].copy_from_slice(&len.to_be_bytes());
    }
    let field = &frame[l4 + offset..][..2];
    let sum = match parsed.rerouted {
        // The final destination is not in the IP header, but in the driver's sum.
        true => Some(*Sum::new().add(field).add_u32(l4_len as u32)),
        false => pseudo_header(parsed, frame, l4_len as u32),
    };
    let sum = sum.ok_or(BAD)?.folded().to_be_bytes();
    frame[l4 + offset..][..2].copy_from_slice(&sum);
    Ok(FrameMeta {
        checksum: Checksum::Partial {
            start: parsed.l4_offset,
            offset: offset as u16,
        },
        gso: Some(Gso {
            kind,
            segment_size: request.mss,
            header_len: u16::from(request.header_len),
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ethernet, IPv4 and TCP headers as Linux leaves them for segmentation, then payload.
    fn tso_frame(payload: usize) -> Frame {
        let mut f = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
        f.extend([
            0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
        ]);
        f.extend([
            0x12, 0x34, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x10, 1, 0, 0, 0, 0, 0,
        ]);
        f.resize(f.len() + payload, 0x5A);
        Frame::from(&f[..])
    }

    fn tso(payload_len: u32, header_len: u8, mss: u16) -> TxOffload {
        let segmentation = Some(Segmentation {
            mss,
            payload_len,
            header_len,
        });
        TxOffload {
            checksum: true,
            segmentation,
            vlan_tci: None,
        }
    }

    #[test]
    fn a_frame_to_be_cut_gets_the_lengths_and_sums_of_a_whole_one() {
        let mut f = tso_frame(3000);
        let meta = prepare(&mut f, &tso(3000, 54, 1448)).unwrap();
        assert_eq!(
            meta.checksum,
            Checksum::Partial {
                start: 34,
                offset: 16
            }
        );
        let gso = Gso {
            kind: GsoKind::Tcp4,
            segment_size: 1448,
            header_len: 54,
        };
        assert_eq!(meta.gso, Some(gso));
        assert_eq!(u16::from_be_bytes([f[16], f[17]]), 3040);
        // 10.0.0.1 + 10.0.0.2 + protocol 6 + 3020 bytes of TCP.
        assert_eq!(u16::from_be_bytes([f[50], f[51]]), 0x1400 + 3 + 6 + 3020);
        adit_pipeline::checksum::fill::complete_partial(&mut f, 34, 16).unwrap();
        let parsed = Parsed::new(&f, f.len()).unwrap();
        let verdict = adit_pipeline::checksum::verify::verify(&parsed, &[&f]);
        assert_eq!(verdict.ip, adit_pipeline::checksum::verify::Check::Ok);
        assert_eq!(verdict.l4, adit_pipeline::checksum::verify::Check::Ok);
    }

    /// The pseudo header of what a routing header leads on has the final destination, which only the
    /// sender's sum knows.
    #[test]
    fn the_sum_of_a_rerouted_frame_to_be_segmented_only_gets_its_length() {
        let mut f = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x86, 0xdd];
        f.extend([0x60, 0, 0, 0, 0, 0, 43, 64]);
        f.extend([0x20; 32]);
        f.extend([6, 0, 4, 1, 0, 0, 0, 0]);
        f.extend(&tso_frame(3000)[34..]);
        f[78..80].copy_from_slice(&[0x12, 0x34]);
        let mut f = Frame::from(&f[..]);
        let meta = prepare(&mut f, &tso(3000, 82, 1400)).unwrap();
        assert_eq!(
            meta.checksum,
            Checksum::Partial {
                start: 62,
                offset: 16
            }
        );
        assert_eq!(u16::from_be_bytes([f[18], f[19]]), 3028);
        assert_eq!(u16::from_be_bytes([f[78], f[79]]), 0x1234 + 3020);
    }

    #[test]
    fn segmentation_requests_that_do_not_fit_are_refused() {
        for bad in [
            tso(2999, 54, 1448),
            tso(3000, 54, 0),
            tso(3020, 34, 1448),
            tso(0, 0, 1),
        ] {
            assert_eq!(
                prepare(&mut tso_frame(3000), &bad),
                Err(EgressError::Segmentation),
                "{bad:?}"
            );
        }
        let empty = prepare(&mut tso_frame(0), &tso(0, 54, 1448));
        assert_eq!(empty, Err(EgressError::Segmentation));
        let mut arp = tso_frame(3000);
        arp[13] = 6;
        assert_eq!(
            prepare(&mut arp, &tso(3000, 54, 9)),
            Err(EgressError::Segmentation)
        );
    }

    #[test]
    fn a_tag_is_inserted_after_the_addresses() {
        let mut f = tso_frame(10);
        let offload = TxOffload {
            vlan_tci: Some(0x2005),
            ..TxOffload::default()
        };
        assert_eq!(prepare(&mut f, &offload), Ok(FrameMeta::default()));
        assert_eq!(f[12..18], [0x81, 0, 0x20, 5, 8, 0]);
        assert_eq!(f.len(), 68);
        assert_eq!(
            prepare(&mut Frame::from(&[0; 5][..]), &offload),
            Err(EgressError::Runt)
        );
    }

    #[test]
    fn a_checksum_needs_a_header_to_put_it_in() {
        let checksum = TxOffload {
            checksum: true,
            ..TxOffload::default()
        };
        let mut f = tso_frame(10);
        f[23] = 1; // ICMP, after an IPv4 header that has a checksum of its own
        assert_eq!(f[24..26], [0, 0]);
        assert_eq!(prepare(&mut f, &checksum), Ok(FrameMeta::default()));
        assert_eq!(adit_pipeline::checksum::checksum(&f[14..34]), 0);
        f[13] = 6; // ARP
        assert_eq!(prepare(&mut f, &checksum), Err(EgressError::NoChecksum));
        assert_eq!(
            prepare(&mut Frame::from(&[0; 13][..]), &checksum),
            Err(EgressError::Runt)
        );
    }
}
