// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 OR MIT
//! Unsolicited messages of the device.

use zerocopy::little_endian::{U16, U32};

named! {
    /// Values of [`Event::event`] (virtchnl2_event_codes). 2 and 3 are reserved.
    pub mod event_code: u32 {
        /// Not an event.
        UNKNOWN = 0;
        /// The link went up or down.
        LINK_CHANGE = 1;
    }
}

wire! {
    /// An event (virtchnl2_event). [`super::op::EVENT`].
    pub struct Event [16] {
        /// See [`event_code`].
        0 => event: U32,
        /// Speed of the link in Mbit/s.
        4 => link_speed: U32,
        /// Id of the vport.
        8 => vport_id: U32,
        /// 1 if the link is up, otherwise 0.
        12 => link_status: u8,
        /// Padding.
        13 => pad: u8,
        /// Reserved.
        14 => reserved: U16,
    }
}
