// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Saves and restores the state that a driver reaches by traps.

#[cfg(test)]
mod adi_tests;
#[cfg(any(test, feature = "testing"))]
mod fuzz;
#[cfg(test)]
mod tests;

use std::fmt::Display;

use super::SlowPath;
use crate::control::Profile;
use crate::dataplane::{DataPlane, QueueKind};
use crate::mailbox::Mailbox;
use crate::snapshot::{Hex, Part, ProfileSnapshot, RestoreError, SaveError, Snapshot, VERSION};

#[cfg(any(test, feature = "testing"))]
pub use fuzz::{alter_document, fuzz_snapshot};

/// The unit of parts of the MSI-X BAR in bytes: an entry of the table.
const ENTRY: usize = 16;

impl SlowPath {
    /// Saves the state, of which the data plane has a part: nothing must change meanwhile.
    ///
    /// # Errors
    /// When the function is held in reset.
    pub fn save(&self, dp: &impl DataPlane) -> Result<Snapshot, SaveError> {
        if self.in_reset {
            return Err(SaveError::InReset);
        }
        Ok(Snapshot {
            version: VERSION,
            profile: save_profile(self.control.profile()),
            config: Hex(self.config.save()),
            msix: save_parts(&self.msix),
            mailbox: self.mailbox.save(),
            control: self.control.save(dp),
        })
    }

    /// Replaces the state by a saved one; the data plane is in the state after a reset, and is set
    /// up accordingly. Counters are kept, and a reset in which the function is held.
    ///
    /// # Errors
    /// When the saved state is not one of this function, or impossible; nothing has changed then.
    /// When the data plane does not do what it requires ([`RestoreError::DataPlane`]); then both have
    /// to be reset.
    pub fn restore(
        &mut self,
        saved: &Snapshot,
        dp: &mut impl DataPlane,
    ) -> Result<(), RestoreError> {
        let (msix, mailbox) = self.checked(saved)?;
        self.control.restore(&saved.control, dp)?;
        self.config.restore(&saved.config.0);
        self.msix = msix;
        self.mailbox = mailbox;
        Ok(())
    }

    /// Checks a saved state, without changing anything.
    ///
    /// # Errors
    /// When the saved state is not one of this function, or impossible.
    pub fn check_saved(&self, saved: &Snapshot) -> Result<(), RestoreError> {
        self.checked(saved)?;
        self.control.check_saved(&saved.control)
    }

    /// The MSI-X table and the mailbox of a saved state.
    fn checked(&self, saved: &Snapshot) -> Result<(Box<[u8]>, Mailbox), RestoreError> {
        if saved.version != VERSION {
            return Err(RestoreError::Version(saved.version));
        }
        check_profile(&saved.profile, self.control.profile())?;
        if let Some(at) = self.config.difference(&saved.config.0) {
            let problem =
                format!("byte {at:#x} is not that of this function's configuration space");
            return Err(RestoreError::invalid("config", problem));
        }
        let msix = restore_parts(&saved.msix, self.msix.len())?;
        Ok((msix, self.mailbox.restored(&saved.mailbox)?))
    }
}

/// The parts of a memory that are not zero.
fn save_parts(memory: &[u8]) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    for (n, entry) in memory.chunks(ENTRY).enumerate() {
        if entry.iter().all(|&byte| byte == 0) {
            continue;
        }
        let at = (n * ENTRY) as u32; // a BAR of the table has some KiB
        match parts.last_mut() {
            Some(last) if last.at as usize + last.bytes.0.len() == n * ENTRY => {
                last.bytes.0.extend_from_slice(entry);
            }
            _ => parts.push(Part {
                at,
                bytes: Hex(entry.to_vec()),
            }),
        }
    }
    parts
}

fn restore_parts(parts: &[Part], len: usize) -> Result<Box<[u8]>, RestoreError> {
    let mut memory = vec![0; len];
    let mut free_from = 0;
    for (n, Part { at, bytes }) in parts.iter().enumerate() {
        let first = *at as usize;
        let range = first..first.saturating_add(bytes.0.len());
        let place = memory.get_mut(range.clone()).filter(|_| first >= free_from);
        let place = place.ok_or_else(|| {
            let problem = format!("{range:#x?} is outside of {free_from:#x}..{len:#x}");
            RestoreError::invalid(format!("msix[{n}]"), problem)
        })?;
        place.copy_from_slice(&bytes.0);
        free_from = range.end;
    }
    Ok(memory.into())
}

fn save_profile(profile: &Profile) -> ProfileSnapshot {
    let offered = profile.capabilities();
    ProfileSnapshot {
        layout: profile.layout().name().to_owned(),
        macs: (0..profile.vports()).map(|n| Hex(profile.mac(n))).collect(),
        tx_queues: profile.queues(QueueKind::Tx),
        rx_queues: profile.queues(QueueKind::Rx),
        vectors: profile.vectors(),
        max_frame: profile.max_frame(),
        capabilities: [
            offered.csum.into(),
            offered.seg.into(),
            offered.hsplit.into(),
            offered.rsc.into(),
            offered.rss,
            offered.other,
        ],
    }
}

/// Checks that a driver of a function with the saved resources finds them in this one.
fn check_profile(saved: &ProfileSnapshot, profile: &Profile) -> Result<(), RestoreError> {
    fn alike<T: PartialEq + Display>(
        what: &'static str,
        saved: T,
        own: T,
    ) -> Result<(), RestoreError> {
        match saved == own {
            true => Ok(()),
            false => Err(RestoreError::Profile {
                what,
                saved: saved.to_string(),
                own: own.to_string(),
            }),
        }
    }
    let own = save_profile(profile);
    let list = |macs: &[Hex<[u8; 6]>]| {
        let macs = macs.iter().map(|mac| hex::encode(mac.0));
        macs.collect::<Vec<_>>().join(" ")
    };
    alike("register layout", &saved.layout, &own.layout)?;
    alike("addresses", list(&saved.macs), list(&own.macs))?;
    alike("TX queues", saved.tx_queues, own.tx_queues)?;
    alike("RX queues", saved.rx_queues, own.rx_queues)?;
    alike("vectors", saved.vectors, own.vectors)?;
    if saved.max_frame > own.max_frame {
        alike("longest frame", saved.max_frame, own.max_frame)?;
    }
    for (saved, own) in saved.capabilities.into_iter().zip(own.capabilities) {
        if saved & !own != 0 {
            alike("capabilities", format!("{saved:#x}"), format!("{own:#x}"))?;
        }
    }
    Ok(())
}
