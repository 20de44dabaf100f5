// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The interface of all wire ports: non-blocking transmission of frames, offloads, link state.

use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;
use std::time::Instant;

use adit_pipeline::offload::FrameMeta;
use thiserror::Error;

use super::counters::{PortCounters, RxDrop, TxDrop};

/// The maximum length of a frame on a wire: a 65,535-byte IP packet (the limit of segmentation
/// offload) after an Ethernet header with two VLAN tags. A receive buffer of this length is never
/// too short.
pub const MAX_FRAME_LEN: usize = 65_535 + 14 + 2 * 4;

/// The minimum length of a frame: an Ethernet header.
pub const MIN_FRAME_LEN: usize = 14;

/// The maximum number of slices of a frame passed to [`Port::send`]. An IDPF driver posts at most
/// 10 buffers for a frame by default, and 18 as the largest `max_sg_bufs_per_tx_pkt` that Linux
/// uses.
pub const MAX_SLICES: usize = 32;

/// The reported speed of a link whose speed the host does not report, in Mbit/s.
pub const DEFAULT_SPEED_MBPS: u32 = 10_000;

/// A receiver of the lifelines that a port gets after it has lost one.
#[derive(Default)]
pub struct LifelineReports(Option<ReportLifeline>);

type ReportLifeline = Box<dyn Fn(BorrowedFd<'_>) + Send>;

impl LifelineReports {
    /// Calls a function with each new lifeline.
    pub fn new(report: impl Fn(BorrowedFd<'_>) + Send + 'static) -> Self {
        Self(Some(Box::new(report)))
    }

    /// Reports a lifeline.
    pub(super) fn report(&self, lifeline: BorrowedFd<'_>) {
        if let Some(report) = &self.0 {
            report(lifeline);
        }
    }
}

impl std::fmt::Debug for LifelineReports {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("LifelineReports")
            .field(&self.0.is_some())
            .finish()
    }
}

/// One end of a wire.
///
/// No call blocks, none allocates for a frame, and every call transfers at most one frame, so that
/// the caller's budget bounds the work.
pub trait Port: Send {
    /// The port's name as specified, such as `tap:wire0`.
    fn name(&self) -> &str;

    /// A descriptor that is readable (level-triggered) while [`recv`](Self::recv) may return a
    /// frame. `None` when there is no descriptor to wait on: the port is timed
    /// ([`next_due`](Self::next_due)), or its device is gone. A port may lose its descriptor after
    /// an error or a [`link`](Self::link) call, so it must be requested again after those.
    fn poll_fd(&self) -> Option<BorrowedFd<'_>>;

    /// The descriptor with which the port's device or socket ends, so that it has to outlive this
    /// process if that is to; see [`WireSpec::adopt`](super::WireSpec::adopt). `None` for a port that
    /// can be opened again.
    fn lifeline(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// Has the port report each new lifeline.
    fn report_lifelines(&mut self, _to: LifelineReports) {}

    /// Makes the device or socket this process's own, from now on or again: another process that has opened
    /// it over the same lifeline has ended, or could not take it over. Until then a port that was opened so
    /// leaves it as it is.
    fn claim(&mut self) {}

    /// Leaves the device or socket to another process that opens it over the same lifeline: the end of this
    /// port removes nothing, unless it is [claimed](Self::claim) again.
    fn release(&mut self) {}

    /// The time at which the next frame is due, for ports that replay a capture.
    fn next_due(&self) -> Option<Instant> {
        None
    }

    /// The offloads that [`send`](Self::send) supports; none by default.
    fn capabilities(&self) -> PortCaps {
        PortCaps::default()
    }

    /// Selects the offloads that frames from [`recv`](Self::recv) may leave pending: the host
    /// completes the others. A new port enables all that the host supports. Unsupported offloads
    /// are ignored.
    ///
    /// # Errors
    /// Fails when the host returns an error.
    fn set_recv_offloads(&mut self, _offloads: PortCaps) -> io::Result<()> {
        Ok(())
    }

    /// Receives one frame from the wire, if there is one, into `buf`.
    ///
    /// # Errors
    /// [`RecvError::Dropped`] means that an invalid frame was received, dropped and counted: there
    /// may be more frames. The other errors mean that there is nothing to receive for now.
    fn recv(&mut self, buf: &mut [u8]) -> Result<Option<Received>, RecvError>;

    /// Sends one frame, in at most [`MAX_SLICES`] slices, to the wire.
    ///
    /// # Errors
    /// After [`SendError::Full`] the caller still owns the frame: it may retry later, or count it
    /// with [`PortCounters::drop_tx`]. After any other error the frame is lost and counted.
    fn send(&mut self, frame: &[IoSlice<'_>], meta: &FrameMeta) -> Result<(), SendError>;

    /// Queries the link state from the host, and clears the notifications of
    /// [`link_fd`](Self::link_fd) so far. A port that has lost its device reattaches to it if it is
    /// back. By default the link is always up.
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

    /// Returns whether the link can change without a notification by [`link_fd`](Self::link_fd):
    /// then the caller must poll [`link`](Self::link), which also tries to recover a lost device.
    fn is_unwatched(&self) -> bool {
        false
    }

    /// Counts the descriptors that [`poll_fd`](Self::poll_fd) has returned: a new one can have the
    /// number of one that was closed.
    fn generation(&self) -> u32 {
        0
    }

    /// The reason that the link is down, for the log. `None` while it is up, or when the reason is
    /// unknown.
    fn down_reason(&self) -> Option<&str> {
        None
    }

    /// The port's counters.
    fn counters(&self) -> &PortCounters;

    /// The port's [`counters`](Self::counters), to count frames that the caller drops.
    fn counters_mut(&mut self) -> &mut PortCounters;
}

/// The offloads that may be pending on frames in one direction of a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortCaps {
    /// Transport checksums to be completed (`Checksum::Partial`).
    pub checksum: bool,
    /// Segmentation of `GsoKind::Tcp4`.
    pub tso4: bool,
    /// Segmentation of `GsoKind::Tcp6`.
    pub tso6: bool,
    /// Segmentation of `GsoKind::Udp`.
    pub uso: bool,
}

/// Metadata of a received frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// The frame's length in the buffer, in bytes.
    pub len: usize,
    /// The frame's checksum state and segmentation request, validated against its bytes.
    pub meta: FrameMeta,
}

/// The state of the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkState {
    /// Set if the wire is connected and the device at the other end is up.
    pub up: bool,
    /// The speed in Mbit/s; meaningful even while the link is down.
    pub speed_mbps: u32,
}

/// The reason that no frame was received.
#[derive(Debug, Error)]
pub enum RecvError {
    /// A frame was received from the wire and dropped.
    #[error("a frame was dropped: {0}")]
    Dropped(RxDrop),
    /// The link is down.
    #[error("the link is down")]
    Down,
    /// An error of the host.
    #[error("the host failed to receive: {0}")]
    Io(io::Error),
}

/// The reason that a frame was not sent.
#[derive(Debug, Error)]
pub enum SendError {
    /// The other end accepts no more frames for now.
    #[error("the transmit queue of the wire is full")]
    Full,
    /// The link is down, or the other end has no receiver.
    #[error("the link is down")]
    Down,
    /// The frame is longer than the wire supports.
    #[error("a frame of {len} bytes is longer than the wire carries ({max})")]
    TooBig {
        /// The length of the frame in bytes.
        len: usize,
        /// The maximum length on the wire in bytes.
        max: usize,
    },
    /// The frame has too many slices.
    #[error("a frame in {0} pieces: at most {MAX_SLICES} can be gathered")]
    TooManySlices(usize),
    /// The frame is shorter than an Ethernet header, or contradicts its metadata.
    #[error("the frame is malformed, or its offload request does not fit it")]
    Refused,
    /// An error of the host.
    #[error("the host failed to send: {0}")]
    Io(io::Error),
}

impl SendError {
    /// The drop reason under which this error is counted.
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

/// Returns the length of a frame for the wire, if its length and number of slices are valid.
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
