// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The header that precedes each frame on a Linux TAP device: `struct virtio_net_hdr_v1`
//! (VIRTIO 1.2, section 5.1.6; `include/uapi/linux/virtio_net.h`), 12 bytes, little-endian.
//!
//! Both directions are pure functions. A header is validated against its frame: offsets outside the
//! frame are an error, and the header length (a hint in the standard) is computed from the
//! transport header instead of being trusted.

use adit_pipeline::offload::{Checksum, FrameMeta, Gso, GsoKind};
use thiserror::Error;
use zerocopy::little_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// `VIRTIO_NET_HDR_F_NEEDS_CSUM`: `csum_start` and `csum_offset` locate the pending checksum.
const F_NEEDS_CSUM: u8 = 1;
/// `VIRTIO_NET_HDR_F_DATA_VALID`: the checksum was verified, or is trusted.
const F_DATA_VALID: u8 = 2;

const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_UDP_L4: u8 = 5;
/// `VIRTIO_NET_HDR_GSO_ECN`: the first segment carries CWR, the others must not.
const GSO_ECN: u8 = 0x80;

const ETHERNET_HEADER_LEN: usize = 14;
const TCP_MIN_HEADER_LEN: usize = 20;
const TCP_CHECKSUM_OFFSET: usize = 16;
const UDP_HEADER_LEN: usize = 8;
const UDP_CHECKSUM_OFFSET: usize = 6;

/// The length of the header in bytes.
pub const VNET_HEADER_LEN: usize = size_of::<VnetHeader>();

/// `struct virtio_net_hdr_v1`.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
    Unaligned,
)]
#[repr(C)]
pub struct VnetHeader {
    /// The `VIRTIO_NET_HDR_F_*` flags.
    pub flags: u8,
    /// The `VIRTIO_NET_HDR_GSO_*` type, with the ECN bit.
    pub gso_type: u8,
    /// The length of all headers in bytes; a hint.
    pub hdr_len: U16,
    /// The payload length of each segment in bytes.
    pub gso_size: U16,
    /// The offset of the first byte covered by the checksum.
    pub csum_start: U16,
    /// The offset of the checksum field, relative to `csum_start`.
    pub csum_offset: U16,
    /// The number of buffers that the frame was spread over (always 1 for a TAP device).
    pub num_buffers: U16,
}

const _: () = assert!(VNET_HEADER_LEN == 12);

/// The reason that a header does not match its frame.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum VnetError {
    /// The checksum field is not inside the frame, or the checksum covers the Ethernet header.
    #[error("checksum at {start}+{offset} is not inside the payload of a frame of {len} bytes")]
    ChecksumOutside {
        /// The `csum_start` field.
        start: u16,
        /// The `csum_offset` field.
        offset: u16,
        /// The length of the frame in bytes.
        len: usize,
    },
    /// The segmentation type was never enabled, or is not defined by any standard.
    #[error("segmentation type {0:#04x} was not enabled on this port")]
    UnknownGso(u8),
    /// The segments of the frame would have no payload.
    #[error("segmentation with a segment size of 0")]
    ZeroSegment,
    /// The frame requests segmentation without a partial transport checksum for each segment.
    #[error("segmentation without a partial checksum at the transport header")]
    GsoWithoutChecksum,
    /// The transport header of a frame to be segmented extends beyond the frame.
    #[error("transport header at {start} leaves a frame of {len} bytes")]
    HeaderOutside {
        /// The offset of the transport header.
        start: u16,
        /// The length of the frame in bytes.
        len: usize,
    },
}

impl VnetHeader {
    /// Decodes the header of `frame` and validates it against the frame.
    ///
    /// # Errors
    /// Fails when offsets are outside the frame, or a segmentation request cannot be carried out.
    pub fn decode(&self, frame: &[u8]) -> Result<FrameMeta, VnetError> {
        let checksum = if self.flags & F_NEEDS_CSUM != 0 {
            let (start, offset) = (self.csum_start.get(), self.csum_offset.get());
            let end = usize::from(start) + usize::from(offset) + 2;
            if usize::from(start) < ETHERNET_HEADER_LEN || end > frame.len() {
                return Err(VnetError::ChecksumOutside {
                    start,
                    offset,
                    len: frame.len(),
                });
            }
            Checksum::Partial { start, offset }
        } else if self.flags & F_DATA_VALID != 0 {
            Checksum::Valid
        } else {
            Checksum::Unknown
        };
        let kind = match self.gso_type & !GSO_ECN {
            GSO_NONE => {
                return Ok(FrameMeta {
                    checksum,
                    gso: None,
                })
            }
            GSO_TCPV4 => GsoKind::Tcp4,
            GSO_TCPV6 => GsoKind::Tcp6,
            GSO_UDP_L4 => GsoKind::Udp,
            _ => return Err(VnetError::UnknownGso(self.gso_type)),
        };
        let segment_size = self.gso_size.get();
        if segment_size == 0 {
            return Err(VnetError::ZeroSegment);
        }
        let header_len = header_len(kind, checksum, frame)?;
        Ok(FrameMeta {
            checksum,
            gso: Some(Gso {
                kind,
                segment_size,
                header_len,
            }),
        })
    }

