// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The slow path of a function: all of its accesses that trap.
//!
//! That is configuration space, the registers of BAR0 that are no doorbells, and the BAR of the
//! MSI-X table. The fast path, doorbells and DMA, is that of the data plane.

use adit_uapi::regs::pf;

use crate::control::{Control, Profile};
use crate::dataplane::DataPlane;
use crate::ids::VportId;
use crate::layout::{Register, RegisterLayout};
use crate::mailbox::{Mailbox, MailboxEvent, Served};
use crate::pci::{ConfigEffect, ConfigSpace};

/// The action that a register write requires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteEffect {
    /// Nothing.
    None,
    /// The mailbox must be served ([`SlowPath::serve`]).
    Serve,
    /// The function must be reset ([`SlowPath::reset_state`]), after the data plane.
    Reset,
}

/// The state of a function that its driver reaches by traps.
pub struct SlowPath {
    config: ConfigSpace,
    msix: Box<[u8]>,
    mailbox: Mailbox,
    control: Control,
}

impl SlowPath {
    /// The state after power-on. The BAR of the MSI-X table has `msix_len` bytes.
    #[must_use]
    pub fn new(config: ConfigSpace, msix_len: usize, profile: Profile) -> Self {
        Self {
            config,
            msix: vec![0; msix_len].into(),
            mailbox: Mailbox::new(profile.layout()),
            control: Control::new(profile),
        }
    }

    /// The layout of the registers.
    #[must_use]
    pub fn layout(&self) -> RegisterLayout {
        self.control.profile().layout()
    }

    /// The control plane.
    #[must_use]
    pub fn control(&self) -> &Control {
        &self.control
    }

    /// The mailbox.
    #[must_use]
    pub fn mailbox(&self) -> &Mailbox {
        &self.mailbox
    }

    /// Reads configuration space.
    pub fn config_read(&self, offset: u64, data: &mut [u8]) {
        self.config.read(offset, data);
    }

    /// Writes configuration space. A function-level reset is [`reset`](Self::reset), after that of
    /// the data plane.
    pub fn config_write(&mut self, offset: u64, data: &[u8]) -> ConfigEffect {
        self.config.write(offset, data)
    }

    /// Reads a register of BAR0 that traps; `None` if there is none at the offset.
    #[must_use]
    pub fn register_read(&self, offset: u32) -> Option<u32> {
        Some(match self.layout().register(offset)? {
            Register::Mailbox(..) => self.mailbox.read(offset),
            Register::ResetStatus => self.layout().reset_complete(),
            Register::Control | Register::Inert => 0,
        })
    }

    /// Writes a register of BAR0 that traps; returns the action that it requires, and `None` if
    /// there is no register at the offset.
    pub fn register_write(&mut self, offset: u32, value: u32) -> Option<WriteEffect> {
        Some(match self.layout().register(offset)? {
            Register::Mailbox(..) => match self.mailbox.write(offset, value) {
                MailboxEvent::None => WriteEffect::None,
                MailboxEvent::Requests | MailboxEvent::Buffers => WriteEffect::Serve,
            },
            Register::Control if value & pf::GEN_CTRL_PFSWR_M != 0 => WriteEffect::Reset,
            Register::Control | Register::ResetStatus | Register::Inert => WriteEffect::None,
        })
    }

    /// Notes that the link of a vport went up or down; the mailbox must be served.
    pub fn link_changed(&mut self, vport: VportId) {
        self.control.link_changed(vport);
    }

    /// Serves the mailbox: see [`Mailbox::serve`].
    pub fn serve(&mut self, dp: &mut impl DataPlane) -> Served {
        self.mailbox.serve(&mut self.control, dp)
    }

    /// Reads the BAR of the MSI-X table. The client emulates the table; this is only its memory.
    pub fn msix_read(&self, offset: u64, data: &mut [u8]) {
        let at = usize::try_from(offset).unwrap_or(usize::MAX);
        match at
            .checked_add(data.len())
            .and_then(|end| self.msix.get(at..end))
        {
            Some(bytes) => data.copy_from_slice(bytes),
            None => data.fill(0xFF),
        }
    }

    /// Writes the BAR of the MSI-X table.
    pub fn msix_write(&mut self, offset: u64, data: &[u8]) {
        let at = usize::try_from(offset).unwrap_or(usize::MAX);
        if let Some(bytes) = at
            .checked_add(data.len())
            .and_then(|end| self.msix.get_mut(at..end))
        {
            bytes.copy_from_slice(data);
        }
    }

    /// Handles a reset by register or message: the control plane and the mailbox are reset. The
    /// data plane has to be reset before.
    pub fn reset_state(&mut self) {
        self.control.reset();
        self.mailbox.reset();
    }

    /// Handles a function-level reset: that of [`reset_state`](Self::reset_state), and of
    /// configuration space and the MSI-X table.
    pub fn reset(&mut self) {
        self.reset_state();
        self.config.reset();
        self.msix.fill(0);
    }
}

#[cfg(test)]
mod tests;
