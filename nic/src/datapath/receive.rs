// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The frames that come from wires.

use adit_pipeline::offload::FrameMeta;

use super::destination::{Destination, Outcome, Source, Transit, Wait};
use super::{Datapath, BURST};
use crate::drops::DropReason;
use crate::frame::Frame;
use crate::ids::WireIndex;
use crate::wire::RecvError;

/// The time that a frame waits for buffers before it is dropped, in nanoseconds. A NIC has memory
/// for such moments; a driver that is out of buffers for longer will not post any soon, and frames
/// for its neighbours wait behind this one.
const MAX_RX_WAIT_NS: u64 = 20_000_000;

/// The receive state of one wire.
#[derive(Default)]
pub(super) struct Ingress {
    frame: Frame,
    /// Set while the frame waits for buffers.
    waiting: Option<Waiting>,
}

/// The state of a frame that waits for buffers.
struct Waiting {
    transit: Transit,
    to: Destination,
}

impl Ingress {
    /// Returns whether a frame waits for buffers.
    pub(super) fn is_waiting(&self) -> bool {
        self.waiting.is_some()
    }

    /// The number of frames that wait for buffers.
    pub(super) fn waiting_frames(&self) -> u64 {
        let waiting = self.waiting.as_ref();
        waiting.map_or(0, |waiting| waiting.transit.undelivered())
    }
}

impl Datapath {
    /// Receives up to a burst of frames from one wire; returns true if any was moved.
    pub(super) fn receive_burst(&mut self, wire: WireIndex) -> bool {
        let mut any = false;
        for _ in 0..BURST {
            let ingress = &mut self.ingress[wire.index()];
            let (mut transit, to) = match ingress.waiting.take() {
                Some(Waiting { transit, to }) => (transit, to),
                None => match self.fabric.wires.receive(wire, &mut ingress.frame) {
                    Ok(Some(meta)) => self.process_received(wire, meta),
                    Err(RecvError::Dropped(_)) => {
                        any = true;
                        continue;
                    }
                    Ok(None) | Err(RecvError::Down | RecvError::Io(_)) => break,
                },
            };
            let frame = &mut self.ingress[wire.index()].frame;
            let source = Source::Wire(wire);
            let outcome = match to {
                Destination::Segment => self.program.run_on_segments(
                    &mut self.fabric,
                    source,
                    frame,
                    transit.meta,
                    &mut self.segment,
                ),
                to => self.fabric.dispatch(source, frame, &mut transit, to),
            };
            match outcome {
                Outcome::Waiting(to) => {
                    self.ingress[wire.index()].waiting = Some(Waiting { transit, to });
                    break;
                }
                Outcome::Dropped(reason) => {
                    let vport = &mut self.fabric.host.vports[wire.pf()];
                    vport.count_undelivered(reason, transit.undelivered());
                }
                Outcome::Forwarded(_) | Outcome::Counted(_) => {}
            }
            any = true;
        }
        any
    }

    /// Runs the program on a frame that was received.
    fn process_received(&mut self, wire: WireIndex, meta: FrameMeta) -> (Transit, Destination) {
        let frame = &mut self.ingress[wire.index()].frame;
        let now = self.fabric.host.now;
        let wait = Wait::ForBuffers {
            vport: wire.pf(),
            until: now.saturating_add(MAX_RX_WAIT_NS),
        };
        let mut transit = Transit::new(frame, meta, wait);
        let source = Source::Wire(wire);
        let to = self
            .program
            .run_with(&mut self.fabric, source, frame, &mut transit.meta);
        (transit, to)
    }

    /// Drops frames that wait for a driver that is gone.
    pub(super) fn drop_waiting(&mut self) {
        for (ingress, vport) in self
            .ingress
            .iter_mut()
            .zip(self.fabric.host.vports.iter_mut())
        {
            if let Some(Waiting { transit, .. }) = ingress.waiting.take() {
                vport.count_undelivered(DropReason::PortDisabled, transit.undelivered());
            }
        }
    }
}
