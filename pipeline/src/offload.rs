// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What travels beside a frame's bytes: checksum state and segmentation requests.
//!
//! The meanings are those of the virtio-net header (VIRTIO 1.2, section 5.1.6), because that is
//! what Linux TAP devices speak; the IDPF descriptors carry the same facts in other places.

/// What a large frame is to be cut into, or was merged from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GsoKind {
    /// TCP over IPv4.
    Tcp4,
    /// TCP over IPv6.
    Tcp6,
    /// UDP over IPv4 or IPv6 (UDP segmentation offload; each segment is a datagram).
    Udp,
}

/// A frame larger than the link's MTU, with the rule that cuts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gso {
    /// The transport protocol.
    pub kind: GsoKind,
    /// Payload bytes for each segment (the MSS), at least 1.
    pub segment_size: u16,
    /// Bytes from the frame's start to its payload: all headers.
    pub header_len: u16,
}

/// How much is known of the frame's transport checksum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Checksum {
    /// Nothing: whoever cares must compute it.
    #[default]
    Unknown,
    /// It was checked and is right (or the sender vouches for it).
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

/// Frames as they are on a link, where each fits its MTU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OnWire {
    /// How many there are.
    pub frames: u64,
    /// Bytes of all of them, headers included, frame check sequences not.
    pub bytes: u64,
}

impl OnWire {
    /// A frame of `len` bytes that stands for itself alone.
    #[must_use]
    pub fn single(len: usize) -> Self {
        Self {
            frames: 1,
            bytes: len as u64,
        }
    }
}

/// What travels beside a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrameMeta {
    /// State of the transport checksum.
    pub checksum: Checksum,
    /// Present when the frame stands for several.
    pub gso: Option<Gso>,
}

impl FrameMeta {
    /// What a frame of `len` bytes is on a link: its segments, each with all headers, if it stands
    /// for several. Counters of NICs count these, before merging and behind segmentation.
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
