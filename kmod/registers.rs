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

/// How long a reset of the function may take.
const RESET_TIMEOUT: Delta = Delta::from_secs(5);
/// What reads give once the function is no longer there (PCI Express: completion timed out).
const GONE: u32 = u32::MAX;

/// The registers of a function, until it is unbound.
pub(crate) struct Registers {
    bar: Devres<pci::Bar<'static>>,
}

impl Registers {
    /// Takes BAR0 over.
    pub(crate) fn new(bar: pci::Bar<'_>) -> Result<Self> {
        Ok(Self {
            bar: bar.into_devres()?,
        })
    }

    /// The register at `offset`; `ENODEV` once the function is unbound.
    pub(crate) fn read(&self, offset: u32) -> Result<u32> {
        // CAST: 32 bits fit.
        self.bar
            .try_access()
            .ok_or(ENODEV)?
            .try_read32(offset as usize)
    }

    /// Writes the register at `offset`, after all writes to memory that come before.
    pub(crate) fn write(&self, offset: u32, value: u32) -> Result {
        // CAST: 32 bits fit.
        self.bar
            .try_access()
            .ok_or(ENODEV)?
            .try_write32(value, offset as usize)
    }

    /// Resets the function and waits until it is there again: no DMA is under way any more.
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

    /// Whether the mailbox's receive ring is still set up: a reset of the function takes it away,
    /// and so does pulling it out.
    pub(crate) fn mailbox_alive(&self) -> Result<bool> {
        let len = self.read(pf::FW_ARQLEN)?;
        Ok(len != GONE && QueueLen(len).enable() && QueueLen(len).pf_arq_len() != 0)
    }

    /// Lets vector `index` signal once more.
    pub(crate) fn arm(&self, index: u32) -> Result {
        let offset = pf::GLINT_DYN_CTL.offset(index).ok_or(EINVAL)?;
        let value = DynCtl(dyn_ctl::INTENA_M | dyn_ctl::CLEARPBA_M).with_itr(dyn_ctl::ITR_NONE, 0);
        self.write(offset, value.0)
    }
}
