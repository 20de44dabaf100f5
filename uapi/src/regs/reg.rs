// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 OR MIT
//! Registers with the types of their values, so that a driver cannot write the value of one register
//! to another.

use core::marker::PhantomData;

/// A value of a register: 32 bits, perhaps with named fields.
pub trait RegValue: Copy {
    /// Returns the value with these bits.
    fn from_bits(bits: u32) -> Self;

    /// Returns its bits.
    fn bits(self) -> u32;

    /// Returns whether all bits are ones: what reads return once the function is no longer present
    /// (PCI Express, completion timeout).
    fn is_all_ones(self) -> bool {
        self.bits() == u32::MAX
    }
}

impl RegValue for u32 {
    fn from_bits(bits: u32) -> Self {
        bits
    }

    fn bits(self) -> u32 {
        self
    }
}

/// Implements [`RegValue`] for types that contain the bits.
macro_rules! reg_values {
    ($($name:ty),* $(,)?) => {$(
        impl $crate::regs::RegValue for $name {
            fn from_bits(bits: u32) -> Self {
                Self(bits)
            }

            fn bits(self) -> u32 {
                self.0
            }
        }
    )*};
}

reg_values!(
    super::DynCtl,
    super::QueueLen,
    super::pf::GenCtrl,
    super::pf::GenRstat
);

/// A register in BAR0: its offset, and the type of its value.
#[derive(Debug)]
pub struct Reg<T> {
    offset: u32,
    value: PhantomData<fn() -> T>,
}

impl<T> Clone for Reg<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Reg<T> {}

impl<T> Reg<T> {
    /// Returns the register at `offset`.
    #[must_use]
    pub const fn at(offset: u32) -> Self {
        Self {
            offset,
            value: PhantomData,
        }
    }

    /// Returns its offset in bytes.
    #[must_use]
    pub const fn offset(self) -> u32 {
        self.offset
    }
}

/// The registers of a mailbox ring.
#[derive(Clone, Copy, Debug)]
pub struct RingRegs {
    /// Address, bits 31:0.
    pub bal: Reg<u32>,
    /// Address, bits 63:32.
    pub bah: Reg<u32>,
    /// Length and state.
    pub len: Reg<super::QueueLen>,
    /// Head, an index of a descriptor.
    pub head: Reg<u32>,
    /// Tail, an index of a descriptor.
    pub tail: Reg<u32>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::regs::{pf, DynCtl, QueueLen};

    #[test]
    fn registers_have_the_offsets_of_the_headers() {
        let offsets = |ring: RingRegs| {
            [
                ring.bal.offset(),
                ring.bah.offset(),
                ring.len.offset(),
                ring.head.offset(),
                ring.tail.offset(),
            ]
        };
        assert_eq!(
            offsets(pf::ARQ),
            [
                0x0840_0000,
                0x0840_0004,
                0x0840_0008,
                0x0840_000C,
                0x0840_0010
            ]
        );
        assert_eq!(
            offsets(pf::ATQ),
            [
                0x0840_0014,
                0x0840_0018,
                0x0840_001C,
                0x0840_0020,
                0x0840_0024
            ]
        );
        assert_eq!(pf::CTRL.offset(), 0x0840_700C);
        assert_eq!(pf::RSTAT.offset(), 0x0840_7008);
        let dyn_ctl = pf::dyn_ctl(3).map(Reg::offset);
        assert_eq!(dyn_ctl, Some(0x0890_3000));
        assert!(pf::dyn_ctl(2048).is_none());
    }

    #[test]
    fn values_keep_their_bits() {
        assert_eq!(DynCtl::from_bits(0x4001_FFF9).bits(), 0x4001_FFF9);
        assert!(QueueLen::from_bits(u32::MAX).is_all_ones());
        assert!(!0_u32.is_all_ones());
        assert_eq!(pf::GenCtrl::from_bits(0x10).with_pfswr().bits(), 0x11);
        assert!(pf::GenRstat::from_bits(0xF5).is_completed());
        assert!(!pf::GenRstat::from_bits(0xF6).is_completed());
    }
}