    /// Encodes the header for a frame with `meta`. `cwr` is set if the frame's TCP header has the
    /// CWR flag, which the standard requires to be repeated here for a frame that will be
    /// segmented.
    #[must_use]
    pub fn encode(meta: &FrameMeta, cwr: bool) -> Self {
        let mut header = Self {
            num_buffers: U16::new(0),
            ..Self::default()
        };
        match meta.checksum {
            Checksum::Unknown => {}
            Checksum::Valid => header.flags = F_DATA_VALID,
            Checksum::Partial { start, offset } => {
                header.flags = F_NEEDS_CSUM;
                header.csum_start = U16::new(start);
                header.csum_offset = U16::new(offset);
            }
        }
        if let Some(gso) = meta.gso {
            header.gso_type = match gso.kind {
                GsoKind::Tcp4 => GSO_TCPV4,
                GsoKind::Tcp6 => GSO_TCPV6,
                GsoKind::Udp => GSO_UDP_L4,
            };
            if cwr && gso.kind != GsoKind::Udp {
                header.gso_type |= GSO_ECN;
            }
            header.hdr_len = U16::new(gso.header_len);
            header.gso_size = U16::new(gso.segment_size);
        }
        header
    }
}

/// The length of all headers of a frame to be segmented: the transport header starts where its
/// checksum starts, and its own fields contain its length.
fn header_len(kind: GsoKind, checksum: Checksum, frame: &[u8]) -> Result<u16, VnetError> {
    let Checksum::Partial { start, offset } = checksum else {
        return Err(VnetError::GsoWithoutChecksum);
    };
    let outside = VnetError::HeaderOutside {
        start,
        len: frame.len(),
    };
    let transport = frame.get(usize::from(start)..).ok_or(outside)?;
    let (checksum_offset, len) = match kind {
        GsoKind::Udp => (UDP_CHECKSUM_OFFSET, UDP_HEADER_LEN),
        GsoKind::Tcp4 | GsoKind::Tcp6 => {
            let data_offset = transport.get(12).ok_or(outside)? >> 4;
            let len = usize::from(data_offset) * 4;
            if len < TCP_MIN_HEADER_LEN {
                return Err(outside);
            }
            (TCP_CHECKSUM_OFFSET, len)
        }
    };
    if usize::from(offset) != checksum_offset {
        return Err(VnetError::GsoWithoutChecksum);
    }
    if len > transport.len() {
        return Err(outside);
    }
    u16::try_from(usize::from(start) + len).map_err(|_| outside)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header(bytes: [u8; 12]) -> VnetHeader {
        VnetHeader::read_from_bytes(&bytes).unwrap()
    }

    /// An Ethernet + IPv4 + TCP frame of `len` bytes with `data_offset` words of TCP header.
    fn tcp_frame(len: usize, data_offset: u8) -> Vec<u8> {
        let mut frame = vec![0; len];
        frame[34 + 12] = data_offset << 4;
        frame
    }

    #[test]
    fn the_layout_is_the_standards() {
        let meta = FrameMeta {
            checksum: Checksum::Partial {
                start: 34,
                offset: 16,
            },
            gso: Some(Gso {
                kind: GsoKind::Tcp4,
                segment_size: 1448,
                header_len: 66,
            }),
        };
        let encoded = VnetHeader::encode(&meta, true);
        assert_eq!(
            encoded.as_bytes(),
            [1, 0x81, 66, 0, 0xa8, 0x05, 34, 0, 16, 0, 0, 0]
        );
        assert_eq!(encoded.decode(&tcp_frame(4000, 8)), Ok(meta));
    }

    #[test]
    fn checksum_states() {
        let frame = [0; 60];
        let checksum = |bytes| header(bytes).decode(&frame).unwrap().checksum;
        assert_eq!(checksum([0; 12]), Checksum::Unknown);
        assert_eq!(
            checksum([2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            Checksum::Valid
        );
        let partial = Checksum::Partial {
            start: 34,
            offset: 6,
        };
        assert_eq!(checksum([1, 0, 0, 0, 0, 0, 34, 0, 6, 0, 0, 0]), partial);
    }

    #[test]
    fn a_checksum_ends_with_its_frame() {
        let last = header([1, 0, 0, 0, 0, 0, 34, 0, 24, 0, 0, 0]);
        assert!(last.decode(&[0; 60]).is_ok());
        assert!(matches!(
            last.decode(&[0; 59]),
            Err(VnetError::ChecksumOutside { .. })
        ));
        let in_ethernet = header([1, 0, 0, 0, 0, 0, 13, 0, 6, 0, 0, 0]);
        assert!(matches!(
            in_ethernet.decode(&[0; 60]),
            Err(VnetError::ChecksumOutside { .. })
        ));
    }

    #[test]
    fn the_header_length_is_computed_not_believed() {
        let lying = header([1, 1, 0xff, 0xff, 100, 0, 34, 0, 16, 0, 0, 0]);
        assert_eq!(
            lying
                .decode(&tcp_frame(1000, 5))
                .unwrap()
                .gso
                .unwrap()
                .header_len,
            54
        );
    }

    #[test]
    fn segmentation_that_cannot_be_done_is_refused() {
        let gso = |gso_type, size, start, offset| {
            let bytes = [1, gso_type, 0, 0, size, 0, start, 0, offset, 0, 0, 0];
            header(bytes).decode(&tcp_frame(60, 8))
        };
        assert!(matches!(
            gso(1, 100, 34, 16),
            Err(VnetError::HeaderOutside { .. })
        ));
        assert_eq!(gso(3, 100, 34, 6), Err(VnetError::UnknownGso(3)));
        assert_eq!(gso(5, 0, 34, 6), Err(VnetError::ZeroSegment));
        assert_eq!(gso(1, 100, 34, 6), Err(VnetError::GsoWithoutChecksum));
        assert_eq!(gso(5, 100, 34, 6).unwrap().gso.unwrap().header_len, 42);
        let no_partial = header([2, 1, 0, 0, 100, 0, 34, 0, 16, 0, 0, 0]);
        assert_eq!(
            no_partial.decode(&tcp_frame(60, 5)),
            Err(VnetError::GsoWithoutChecksum)
        );
    }

    proptest! {
        #[test]
        fn whatever_is_accepted_lies_inside_the_frame(
            bytes: [u8; 12],
            frame in proptest::collection::vec(any::<u8>(), 0..200),
            small: bool,
        ) {
            let mut header = header(bytes);
            if small {
                // Small offsets, or almost every case would fail the first check.
                header.csum_start = U16::new(header.csum_start.get() & 63);
                header.csum_offset = U16::new(if bytes[0] & 128 != 0 { 16 } else { 6 });
                header.gso_type &= 0x85;
            }
            let Ok(meta) = header.decode(&frame) else { return Ok(()) };
            if let Checksum::Partial { start, offset } = meta.checksum {
                prop_assert!(usize::from(start) + usize::from(offset) + 2 <= frame.len());
            }
            if let Some(gso) = meta.gso {
                prop_assert!(usize::from(gso.header_len) <= frame.len());
                prop_assert!(gso.segment_size >= 1);
            }
        }

        #[test]
        fn what_is_encoded_decodes_to_the_same(
            kind in prop_oneof![Just(GsoKind::Tcp4), Just(GsoKind::Tcp6), Just(GsoKind::Udp)],
            segment_size in 1u16..,
            words in 5u8..=15,
            start in 34u16..80,
            cwr: bool,
        ) {
            let (offset, transport) =
                if kind == GsoKind::Udp { (6, 8) } else { (16, u16::from(words) * 4) };
            let meta = FrameMeta {
                checksum: Checksum::Partial { start, offset },
                gso: Some(Gso { kind, segment_size, header_len: start + transport }),
            };
            let mut frame = vec![0; 300];
            frame[usize::from(start) + 12] = words << 4;
            prop_assert_eq!(VnetHeader::encode(&meta, cwr).decode(&frame), Ok(meta));
        }
    }
}
