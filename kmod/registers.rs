// SPDX-License-Identifier: GPL-2.0

//! Registers in BAR0.

use adit_uapi::regs::{
    pf,
    DynCtl,
    Reg,
    RegValue, //
};
use kernel::{
    devres::Devres,
    io::{
        poll::read_poll_timeout,
        Io, //
    },
    pci,
    prelude::*,
    time::Delta, //
};

use crate::ids::MsixVector;

/// Timeout of a reset of the function.
const RESET_TIMEOUT: Delta = Delta::from_secs(5);

/// The registers of a function, until it is unbound.
pub(crate) struct Registers {
    bar: Devres<pci::Bar<'static>>,
}

impl Registers {
    /// Takes ownership of BAR0.
    pub(crate) fn new(bar: pci::Bar<'_>) -> Result<Self> {
        Ok(Self {
            bar: bar.into_devres()?,
        })
    }

    /// Reads a register; fails with `ENODEV` once the function is unbound.
    pub(crate) fn read<T: RegValue>(&self, reg: Reg<T>) -> Result<T> {
        // CAST: 32 bits fit.
        let offset = reg.offset() as usize;
        let bits = self.bar.try_access().ok_or(ENODEV)?.try_read32(offset)?;
        Ok(T::from_bits(bits))
    }

    /// Writes a register, ordered after all earlier writes to memory; fails with `ENODEV` once the
    /// function is unbound.
    pub(crate) fn write<T: RegValue>(&self, reg: Reg<T>, value: T) -> Result {
        // CAST: 32 bits fit.
        let offset = reg.offset() as usize;
        self.bar
            .try_access()
            .ok_or(ENODEV)?
            .try_write32(value.bits(), offset)
    }

    /// Resets the function and waits until the reset is complete: no DMA is in progress then. Fails
    /// with `ENODEV` if the function is no longer present.
    pub(crate) fn reset_function(&self) -> Result {
        let control = self.read(pf::CTRL)?;
        self.write(pf::CTRL, control.with_pfswr())?;
        let state = read_poll_timeout(
            || self.read(pf::RSTAT),
            |state| state.is_all_ones() || state.is_completed(),
            Delta::from_millis(1),
            RESET_TIMEOUT,
        )?;
        match state.is_all_ones() {
            true => Err(ENODEV),
            false => Ok(()),
        }
    }

    /// Returns whether the mailbox's receive ring is still set up: a reset of the function clears
    /// it, and so does unplugging the device.
    pub(crate) fn mailbox_alive(&self) -> Result<bool> {
        let len = self.read(pf::ARQLEN)?;
        Ok(!len.is_all_ones() && len.enable() && len.pf_arq_len() != 0)
    }

    /// Arms a vector for one more interrupt.
    pub(crate) fn arm(&self, vector: MsixVector) -> Result {
        let reg = pf::dyn_ctl(vector.0.into()).ok_or(EINVAL)?;
        self.write(reg, DynCtl::ARM)
    }
}
