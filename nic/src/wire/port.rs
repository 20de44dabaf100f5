// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What every wire port does: non-blocking frames in and out, offloads, link state.

use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;
use std::time::Instant;

use adit_pipeline::offload::FrameMeta;
use thiserror::Error;

use super::counters::{PortCounters, RxDrop, TxDrop};

/// The longest frame on a wire: a 65,535-byte IP packet (what segmentation offload cuts) behind
/// an Ethernet header with two VLAN tags. A receive buffer of this length is never too short.
pub const MAX_FRAME_LEN: usize = 65_535 + 14 + 2 * 4;

/// The shortest frame that has an Ethernet header.
pub const MIN_FRAME_LEN: usize = 14;

/// Pieces in which a frame may be given to [`Port::send`]. An IDPF driver hands over at most
/// 10 buffers for a frame by default, and 18 as the largest `max_sg_bufs_per_tx_pkt` that
/// Linux uses.
pub const MAX_SLICES: usize = 32;

/// The speed that a link is said to have when the host does not know it, in Mbit/s.
pub const DEFAULT_SPEED_MBPS: u32 = 10_000;

/// One end of a cable.
///
/// No call blocks, none allocates for a frame, and every call moves at most one frame, so that
/// the caller's budget bounds the work.
pub trait Port: Send {
    /// The port as it was asked for, such as `tap:wire0`.
    fn name(&self) -> &str;

    /// A descriptor that is readable (level-triggered) while [`recv`](Self::recv) may yield.
    /// `None` when there is nothing to wait on: the port works by time
    /// ([`next_due`](Self::next_due)), or the device behind it is gone. A port may lose its
    /// descriptor after an error or a [`link`](Self::link) call, so ask again after those.
    fn poll_fd(&self) -> Option<BorrowedFd<'_>>;

    /// When the next frame is due, for ports that replay a recording.
    fn next_due(&self) -> Option<Instant> {
        None
    }

    /// Which frames [`send`](Self::send) takes that are still to be finished; none by default.
    fn capabilities(&self) -> PortCaps {
        PortCaps::default()
    }

    /// Chooses which unfinished frames [`recv`](Self::recv) may yield: the host finishes the
    /// others. A new port yields all that the host can leave unfinished. What the port does not
    /// support is ignored.
    ///
    /// # Errors
    /// When the host refuses.
    fn set_recv_offloads(&mut self, _offloads: PortCaps) -> io::Result<()> {
        Ok(())
    }

    /// Takes one frame off the wire, if there is one, into `buf`.
    ///
    /// # Errors
    /// [`RecvError::Dropped`] took a frame that was no good off the wire and counted it: there
    /// may be more. The others mean that there is nothing to receive for now.
    fn recv(&mut self, buf: &mut [u8]) -> Result<Option<Received>, RecvError>;

    /// Puts one frame, given in at most [`MAX_SLICES`] pieces, on the wire.
    ///
    /// # Errors
    /// On [`SendError::Full`] the frame is still the caller's: try again later, or count it with
    /// [`PortCounters::drop_tx`]. After any other error it is lost and counted.
    fn send(&mut self, frame: &[IoSlice<'_>], meta: &FrameMeta) -> Result<(), SendError>;

    /// Whether the cable is plugged in, asked from the host; forgets what
    /// [`link_fd`](Self::link_fd) has announced so far. A port that has lost its device takes it up
    /// again if it is back. By default the cable always is plugged in.
    fn link(&mut self) -> LinkState {
        LinkState {
            up: true,
            speed_mbps: DEFAULT_SPEED_MBPS,
        }
    }

    /// A descriptor that is readable when the link state may have changed.
    fn link_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// Whether the link can change without an announcement by [`link_fd`](Self::link_fd): then
    /// [`link`](Self::link) is to be called now and then, which also tries to get back what was
    /// lost.
    fn is_unwatched(&self) -> bool {
        false
    }

    /// Counts the descriptors that [`poll_fd`](Self::poll_fd) has had: a new one can have the
    /// number of one that was closed.
    fn generation(&self) -> u32 {
        0
    }

    /// Why the link is down, for the log. None while it is up, or when there is no more to say.
    fn trouble(&self) -> Option<&str> {
        None
    }

    /// What went through so far.
    fn counters(&self) -> &PortCounters;

    /// As [`counters`](Self::counters), for counting frames that the caller gave up.
    fn counters_mut(&mut self) -> &mut PortCounters;
}

/// Which unfinished frames may cross a port, in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortCaps {
    /// Transport checksums that are left to be completed (`Checksum::Partial`).
    pub checksum: bool,
    /// `GsoKind::Tcp4`.
    pub tso4: bool,
    /// `GsoKind::Tcp6`.
    pub tso6: bool,
    /// `GsoKind::Udp`.
    pub uso: bool,
}

/// A frame that was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Its bytes in the buffer.
    pub len: usize,
    /// Its checksum state and segmentation request, checked against its bytes.
    pub meta: FrameMeta,
}

