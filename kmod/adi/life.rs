// SPDX-License-Identifier: GPL-2.0

//! The stages of an ADI's life, and the order in which ADIs are restored after a reset. Free of
//! kernel dependencies, so that the host tests compile the same source.

/// A stage of an ADI's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Life {
    /// The ADI is ending or has ended, permanently.
    Ended = 0,
    /// Its users may use it.
    Active = 1,
    /// A reset has removed it from the device; it is to be created again.
    Lost = 2,
}

impl Life {
    /// Returns the stage with the number `raw`.
    pub(crate) const fn from_raw(raw: u32) -> Self {
        match raw {
            1 => Self::Active,
            2 => Self::Lost,
            _ => Self::Ended,
        }
    }

    /// Returns the number of the stage.
    pub(crate) const fn to_raw(self) -> u32 {
        // CAST: the enum's representation.
        self as u32
    }

    /// Returns the stage after a reset of the device.
    pub(crate) const fn after_loss(self) -> Self {
        match self {
            Self::Active => Self::Lost,
            other => other,
        }
    }

    /// Returns the stage after the device has created the ADI again; the ADI may have been ended in
    /// the meantime.
    pub(crate) const fn after_restoration(self) -> Self {
        match self {
            Self::Lost => Self::Active,
            other => other,
        }
    }
}

/// Restores lost ADIs in the order of the restart of the function that they were last present in,
/// the most recent first. The place of an ADI that a restart did not restore is free from then on,
/// and may have been assigned to an ADI that was present later.
///
/// `latest_before` returns the most recent restart before a given one in which a lost ADI was last
/// present; `restore` restores those that were last present in a given restart. `restart` is the
/// number of the current one.
pub(crate) fn latest_first(
    restart: u64,
    latest_before: impl Fn(u64) -> Option<u64>,
    mut restore: impl FnMut(u64),
) {
    let mut before = restart;
    // Decreases with each step, whatever the result is.
    while let Some(last) = latest_before(before).filter(|last| *last < before) {
        restore(last);
        before = last;
    }
}
