// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What went through a port, and what did not, by reason.

use adit_pipeline::offload::OnWire;
use thiserror::Error;

/// Why a frame from the wire went no further than the port.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum RxDrop {
    /// Shorter than an Ethernet header.
    #[error("shorter than an Ethernet header")]
    Runt,
    /// Longer than the buffer it was to be received into.
    #[error("longer than the receive buffer")]
    TooBig,
    /// Its virtio-net header does not fit it.
    #[error("its offload header does not fit it")]
    BadOffload,
    /// A capture that does not hold the whole frame.
    #[error("cut short in the capture")]
    Truncated,
}

impl RxDrop {
    /// Every reason, in the order of the counters.
    pub const ALL: [Self; 4] = [Self::Runt, Self::TooBig, Self::BadOffload, Self::Truncated];

    /// The reason as a metrics label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Runt => "runt",
            Self::TooBig => "too_big",
            Self::BadOffload => "bad_offload",
            Self::Truncated => "truncated",
        }
    }
}

/// Why a frame for the wire did not leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TxDrop {
    /// The other end takes no more for now, and the caller gave up.
    Full,
    /// The link is down, or nobody is at the other end.
    Down,
    /// Longer than the wire carries.
    TooBig,
    /// In more pieces than the port gathers.
    TooManySlices,
    /// The kernel refused the frame (its offload request contradicts it, or it is a runt).
    Refused,
    /// Any other error of the host.
    Io,
}

impl TxDrop {
    /// Every reason, in the order of the counters.
    pub const ALL: [Self; 6] = [
        Self::Full,
        Self::Down,
        Self::TooBig,
        Self::TooManySlices,
        Self::Refused,
        Self::Io,
    ];

    /// The reason as a metrics label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Down => "down",
            Self::TooBig => "too_big",
            Self::TooManySlices => "too_many_slices",
            Self::Refused => "refused",
            Self::Io => "io",
        }
    }
}

/// A port's statistics. Bytes are Ethernet frames without their frame check sequence.
///
/// A frame that the host merged, or segments later, counts as its segments, each with its headers,
/// as it does in a NIC. Frames taken off the wire are `rx_frames` + all [`RxDrop`]s; frames offered
/// to it are `tx_frames` + all [`TxDrop`]s.
#[derive(Clone, Debug, Default)]
pub struct PortCounters {
    /// Frames handed to the device.
    pub rx_frames: u64,
    /// Bytes handed to the device.
    pub rx_bytes: u64,
    /// Frames put on the wire.
    pub tx_frames: u64,
    /// Bytes put on the wire.
    pub tx_bytes: u64,
    /// Calls of [`Port::send`](super::Port::send) that put a frame on the wire.
    pub tx_calls: u64,
    /// Times that the host failed to give what may have been there: a file that cannot be read on,
    /// a socket with an error.
    pub rx_failures: u64,
    /// Times that the wire took no more and the frame stayed with the caller.
    pub tx_backpressure: u64,
    rx_drops: [u64; RxDrop::ALL.len()],
    tx_drops: [u64; TxDrop::ALL.len()],
}

impl PortCounters {
    /// Frames from the wire that were dropped for `reason`.
    #[must_use]
    pub fn rx_dropped(&self, reason: RxDrop) -> u64 {
        self.rx_drops[reason as usize]
    }

    /// Frames for the wire that were dropped for `reason`.
    #[must_use]
    pub fn tx_dropped(&self, reason: TxDrop) -> u64 {
        self.tx_drops[reason as usize]
    }

    /// Frames from the wire that were dropped, whatever the reason.
    #[must_use]
    pub fn rx_dropped_total(&self) -> u64 {
        self.rx_drops.iter().sum()
    }

    /// Frames for the wire that were dropped, whatever the reason.
    #[must_use]
    pub fn tx_dropped_total(&self) -> u64 {
        self.tx_drops.iter().sum()
    }

    /// Counts frames for the wire as lost. The ports count what they refuse themselves, except
    /// for back-pressure: the caller still has that frame, and says so here if it gives it up.
    pub fn drop_tx(&mut self, reason: TxDrop, frames: u64) {
        self.tx_drops[reason as usize] += frames;
    }

    pub(super) fn drop_rx(&mut self, reason: RxDrop) {
        self.rx_drops[reason as usize] += 1;
    }

    pub(super) fn received(&mut self, on_wire: OnWire) {
        self.rx_frames += on_wire.frames;
        self.rx_bytes += on_wire.bytes;
    }

    pub(super) fn sent(&mut self, on_wire: OnWire) {
        self.tx_calls += 1;
        self.tx_frames += on_wire.frames;
        self.tx_bytes += on_wire.bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_its_own_counter() {
        let mut counters = PortCounters::default();
        for (i, reason) in RxDrop::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, i);
            counters.drop_rx(reason);
            assert_eq!(counters.rx_dropped(reason), 1);
        }
        for (i, reason) in TxDrop::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, i);
            counters.drop_tx(reason, 1);
            assert_eq!(counters.tx_dropped(reason), 1);
        }
        assert_eq!(counters.rx_dropped_total(), RxDrop::ALL.len() as u64);
        assert_eq!(counters.tx_dropped_total(), TxDrop::ALL.len() as u64);
    }
}
