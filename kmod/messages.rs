// SPDX-License-Identifier: GPL-2.0

//! Messages to the control plane: encoding and decoding. Free of kernel dependencies, so that the
//! host tests compile the same source.
//!
//! Replies are validated before they are used: a driver that maps pages at offsets from a device
//! must check that they are within that device.

use adit_uapi::{
    regs::adi as frames,
    virtchnl2::{
        adi::{
            AdiCaps,
            AdiFault,
            CreateAdiExt,
            NonFlexCreateAdi,
            NonFlexDestroyAdi,
            ResetAdi,
            StopAdiLog,
            CREATE_ADI_EXT_MAGIC,
            NO_MAILBOX, //
        },
        queue_type,
        AllocVectors,
        QueueRegChunk,
        VectorChunk,
        VersionInfo,
        VERSION_MAJOR_2,
        VERSION_MINOR_0, //
    },
};
use zerocopy::{
    FromBytes,
    IntoBytes, //
};

use crate::ids::{
    AdiId,
    CauseRingId,
    Pasid,
    QueueId,
    VportId, //
};

/// Size of a page of BAR0 in bytes.
pub(crate) const PAGE: u64 = 0x1000;

/// The reason why a reply is malformed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) &'static str);

/// Parameters of the request for an ADI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AdiRequest {
    /// The PASID of all its DMA.
    pub(crate) pasid: Pasid,
    /// The driver's own number for it.
    pub(crate) index: u16,
    /// Queue pairs, each with a vector: a transmit and a completion queue, a receive queue and its
    /// two buffer queues.
    pub(crate) queue_pairs: u16,
    /// MAC address; all zeros lets the device choose.
    pub(crate) mac: [u8; 6],
    /// The cause ring that it reports through.
    pub(crate) cause_ring: CauseRingId,
    /// Its place before a reset ([`AdiLayout::place()`]); `None` for any free place.
    pub(crate) place: Option<Place>,
}

/// The place of an ADI in the device, which determines its id, vport, queues and pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    vport_id: VportId,
    frame_offset: u64,
}

impl AdiRequest {
    /// Length of the message in bytes.
    pub(crate) const LEN: usize = NonFlexCreateAdi::LEN + CreateAdiExt::LEN;

    /// Returns the message of `NON_FLEX_CREATE_ADI`.
    pub(crate) fn encode(&self) -> [u8; Self::LEN] {
        let published = NonFlexCreateAdi {
            pasid: self.pasid.0.into(),
            mbx_id: NO_MAILBOX.into(),
            mbx_vec_id: NO_MAILBOX.into(),
            adi_index: self.index.into(),
            ..NonFlexCreateAdi::default()
        };
        let pairs = self.queue_pairs.into();
        let extension = CreateAdiExt {
            num_tx_q: pairs,
            num_tx_complq: pairs,
            num_rx_q: pairs,
            num_rx_bufq: self.queue_pairs.saturating_mul(2).into(),
            num_vectors: pairs,
            mac: self.mac,
            cause_ring: self.cause_ring.0.into(),
            vport_id: self.place.map_or(0, |place| place.vport_id.0).into(),
            frame_offset: self.place.map_or(0, |place| place.frame_offset).into(),
            magic: CREATE_ADI_EXT_MAGIC.into(),
            ..CreateAdiExt::default()
        };
        let mut message = [0; Self::LEN];
        let (head, tail) = message.split_at_mut(NonFlexCreateAdi::LEN);
        head.copy_from_slice(published.as_bytes());
        tail.copy_from_slice(extension.as_bytes());
        message
    }
}

/// Queues of one type, by their device-wide ids.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct QueueRange {
    /// The first queue.
    pub(crate) start: QueueId,
    /// The number of queues.
    pub(crate) count: u32,
}

impl QueueRange {
    /// Returns the ADI's own number, from 0, of the queue with a device-wide id.
    pub(crate) fn relative(&self, absolute: QueueId) -> Option<u32> {
        let relative = absolute.0.wrapping_sub(self.start.0);
        (relative < self.count).then_some(relative)
    }
}

/// An ADI as created by the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AdiLayout {
    /// Its id in messages about ADIs.
    pub(crate) adi_id: AdiId,
    /// Its id in messages about vports.
    pub(crate) vport_id: VportId,
    /// Number of queue pairs.
    pub(crate) queue_pairs: u16,
    /// Transmit queues.
    pub(crate) tx: QueueRange,
    /// Their completion queues.
    pub(crate) tx_completion: QueueRange,
    /// Receive queues.
    pub(crate) rx: QueueRange,
    /// Their buffer queues.
    pub(crate) rx_buffer: QueueRange,
    /// Its MAC address.
    pub(crate) mac: [u8; 6],
    /// The largest MTU.
    pub(crate) max_mtu: u16,
    /// Offset of its frame in BAR0.
    pub(crate) frame_offset: u64,
    /// Pages of its frame.
    pub(crate) frame_pages: u32,
    /// Offset in a page of the frame of the word that is nonzero while the device does not poll the
    /// page.
    pub(crate) asleep_offset: u32,
    /// Offset of its kick page in BAR0.
    pub(crate) kick_offset: u64,
}

