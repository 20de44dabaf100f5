// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 OR MIT
//! Fields within an integer, given by the mask that covers them.
//!
//! A mask must be one contiguous run of ones: its lowest one is the shift.

macro_rules! field_fns {
    ($get:ident, $set:ident, $ty:ty) => {
        /// Returns the field of `value` under `mask`, shifted down.
        #[must_use]
        pub const fn $get(value: $ty, mask: $ty) -> $ty {
            if mask == 0 {
                return 0;
            }
            (value & mask) >> mask.trailing_zeros()
        }

        /// Returns `value` with the field under `mask` replaced; `field` is truncated to its width.
        #[must_use]
        pub const fn $set(value: $ty, mask: $ty, field: $ty) -> $ty {
            if mask == 0 {
                return value;
            }
            (value & !mask) | ((field << mask.trailing_zeros()) & mask)
        }
    };
}

field_fns!(get8, set8, u8);
field_fns!(get16, set16, u16);
field_fns!(get32, set32, u32);
field_fns!(get64, set64, u64);

/// Returns a mask of ones from bit `low` to bit `high`, inclusive, like the kernel's GENMASK.
///
/// Meant for constants: compilation fails unless `low <= high < 64`.
#[must_use]
pub const fn mask(high: u32, low: u32) -> u64 {
    assert!(high < 64 && low <= high);
    (u64::MAX >> (63 - high)) & (u64::MAX << low)
}

/// [`mask`] for 32-bit registers.
#[must_use]
pub const fn mask32(high: u32, low: u32) -> u32 {
    assert!(high < 32);
    mask(high, low) as u32
}

/// [`mask`] for 16-bit fields.
#[must_use]
pub const fn mask16(high: u32, low: u32) -> u16 {
    assert!(high < 16);
    mask(high, low) as u16
}

/// [`mask`] for 8-bit fields.
#[must_use]
pub const fn mask8(high: u32, low: u32) -> u8 {
    assert!(high < 8);
    mask(high, low) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_are_what_genmask_gives() {
        assert_eq!(mask(63, 0), u64::MAX);
        assert_eq!(mask(63, 50), 0xFFFC_0000_0000_0000);
        assert_eq!(mask32(12, 0), 0x1FFF);
        assert_eq!(mask16(13, 11), 0x3800);
        assert_eq!(mask8(7, 6), 0xC0);
    }

    #[test]
    fn a_set_field_reads_back_and_leaves_its_neighbours() {
        let all = set16(0xFFFF, mask16(13, 11), 2);
        assert_eq!(all, 0xD7FF);
        assert_eq!(get16(all, mask16(13, 11)), 2);
        assert_eq!(
            set8(0, mask8(3, 0), 0x12),
            2,
            "a field too large is cut off"
        );
        assert_eq!(get32(0xFFFF_FFFF, 0), 0);
        assert_eq!(set64(7, 0, 1), 7);
    }
}
