// SPDX-License-Identifier: Apache-2.0 OR MIT
//! An in-memory wire for tests.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use adit_pipeline::offload::FrameMeta;
use parking_lot::Mutex;

use super::counters::{PortCounters, RxDrop};
use super::port::{checked_len, count_sent, drop_received, MIN_FRAME_LEN};
use super::{LinkState, Port, PortCaps, Received, RecvError, SendError};

/// The speed of the link in Mbit/s.
pub const SPEED_MBPS: u32 = 25_000;

/// A frame with its pending offloads.
type Frame = (Vec<u8>, FrameMeta);

/// The state of a wire.
#[derive(Default)]
struct State {
    inbound: VecDeque<Frame>,
    outbound: VecDeque<Frame>,
    /// The number of frames that the wire still accepts; `None` for any number.
    room: Option<usize>,
    down: bool,
}

/// The other end of a [`MockPort`].
#[derive(Clone, Default)]
pub struct FarEnd(Arc<Mutex<State>>);

impl FarEnd {
    /// Sends a frame to the device.
    pub fn send(&self, frame: &[u8], meta: FrameMeta) {
        self.0.lock().inbound.push_back((frame.to_vec(), meta));
    }

    /// Takes the next frame that the device has sent.
    #[must_use]
    pub fn recv(&self) -> Option<Frame> {
        self.0.lock().outbound.pop_front()
    }

    /// The number of frames that the device has not received yet.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.0.lock().inbound.len()
    }

    /// Sets the number of frames that the wire still accepts; `None` for any number.
    pub fn set_room(&self, frames: Option<usize>) {
        self.0.lock().room = frames;
    }

    /// Sets the link up or down.
    pub fn set_up(&self, up: bool) {
        self.0.lock().down = !up;
    }
}

/// A port whose wire is a [`FarEnd`].
#[derive(Default)]
pub struct MockPort {
    far: FarEnd,
    caps: PortCaps,
    counters: PortCounters,
}

impl MockPort {
    /// A port with these offload capabilities, and its other end.
    #[must_use]
    pub fn new(caps: PortCaps) -> (Self, FarEnd) {
        let port = Self {
            caps,
            ..Self::default()
        };
        let far = port.far.clone();
        (port, far)
    }

    /// Another port at the same wire: that of a successor of the first one's process.
    #[must_use]
    pub fn at(far: &FarEnd, caps: PortCaps) -> Self {
        Self {
            far: far.clone(),
            caps,
            ..Self::default()
        }
    }
}

impl Port for MockPort {
    fn name(&self) -> &str {
        "mock"
    }

    fn poll_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn capabilities(&self) -> PortCaps {
        self.caps
    }

    fn recv(&mut self, buf: &mut [u8]) -> Result<Option<Received>, RecvError> {
        let mut state = self.far.0.lock();
        if state.down {
            return Err(RecvError::Down);
        }
        let Some((frame, meta)) = state.inbound.pop_front() else {
            return Ok(None);
        };
        if frame.len() < MIN_FRAME_LEN {
            return Err(drop_received(&mut self.counters, RxDrop::Runt));
        }
        let Some(room) = buf.get_mut(..frame.len()) else {
            return Err(drop_received(&mut self.counters, RxDrop::TooBig));
        };
        room.copy_from_slice(&frame);
        self.counters.received(meta.on_wire(frame.len()));
        let len = frame.len();
        Ok(Some(Received { len, meta }))
    }

    fn send(&mut self, frame: &[IoSlice<'_>], meta: &FrameMeta) -> Result<(), SendError> {
        let mut state = self.far.0.lock();
        let outcome = checked_len(frame).and_then(|len| match state.room {
            _ if state.down => Err(SendError::Down),
            Some(0) => Err(SendError::Full),
            _ => Ok(len),
        });
        if outcome.is_ok() {
            state.room = state.room.map(|n| n - 1);
            let bytes = frame.iter().flat_map(|slice| slice.iter().copied());
            state.outbound.push_back((bytes.collect(), *meta));
        }
        count_sent(&mut self.counters, frame, meta, outcome)
    }

    fn link(&mut self) -> LinkState {
        LinkState {
            up: !self.far.0.lock().down,
            speed_mbps: SPEED_MBPS,
        }
    }

    fn counters(&self) -> &PortCounters {
        &self.counters
    }

    fn counters_mut(&mut self) -> &mut PortCounters {
        &mut self.counters
    }
}
