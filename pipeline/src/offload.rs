// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Metadata of a frame: checksum state and segmentation requests.
//!
//! The semantics are those of the virtio-net header (VIRTIO 1.2, section 5.1.6), which Linux TAP
//! devices use; IDPF descriptors carry the same information in other fields.

/// The kind of segments that a large frame is split into, or was merged from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GsoKind {
    /// TCP over IPv4.
    Tcp4,
    /// TCP over IPv6.
    Tcp6,
    /// UDP over IPv4 or IPv6 (UDP segmentation offload; each segment is a datagram).
    Udp,
}

/// The segmentation parameters of a frame larger than the link's MTU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gso {
    /// The transport protocol.
    pub kind: GsoKind,
    /// Payload bytes for each segment (the MSS), at least 1.
    pub segment_size: u16,
    /// Bytes from the frame's start to its payload: all headers.
    pub header_len: u16,
}

/// State of the frame's transport checksum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Checksum {
    /// Unknown: a consumer that needs it must compute it.
    #[default]
    Unknown,
    /// Verified and correct, or vouched for by the sender.
    Valid,
    /// The field holds the folded pseudo-header sum; the ones' complement sum of everything from
    /// `start` is still to be stored at `start + offset`.
    Partial {
        /// Bytes from the frame's start to the first summed byte.
        start: u16,
        /// Bytes from `start` to the checksum field.
        offset: u16,
    },
}

/// Frames as on a link, where each fits the MTU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OnWire {
    /// Number of frames.
    pub frames: u64,
    /// Total bytes, with headers and without frame check sequences.
    pub bytes: u64,
}

impl OnWire {
    /// Counts a frame of `len` bytes that is not segmented.
    #[must_use]
    pub fn single(len: usize) -> Self {
        Self {
            frames: 1,
            bytes: len as u64,
        }
    }
}

/// Metadata of a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrameMeta {
    /// State of the transport checksum.
    pub checksum: Checksum,
    /// Segmentation parameters, if the frame stands for several.
    pub gso: Option<Gso>,
}

impl FrameMeta {
    /// Returns the size of a frame of `len` bytes on a link: its segments, each with all headers,
    /// if it stands for several. NIC counters count these, before merging and after segmentation.
    #[must_use]
    pub fn on_wire(&self, len: usize) -> OnWire {
        let Some(gso) = self.gso else {
            return OnWire::single(len);
        };
        let headers = usize::from(gso.header_len);
        let payload = len.saturating_sub(headers);
        let segments = payload
            .div_ceil(usize::from(gso.segment_size).max(1))
            .max(1);
        OnWire {
            frames: segments as u64,
            bytes: (len + (segments - 1) * headers) as u64,
        }
    }
}
