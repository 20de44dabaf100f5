// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The host's terminal, for a shell in the guest.

use anyhow::{Context, Result};
use rustix::stdio::stdin;
use rustix::termios::{tcgetattr, tcgetwinsize, tcsetattr, OptionalActions, Termios};
use signal_hook::consts::SIGWINCH;
use signal_hook::iterator::Signals;

/// Raw mode of the terminal: every key is passed through, until this is dropped.
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

/// Calls `resized` with columns and rows whenever the terminal's size changes (SIGWINCH).
pub(crate) fn on_resize(resized: impl Fn(u16, u16) + Send + 'static) -> Result<()> {
    let mut signals = Signals::new([SIGWINCH]).context("cannot wait for SIGWINCH")?;
    std::thread::spawn(move || {
        for _ in signals.forever() {
            let (columns, rows) = size();
            resized(columns, rows);
        }
    });
    Ok(())
}

/// Returns columns and rows.
pub(crate) fn size() -> (u16, u16) {
    tcgetwinsize(stdin()).map_or((80, 24), |size| (size.ws_col, size.ws_row))
}
