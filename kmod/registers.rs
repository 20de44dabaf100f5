// SPDX-License-Identifier: GPL-2.0

//! Registers in BAR0.

use adit_uapi::regs::{
    dyn_ctl,
    pf,
    rstat,
    DynCtl,
    QueueLen, //
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

/// Timeout of a reset of the function.
const RESET_TIMEOUT: Delta = Delta::from_secs(5);
/// Value of reads once the function is no longer present (PCI Express: completion timeout).
const GONE: u32 = u32::MAX;

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

    /// Reads the register at `offset`; fails with `ENODEV` once the function is unbound.
    pub(crate) fn read(&self, offset: u32) -> Result<u32> {
        // CAST: 32 bits fit.
        self.bar
            .try_access()
            .ok_or(ENODEV)?
            .try_read32(offset as usize)
    }

    /// Writes the register at `offset`, ordered after all earlier writes to memory.
    pub(crate) fn write(&self, offset: u32, value: u32) -> Result {
        // CAST: 32 bits fit.
        self.bar
            .try_access()
            .ok_or(ENODEV)?
            .try_write32(value, offset as usize)
    }

    /// Resets the function and waits until the reset is complete: no DMA is in progress then.
    pub(crate) fn reset_function(&self) -> Result {
        let control = self.read(pf::GEN_CTRL)?;
        self.write(pf::GEN_CTRL, control | pf::GEN_CTRL_PFSWR_M)?;
        let state = read_poll_timeout(
            || self.read(pf::GEN_RSTAT),
            |&state| state == GONE || state & rstat::STATE_M == rstat::COMPLETED,
            Delta::from_millis(1),
            RESET_TIMEOUT,
        )?;
        match state {
            GONE => Err(ENODEV),
            _ => Ok(()),
        }
    }

    /// Returns whether the mailbox's receive ring is still set up: a reset of the function clears
    /// it, and so does unplugging the device.
    pub(crate) fn mailbox_alive(&self) -> Result<bool> {
        let len = self.read(pf::FW_ARQLEN)?;
        Ok(len != GONE && QueueLen(len).enable() && QueueLen(len).pf_arq_len() != 0)
    }

    /// Arms vector `index` for one more interrupt.
    pub(crate) fn arm(&self, index: u32) -> Result {
        let offset = pf::GLINT_DYN_CTL.offset(index).ok_or(EINVAL)?;
        let value = DynCtl(dyn_ctl::INTENA_M | dyn_ctl::CLEARPBA_M).with_itr(dyn_ctl::ITR_NONE, 0);
        self.write(offset, value.0)
    }
}