impl AdiLayout {
    /// Returns its place in the device.
    pub(crate) fn place(&self) -> Place {
        Place {
            vport_id: self.vport_id,
            frame_offset: self.frame_offset,
        }
    }

    /// Returns the number of its vectors, one for each queue pair.
    pub(crate) const fn vectors(&self) -> u16 {
        self.queue_pairs
    }

    /// Returns the queues of a type ([`queue_type`]).
    pub(crate) fn queues(&self, kind: u32) -> Option<&QueueRange> {
        match kind {
            queue_type::TX => Some(&self.tx),
            queue_type::TX_COMPLETION => Some(&self.tx_completion),
            queue_type::RX => Some(&self.rx),
            queue_type::RX_BUFFER => Some(&self.rx_buffer),
            _ => None,
        }
    }

    /// Decodes the reply to `request`; `bar_len` is the length of BAR0.
    pub(crate) fn decode(
        request: &AdiRequest,
        reply: &[u8],
        bar_len: u64,
    ) -> Result<Self, Malformed> {
        const NO_EXTENSION: Malformed = Malformed("no extension with four types of queues");
        let (published, _) =
            NonFlexCreateAdi::read_from_prefix(reply).map_err(|_| Malformed("too short"))?;
        // After all vector chunks, of which the struct has one.
        let len = NonFlexCreateAdi::published_len(published.vchunks.num_vchunks.get());
        let rest = reply.get(len..).ok_or(NO_EXTENSION)?;
        let (extension, mut rest) =
            CreateAdiExt::read_from_prefix(rest).map_err(|_| NO_EXTENSION)?;
        if extension.magic.get() != CREATE_ADI_EXT_MAGIC {
            return Err(NO_EXTENSION);
        }
        let pairs = u32::from(request.queue_pairs);
        let mut layout = Self {
            adi_id: AdiId(published.adi_id.get()),
            vport_id: VportId(extension.vport_id.get()),
            queue_pairs: request.queue_pairs,
            tx: QueueRange::default(),
            tx_completion: QueueRange::default(),
            rx: QueueRange::default(),
            rx_buffer: QueueRange::default(),
            mac: extension.mac,
            max_mtu: extension.max_mtu.get(),
            frame_offset: extension.frame_offset.get(),
            frame_pages: extension.frame_pages.get(),
            asleep_offset: extension.asleep_offset.get(),
            kick_offset: extension.kick_offset.get(),
        };
        if published.pasid.get() != request.pasid.0 || published.adi_index.get() != request.index {
            return Err(Malformed("PASID or index of another ADI"));
        }
        if extension.num_vectors.get() != request.queue_pairs {
            return Err(Malformed("wrong number of vectors"));
        }
        for _ in 0..extension.num_chunks.get() {
            let (chunk, next) = QueueRegChunk::read_from_prefix(rest)
                .map_err(|_| Malformed("truncated queue chunk"))?;
            rest = next;
            layout.add(&chunk)?;
        }
        let expected = [
            (layout.tx, pairs),
            (layout.tx_completion, pairs),
            (layout.rx, pairs),
            (layout.rx_buffer, 2 * pairs),
        ];
        if expected.iter().any(|(range, count)| range.count != *count) {
            return Err(Malformed("wrong number of queues"));
        }
        if layout.frame_pages != pairs * frames::PAGES_PER_PAIR {
            return Err(Malformed("wrong number of pages"));
        }
        let frame_len = u64::from(layout.frame_pages) * PAGE;
        if !inside(layout.frame_offset, frame_len, bar_len)
            || !inside(layout.kick_offset, PAGE, bar_len)
        {
            return Err(Malformed("pages outside of BAR0"));
        }
        if u64::from(layout.asleep_offset) > PAGE - 4 || layout.asleep_offset % 4 != 0 {
            return Err(Malformed("asleep word outside of its page"));
        }
        Ok(layout)
    }

    /// Adds one chunk of the reply; each type occurs once.
    fn add(&mut self, chunk: &QueueRegChunk) -> Result<(), Malformed> {
        let range = match chunk.type_.get() {
            queue_type::TX => &mut self.tx,
            queue_type::TX_COMPLETION => &mut self.tx_completion,
            queue_type::RX => &mut self.rx,
            queue_type::RX_BUFFER => &mut self.rx_buffer,
            _ => return Err(Malformed("queues of a type that was not requested")),
        };
        let (start, count) = (chunk.start_queue_id.get(), chunk.num_queues.get());
        if range.count != 0 || count == 0 || start.checked_add(count).is_none() {
            return Err(Malformed("empty, overlapping or repeated queue chunk"));
        }
        *range = QueueRange {
            start: QueueId(start),
            count,
        };
        Ok(())
    }
}

