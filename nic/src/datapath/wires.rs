// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The wire side: ports, their links, and the sending of frames with the offloads that a port
//! supports.

mod sending;

use adit_pipeline::offload::{FrameMeta, OnWire};

use crate::frame::Frame;
use crate::ids::{VportId, WireIndex};
use crate::logging::{warn_throttled, Throttle};
use crate::wire::{LinkState, Port, PortCaps, Received, RecvError, TxDrop, MAX_FRAME_LEN};

pub(super) use sending::Sent;

/// The link of a wire without a port.
const NO_LINK: LinkState = LinkState {
    up: false,
    speed_mbps: 0,
};

/// The reason why a frame was not offered to a port.
pub(super) enum NotSent {
    /// The wire has no port.
    NoPort,
    /// Its offload request does not fit the frame.
    BadOffload,
}

/// A wire.
struct Wire {
    port: Option<Box<dyn Port>>,
    link: LinkState,
    /// Frames that the port has dropped since it last accepted one, if that was logged.
    lost: Option<u64>,
}

/// All wires.
pub(super) struct Wires {
    wires: Vec<Wire>,
    /// A segment of a frame for a port that does not segment.
    segment: Box<[u8]>,
    /// Set if merged frames are requested from the ports.
    merged: bool,
}

impl Wires {
    pub(super) fn new(ports: Vec<Option<Box<dyn Port>>>) -> Self {
        let wires = ports.into_iter().map(|mut port| {
            let link = port.as_mut().map_or(NO_LINK, |port| {
                let link = port.link();
                if !link.up {
                    log_link(port.as_ref(), link);
                }
                link
            });
            Wire {
                port,
                link,
                lost: None,
            }
        });
        Self {
            wires: wires.collect(),
            segment: vec![0; MAX_FRAME_LEN].into(),
            merged: true,
        }
    }

    /// The number of wires.
    pub(super) fn len(&self) -> usize {
        self.wires.len()
    }

    /// The index of each wire.
    pub(super) fn indexes(&self) -> impl Iterator<Item = WireIndex> {
        (0..self.wires.len() as u32).map(WireIndex)
    }

    /// The port of a wire.
    pub(super) fn port(&self, wire: WireIndex) -> Option<&dyn Port> {
        self.wires.get(wire.index())?.port.as_deref()
    }

    /// The port of a wire.
    pub(super) fn port_mut(&mut self, wire: WireIndex) -> Option<&mut (dyn Port + 'static)> {
        self.wires.get_mut(wire.index())?.port.as_deref_mut()
    }

    /// Makes the devices and sockets of all ports this process's own.
    pub(super) fn claim(&mut self) {
        for port in self.wires.iter_mut().filter_map(|w| w.port.as_mut()) {
            port.claim();
        }
    }

    /// Leaves the devices and sockets of all ports to another process.
    pub(super) fn release(&mut self) {
        for port in self.wires.iter_mut().filter_map(|w| w.port.as_mut()) {
            port.release();
        }
    }

    /// Closes all ports.
    pub(super) fn close(&mut self) {
        for wire in &mut self.wires {
            (wire.port, wire.link) = (None, NO_LINK);
        }
    }

    /// The link of a wire.
    pub(super) fn link(&self, wire: WireIndex) -> LinkState {
        self.wires.get(wire.index()).map_or(NO_LINK, |w| w.link)
    }

    /// Reads the link state of every wire again; returns the wires whose link changed.
    pub(super) fn refresh_links(&mut self) -> Vec<VportId> {
        let mut changed = Vec::new();
        for (index, wire) in self.wires.iter_mut().enumerate() {
            let Some(port) = wire.port.as_mut() else {
                continue;
            };
            let link = port.link();
            if link != wire.link {
                log_link(port.as_ref(), link);
                wire.link = link;
                changed.push(WireIndex(index as u32).pf());
            }
        }
        changed
    }

    /// Returns whether a link can change without a notification.
    pub(super) fn has_unwatched_links(&self) -> bool {
        let mut ports = self.wires.iter().filter_map(|w| w.port.as_ref());
        ports.any(|port| port.is_unwatched())
    }

    /// Returns whether a wire's frames are found only by reading it.
    pub(super) fn is_unannounced(&self, wire: WireIndex) -> bool {
        self.port(wire).is_some_and(|port| port.poll_fd().is_none())
    }

    /// Requests merged frames from the ports, or unmerged ones.
    pub(super) fn request_merged(&mut self, merged: bool) {
        self.merged = merged;
        let wanted = PortCaps {
            checksum: true,
            tso4: merged,
            tso6: merged,
            uso: merged,
        };
        for port in self.wires.iter_mut().filter_map(|w| w.port.as_mut()) {
            if let Err(error) = port.set_recv_offloads(wanted) {
                tracing::warn!(%error, "a wire does not change its offloads");
            }
        }
    }

