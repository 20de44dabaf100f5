// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 OR MIT
//! The way in which the device polls an ADI's doorbell pages.

use zerocopy::little_endian::U16;

/// Bits of [`ConfigAdiDoorbells::flags`].
pub mod doorbell_flags {
    /// Software does not kick: the device never sets the asleep words, and polls the pages of an
    /// idle ADI about once a millisecond.
    pub const NO_KICK: u16 = 1 << 0;
}

wire! {
    /// Sets the way in which the device polls an ADI's pages, for software that does not know of
    /// asleep words and kick pages, such as a standard driver of a device that was composed out of
    /// ADIs. After creation and after a reset (RESET_ADI) no flag is set.
    /// [`super::op::CONFIG_ADI_DOORBELLS`].
    pub struct ConfigAdiDoorbells [4] {
        /// Id of the ADI.
        0 => adi_id: U16,
        /// See [`doorbell_flags`]; others are refused with EINVAL.
        2 => flags: U16,
    }
}
