// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Counters of a port: frames that passed, and drops by reason.

use std::collections::BTreeMap;

use adit_pipeline::offload::OnWire;
use thiserror::Error;

/// The reason that a port dropped a frame from the wire.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum RxDrop {
    /// Shorter than an Ethernet header.
    #[error("shorter than an Ethernet header")]
    Runt,
    /// Longer than the receive buffer.
    #[error("longer than the receive buffer")]
    TooBig,
    /// Its virtio-net header does not match the frame.
    #[error("its offload header does not fit it")]
    BadOffload,
    /// A capture that does not contain the whole frame.
    #[error("truncated in the capture")]
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

/// The reason that a frame for the wire was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TxDrop {
    /// The other end accepts no more frames for now, and the caller gave up.
    Full,
    /// The link is down, or the other end has no receiver.
    Down,
    /// Longer than the wire supports.
    TooBig,
    /// In more slices than the port gathers.
    TooManySlices,
    /// The kernel rejected the frame (its offload request contradicts it, or it is a runt).
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

/// A port's statistics. Bytes are those of Ethernet frames without their frame check sequence.
///
/// A frame that the host coalesced, or segments later, counts as its segments, each with its
/// headers, as it does in a NIC. Frames received from the wire are `rx_frames` + all [`RxDrop`]s;
/// frames offered to it are `tx_frames` + all [`TxDrop`]s.
#[derive(Clone, Debug, Default)]
pub struct PortCounters {
    /// The number of frames passed to the device.
    pub rx_frames: u64,
    /// The number of bytes passed to the device.
    pub rx_bytes: u64,
    /// The number of frames sent to the wire.
    pub tx_frames: u64,
    /// The number of bytes sent to the wire.
    pub tx_bytes: u64,
    /// The number of calls of [`Port::send`](super::Port::send) that sent a frame to the wire.
    pub tx_calls: u64,
    /// The number of failed receive operations of the host: a file that cannot be read further, a
    /// socket with an error.
    pub rx_failures: u64,
    /// The number of times that the wire accepted no more and the frame stayed with the caller.
    pub tx_backpressure: u64,
    rx_drops: [u64; RxDrop::ALL.len()],
    tx_drops: [u64; TxDrop::ALL.len()],
}

impl PortCounters {
    /// The number of frames from the wire that were dropped for `reason`.
    #[must_use]
    pub fn rx_dropped(&self, reason: RxDrop) -> u64 {
        self.rx_drops[reason as usize]
    }

    /// The number of frames for the wire that were dropped for `reason`.
    #[must_use]
    pub fn tx_dropped(&self, reason: TxDrop) -> u64 {
        self.tx_drops[reason as usize]
    }

    /// The number of frames from the wire that were dropped for any reason.
    #[must_use]
    pub fn rx_dropped_total(&self) -> u64 {
        self.rx_drops.iter().sum()
    }

    /// The number of frames for the wire that were dropped for any reason.
    #[must_use]
    pub fn tx_dropped_total(&self) -> u64 {
        self.tx_drops.iter().sum()
    }

    /// The counters that are not zero, by name.
    #[must_use]
    pub fn named(&self) -> BTreeMap<String, u64> {
        let mut copy = self.clone();
        let named = copy.places().map(|(name, count)| (name, *count));
        named.filter(|(_, count)| *count > 0).collect()
    }

    /// Adds counters by name. Unknown ones are ignored.
    pub fn add_named(&mut self, named: &BTreeMap<String, u64>) {
        for (name, place) in self.places() {
            *place += named.get(&name).copied().unwrap_or(0);
        }
    }

    /// All counters, with their names.
    fn places(&mut self) -> impl Iterator<Item = (String, &mut u64)> {
        let rx = RxDrop::ALL.map(|reason| format!("rx_{}", reason.label()));
        let tx = TxDrop::ALL.map(|reason| format!("tx_{}", reason.label()));
        let frames = [
            ("rx_frames", &mut self.rx_frames),
            ("rx_bytes", &mut self.rx_bytes),
            ("tx_frames", &mut self.tx_frames),
            ("tx_bytes", &mut self.tx_bytes),
            ("tx_calls", &mut self.tx_calls),
            ("rx_failures", &mut self.rx_failures),
            ("tx_backpressure", &mut self.tx_backpressure),
        ];
        let frames = frames
            .into_iter()
            .map(|(name, place)| (name.to_owned(), place));
        frames
            .chain(rx.into_iter().zip(&mut self.rx_drops))
            .chain(tx.into_iter().zip(&mut self.tx_drops))
    }

    /// Counts dropped frames for the wire. The ports count the frames that they reject themselves,
    /// except for back-pressure: the caller still owns that frame, and counts it here if it drops
    /// it.
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
        counters.sent(OnWire::single(60));
        let mut again = PortCounters::default();
        again.add_named(&counters.named());
        assert_eq!(format!("{again:?}"), format!("{counters:?}"));
        assert_eq!(counters.rx_dropped_total(), RxDrop::ALL.len() as u64);
        assert_eq!(counters.tx_dropped_total(), TxDrop::ALL.len() as u64);
    }
}