    /// Requests unmerged frames from the ports, if merged ones have been requested.
    pub(super) fn stop_merging(&mut self) {
        if self.merged {
            self.request_merged(false);
        }
    }

    /// Receives one frame from a wire, if there is one.
    ///
    /// # Errors
    /// As [`Port::recv`]. Errors of the host are counted and logged.
    pub(super) fn receive(
        &mut self,
        wire: WireIndex,
        frame: &mut Frame,
    ) -> Result<Option<FrameMeta>, RecvError> {
        let Some(port) = self.wires[wire.index()].port.as_mut() else {
            return Ok(None);
        };
        match port.recv(frame.space()) {
            Ok(Some(Received { len, meta })) => {
                frame.set_len(len);
                Ok(Some(meta))
            }
            Ok(None) => Ok(None),
            Err(RecvError::Io(error)) => {
                port.counters_mut().rx_failures += 1;
                warn_throttled!(wire = port.name(), %error, "a wire cannot be received from");
                Err(RecvError::Io(error))
            }
            Err(error) => Err(error),
        }
    }

    /// The number of frames handed to the port of a wire; one that the port segments counts once.
    pub(super) fn sent_calls(&self, wire: WireIndex) -> u64 {
        self.port(wire).map_or(0, |port| port.counters().tx_calls)
    }

    /// Offers a frame to a wire. Unless the caller offers it again later
    /// ([`Sent::may_wait`]), [`account`](Self::account) must follow.
    ///
    /// # Errors
    /// When there is no port, or the frame's offloads cannot be done.
    pub(super) fn send(
        &mut self,
        wire: WireIndex,
        frame: &mut [u8],
        meta: FrameMeta,
    ) -> Result<Sent, NotSent> {
        let port = self
            .wires
            .get_mut(wire.index())
            .and_then(|w| w.port.as_mut());
        let port = port.ok_or(NotSent::NoPort)?;
        sending::send(port.as_mut(), &mut self.segment, frame, meta).ok_or(NotSent::BadOffload)
    }

    /// Counts and logs the lost part of a frame that was sent, where `whole` is the complete frame;
    /// returns the number of lost frames.
    pub(super) fn account(&mut self, wire: WireIndex, sent: &Sent, whole: OnWire) -> u64 {
        let Some(wire) = self.wires.get_mut(wire.index()) else {
            return 0;
        };
        let Some(port) = wire.port.as_mut() else {
            return 0;
        };
        let lost = sent.count_lost(port.as_mut(), whole);
        log_losses(&mut wire.lost, port.as_ref(), sent.reason(), lost);
        lost
    }
}

/// Logs the state of a wire's link.
fn log_link(port: &dyn Port, link: LinkState) {
    static LIMIT: Throttle = Throttle::new();
    let Some(suppressed) = LIMIT.admit() else {
        return;
    };
    let suppressed = (suppressed > 0).then_some(suppressed);
    let (wire, why, mbps) = (port.name(), port.down_reason(), link.speed_mbps);
    match (link.up, why) {
        (true, _) => tracing::info!(wire, mbps, suppressed, "link up"),
        (false, None) => tracing::info!(wire, suppressed, "link down"),
        (false, Some(why)) => tracing::warn!(wire, why, suppressed, "link down"),
    }
}

/// Logs that a port starts to drop frames, or accepts them again: `lost` of those offered to it. A
/// link that is down is logged separately.
fn log_losses(total: &mut Option<u64>, port: &dyn Port, reason: Option<TxDrop>, lost: u64) {
    match (total.as_mut(), reason) {
        (None, None) => {}
        (None, Some(TxDrop::Full | TxDrop::Io)) => {
            *total = Some(lost);
            let reason = reason.map(TxDrop::label);
            warn_throttled!(wire = port.name(), reason, "a wire drops frames");
        }
        (Some(sum), Some(TxDrop::Full | TxDrop::Io | TxDrop::Down)) => *sum += lost,
        // A property of the frame, not of the wire.
        (_, Some(TxDrop::Down | TxDrop::TooBig | TxDrop::TooManySlices | TxDrop::Refused)) => {}
        (Some(&mut lost), None) => {
            *total = None;
            static LIMIT: Throttle = Throttle::new();
            if LIMIT.admit().is_some() {
                tracing::info!(wire = port.name(), lost, "a wire accepts frames again");
            }
        }
    }
}
