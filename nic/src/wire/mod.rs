// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Wire ports: the backends at the other end of the NIC's wire.
//!
//! [`WireSpec`] parses a `--wire` argument and opens the [`Port`] that it describes.

mod counters;
mod link_watch;
#[cfg(any(test, feature = "fuzzing"))]
pub mod mock;
mod pcap;
mod port;
mod report;
mod spec;
mod tap;
mod tap_sys;
mod unix;
mod vnet;

pub use counters::{PortCounters, RxDrop, TxDrop};
pub use pcap::{Pcap, PcapError, Speed};
pub use port::{
    LifelineReports, LinkState, Port, PortCaps, Received, RecvError, SendError, DEFAULT_SPEED_MBPS,
    MAX_FRAME_LEN, MAX_SLICES, MIN_FRAME_LEN,
};
pub use report::write_metrics;
pub use spec::{OpenError, WireSpec, WireSpecError};
pub use tap::{Tap, TapError};
pub use unix::{Unix, UnixError};
pub use vnet::{VnetError, VnetHeader, VNET_HEADER_LEN};
