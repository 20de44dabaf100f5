// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What is at the other end of the NIC's cable.

mod counters;
mod link_watch;
mod port;
mod tap;
mod tap_sys;
mod vnet;

pub use counters::{PortCounters, RxDrop, TxDrop};
pub use port::{
    LinkState, Port, PortCaps, Received, RecvError, SendError, DEFAULT_SPEED_MBPS, MAX_FRAME_LEN,
    MAX_SLICES, MIN_FRAME_LEN,
};
pub use tap::{Tap, TapError};
pub use vnet::{VnetError, VnetHeader, VNET_HEADER_LEN};
