// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The terminal that a shell in the guest is shown on.

use anyhow::{Context, Result};
use rustix::stdio::stdin;
use rustix::termios::{tcgetattr, tcgetwinsize, tcsetattr, OptionalActions, Termios};

/// Every key goes through, until this is dropped.
pub(crate) struct RawMode(Termios);

impl RawMode {
    pub(crate) fn enter() -> Result<Self> {
        let before = tcgetattr(stdin()).context("cannot read the terminal's settings")?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(stdin(), OptionalActions::Now, &raw).context("cannot set the terminal")?;
        Ok(Self(before))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        let _ = tcsetattr(stdin(), OptionalActions::Now, &self.0);
    }
}

/// Columns and rows.
pub(crate) fn size() -> (u16, u16) {
    tcgetwinsize(stdin()).map_or((80, 24), |size| (size.ws_col, size.ws_row))
}