/// Returns the id of the ADI that a reply to `NON_FLEX_CREATE_ADI` refers to, even if the rest of
/// the reply is malformed.
pub(crate) fn created_id(reply: &[u8]) -> Option<AdiId> {
    const AT: usize = core::mem::offset_of!(NonFlexCreateAdi, adi_id);
    match reply.get(AT..) {
        Some(&[low, high, ..]) => Some(AdiId(u16::from_le_bytes([low, high]))),
        _ => None,
    }
}

/// Returns whether the range consists of whole pages within BAR0.
fn inside(offset: u64, len: u64, bar_len: u64) -> bool {
    offset % PAGE == 0 && offset.checked_add(len).is_some_and(|end| end <= bar_len)
}

/// Returns the message of `NON_FLEX_DESTROY_ADI`.
pub(crate) fn destroy_adi(adi_id: AdiId) -> NonFlexDestroyAdi {
    NonFlexDestroyAdi {
        adi_id: adi_id.0.into(),
        ..NonFlexDestroyAdi::default()
    }
}

/// Returns the message of `RESET_ADI`.
pub(crate) fn reset_adi(adi_id: AdiId) -> ResetAdi {
    ResetAdi {
        adi_id: adi_id.0.into(),
        ..ResetAdi::default()
    }
}

/// Returns the message of `STOP_ADI_LOG`.
pub(crate) fn stop_log(adi_id: AdiId) -> StopAdiLog {
    StopAdiLog {
        adi_id: adi_id.0.into(),
        ..StopAdiLog::default()
    }
}

/// Returns the message of `GET_ADI_FAULT`, of which the first four bytes are used.
pub(crate) fn get_fault(adi_id: AdiId, flags: u16) -> AdiFault {
    AdiFault {
        adi_id: adi_id.0.into(),
        flags: flags.into(),
        ..AdiFault::default()
    }
}

/// Returns the message of `VERSION`.
pub(crate) fn version() -> VersionInfo {
    VersionInfo {
        major: VERSION_MAJOR_2.into(),
        minor: VERSION_MINOR_0.into(),
    }
}

/// Checks the reply to `VERSION` and returns it.
pub(crate) fn check_version(reply: &[u8]) -> Result<(u32, u32), Malformed> {
    let version = fixed::<VersionInfo>(reply)?;
    if version.major.get() != VERSION_MAJOR_2 {
        return Err(Malformed("unsupported major version of virtchnl2"));
    }
    Ok((version.major.get(), version.minor.get()))
}

/// Returns the message of `ALLOC_VECTORS`.
pub(crate) fn alloc_vectors(count: u16) -> AllocVectors {
    AllocVectors {
        num_vectors: count.into(),
        ..AllocVectors::default()
    }
}

/// Returns the vectors of a reply to `ALLOC_VECTORS`: one chunk, of `count`, below `limit`.
pub(crate) fn vectors(reply: &[u8], count: u16, limit: u32) -> Result<VectorChunk, Malformed> {
    let (header, rest) =
        AllocVectors::read_from_prefix(reply).map_err(|_| Malformed("too short"))?;
    if header.vchunks.num_vchunks.get() != 1 {
        return Err(Malformed("vectors that are not consecutive"));
    }
    let chunk = fixed::<VectorChunk>(rest)?;
    let end = u32::from(chunk.start_vector_id.get()) + u32::from(chunk.num_vectors.get());
    if chunk.num_vectors.get() != count || chunk.start_vector_id.get() == 0 || end > limit {
        return Err(Malformed("vectors that the function does not have"));
    }
    Ok(chunk)
}

/// Checks the reply to `GET_ADI_CAPS`.
pub(crate) fn adi_caps(reply: &[u8]) -> Result<AdiCaps, Malformed> {
    let caps = fixed::<AdiCaps>(reply)?;
    if caps.max_adis.get() != 0
        && (caps.num_cause_rings.get() == 0
            || caps.max_queue_pairs_per_adi.get() == 0
            || caps.max_cause_ring_len.get() < 8)
    {
        return Err(Malformed("ADIs without queue pairs or cause rings"));
    }
    Ok(caps)
}

/// Decodes a message that consists of one struct.
pub(crate) fn fixed<T: FromBytes>(reply: &[u8]) -> Result<T, Malformed> {
    T::read_from_prefix(reply)
        .map(|(value, _)| value)
        .map_err(|_| Malformed("too short"))
}