/// The state of the cable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkState {
    /// Plugged in, with a device at the other end that is up.
    pub up: bool,
    /// Speed in Mbit/s; meaningful even while the link is down.
    pub speed_mbps: u32,
}

/// Why nothing was received.
#[derive(Debug, Error)]
pub enum RecvError {
    /// A frame was taken off the wire and dropped.
    #[error("a frame was dropped: {0}")]
    Dropped(RxDrop),
    /// The link is down.
    #[error("the link is down")]
    Down,
    /// An error of the host.
    #[error("the host failed to receive: {0}")]
    Io(io::Error),
}

/// Why a frame was not sent.
#[derive(Debug, Error)]
pub enum SendError {
    /// The other end takes no more for now.
    #[error("the wire takes no more frames for now")]
    Full,
    /// The link is down, or nobody is at the other end.
    #[error("the link is down")]
    Down,
    /// Longer than the wire carries.
    #[error("a frame of {len} bytes is longer than the wire carries ({max})")]
    TooBig {
        /// Bytes of the frame.
        len: usize,
        /// Bytes that the wire carries.
        max: usize,
    },
    /// In too many pieces.
    #[error("a frame in {0} pieces: at most {MAX_SLICES} can be gathered")]
    TooManySlices(usize),
    /// The frame is shorter than an Ethernet header, or contradicts what is said of it.
    #[error("the frame is malformed, or its offload request does not fit it")]
    Refused,
    /// An error of the host.
    #[error("the host failed to send: {0}")]
    Io(io::Error),
}

impl SendError {
    /// The counter that this error belongs to.
    #[must_use]
    pub fn reason(&self) -> TxDrop {
        match self {
            Self::Full => TxDrop::Full,
            Self::Down => TxDrop::Down,
            Self::TooBig { .. } => TxDrop::TooBig,
            Self::TooManySlices(_) => TxDrop::TooManySlices,
            Self::Refused => TxDrop::Refused,
            Self::Io(_) => TxDrop::Io,
        }
    }
}

/// The length of a frame for the wire, if ports take frames of that length and shape.
pub(super) fn checked_len(frame: &[IoSlice<'_>]) -> Result<usize, SendError> {
    if frame.len() > MAX_SLICES {
        return Err(SendError::TooManySlices(frame.len()));
    }
    let len = frame
        .iter()
        .fold(0_usize, |sum, slice| sum.saturating_add(slice.len()));
    if len < MIN_FRAME_LEN {
        return Err(SendError::Refused);
    }
    if len > MAX_FRAME_LEN {
        return Err(SendError::TooBig {
            len,
            max: MAX_FRAME_LEN,
        });
    }
    Ok(len)
}

/// Counts the outcome of sending a frame with `meta`.
pub(super) fn count_sent(
    counters: &mut PortCounters,
    frame: &[IoSlice<'_>],
    meta: &FrameMeta,
    outcome: Result<usize, SendError>,
) -> Result<(), SendError> {
    match outcome {
        Ok(len) => {
            counters.sent(meta.on_wire(len));
            Ok(())
        }
        Err(SendError::Full) => {
            counters.tx_backpressure += 1;
            Err(SendError::Full)
        }
        Err(error) => {
            let len = frame.iter().map(|slice| slice.len()).sum();
            counters.drop_tx(error.reason(), meta.on_wire(len).frames);
            Err(error)
        }
    }
}

/// Counts a frame from the wire as dropped.
pub(super) fn drop_received(counters: &mut PortCounters, reason: RxDrop) -> RecvError {
    counters.drop_rx(reason);
    RecvError::Dropped(reason)
}
