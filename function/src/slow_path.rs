// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The slow path of a function: all of its accesses that trap.
//!
//! That is configuration space, the registers of BAR0 that are no doorbells, and the BAR of the
//! MSI-X table. The fast path, doorbells and DMA, is that of the data plane.

mod snapshot;

use adit_uapi::regs::{pf, rstat};

use crate::control::{Control, Profile};
use crate::dataplane::DataPlane;
use crate::ids::VportId;
use crate::layout::{Register, RegisterLayout};
use crate::mailbox::{Mailbox, MailboxEvent, Served};
use crate::pci::{ConfigEffect, ConfigSpace};

#[cfg(any(test, feature = "testing"))]
pub use snapshot::{alter_document, fuzz_snapshot};

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
    in_reset: bool,
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
            in_reset: false,
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

    /// The size of configuration space in bytes.
    #[must_use]
    pub fn config_len(&self) -> usize {
        self.config.len()
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

    /// Holds the function in reset, or ends that: its reset register reads as in progress, and its
    /// mailbox stays as a reset leaves it. The state must be reset, too
    /// ([`reset_state`](Self::reset_state)).
    pub fn hold_in_reset(&mut self, hold: bool) {
        self.in_reset = hold;
    }

    /// Returns whether the function is held in reset.
    #[must_use]
    pub fn in_reset(&self) -> bool {
        self.in_reset
    }

    /// Replaces the resources of a function whose state has been reset. The layout of the mailbox
    /// must be the same.
    pub fn set_profile(&mut self, profile: Profile) {
        self.control.set_profile(profile);
    }

    /// Reads a register of BAR0 that traps; `None` if there is none at the offset.
    #[must_use]
    pub fn register_read(&self, offset: u32) -> Option<u32> {
        Some(match self.layout().register(offset)? {
            Register::Mailbox(..) => self.mailbox.read(offset),
            Register::ResetStatus if self.in_reset => rstat::IN_PROGRESS,
            Register::ResetStatus => self.layout().reset_complete(),
            Register::Control | Register::MailboxDynCtl | Register::Inert => 0,
        })
    }

    /// Writes a register of BAR0 that traps; returns the action that it requires, and `None` if
    /// there is no register at the offset.
    pub fn register_write(&mut self, offset: u32, value: u32) -> Option<WriteEffect> {
        Some(match self.layout().register(offset)? {
            Register::Mailbox(..) if self.in_reset => WriteEffect::None,
            Register::Mailbox(..) => match self.mailbox.write(offset, value) {
                MailboxEvent::None => WriteEffect::None,
                MailboxEvent::Requests | MailboxEvent::Buffers => WriteEffect::Serve,
            },
            Register::Control if value & pf::GEN_CTRL_PFSWR_M != 0 => WriteEffect::Reset,
            Register::Control
            | Register::ResetStatus
            | Register::MailboxDynCtl
            | Register::Inert => WriteEffect::None,
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

    /// Handles a message that does not come from the mailbox: see [`Control::handle`].
    pub fn request(
        &mut self,
        v_opcode: u32,
        payload: &[u8],
        dp: &mut impl DataPlane,
        reply: &mut Vec<u8>,
    ) -> u32 {
        self.control.handle(v_opcode, payload, dp, reply)
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
