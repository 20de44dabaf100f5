// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The sending of one frame on a port, after the offloads that the port does not support.

use std::io::IoSlice;

use adit_pipeline::checksum::fill::complete_partial;
use adit_pipeline::offload::{Checksum, FrameMeta, GsoKind, OnWire};
use adit_pipeline::segment::Segmenter;

use crate::wire::{Port, PortCaps, SendError, TxDrop};

/// The result of offering a frame to a port.
#[must_use]
pub(in crate::datapath) struct Sent {
    /// The part of it that was sent.
    pub(in crate::datapath) part: OnWire,
    /// The error that stopped the rest.
    failed: Option<SendError>,
    /// Set if it was offered segment by segment.
    segmented: bool,
}

impl Sent {
    /// Returns whether the port may accept the frame later: it is full, and no part was sent.
    pub(in crate::datapath) fn may_wait(&self) -> bool {
        self.part.frames == 0 && matches!(self.failed, Some(SendError::Full))
    }

    /// The reason why the frame was not sent completely.
    pub(super) fn reason(&self) -> Option<TxDrop> {
        self.failed.as_ref().map(SendError::reason)
    }

    /// Counts the lost part of a frame in the port's counters, where `whole` is the complete frame;
    /// returns the number of lost frames.
    pub(super) fn count_lost(&self, port: &mut dyn Port, whole: OnWire) -> u64 {
        let Some(error) = &self.failed else {
            return 0;
        };
        let lost = whole.frames - self.part.frames;
        // The port has counted frames offered to it, except those that the caller may offer again.
        let counted = match (error, self.segmented) {
            (SendError::Full, _) => 0,
            (_, true) => 1,
            (_, false) => lost,
        };
        port.counters_mut().drop_tx(error.reason(), lost - counted);
        lost
    }
}

/// Sends a frame on a port, after the offloads that the port does not support; `None` if they
/// cannot be done.
pub(super) fn send(
    port: &mut dyn Port,
    segment: &mut [u8],
    frame: &mut [u8],
    meta: FrameMeta,
) -> Option<Sent> {
    let caps = port.capabilities();
    let mut meta = meta;
    match (meta.gso, meta.checksum) {
        (Some(gso), _) if !segments(caps, gso.kind) => {
            return send_segments(port, segment, frame, &meta);
        }
        (None, Checksum::Partial { start, offset }) if !caps.checksum => {
            complete_partial(frame, start, offset).ok()?;
            meta.checksum = Checksum::Unknown;
        }
        _ => {}
    }
    let failed = port.send(&[IoSlice::new(frame)], &meta).err();
    Some(Sent {
        part: match failed {
            None => meta.on_wire(frame.len()),
            Some(_) => OnWire::default(),
        },
        failed,
        segmented: false,
    })
}

/// Sends a frame segment by segment, up to the first error.
fn send_segments(
    port: &mut dyn Port,
    segment: &mut [u8],
    frame: &mut [u8],
    meta: &FrameMeta,
) -> Option<Sent> {
    let mut segments = Segmenter::new(frame, meta).ok()?;
    let mut sent = Sent {
        part: OnWire::default(),
        failed: None,
        segmented: true,
    };
    while let Some(n) = segments.next_into(segment) {
        let slice = [IoSlice::new(&segment[..n])];
        if let Err(error) = port.send(&slice, &FrameMeta::default()) {
            sent.failed = Some(error);
            break;
        }
        sent.part.frames += 1;
        sent.part.bytes += n as u64;
    }
    Some(sent)
}

/// Returns whether a port segments frames of a kind.
fn segments(caps: PortCaps, kind: GsoKind) -> bool {
    match kind {
        GsoKind::Tcp4 => caps.tso4,
        GsoKind::Tcp6 => caps.tso6,
        GsoKind::Udp => caps.uso,
    }
}
