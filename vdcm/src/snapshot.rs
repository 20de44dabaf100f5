// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The saved state of a composed device: a JSON document, described in STATE.md.
//!
//! A saved state is untrusted: it may come from a client, or from another release. [`parse`] limits
//! its length and checks its form; [`DeviceState::check`] compares it with the device that is to have
//! it, and the control plane checks its own part (`adit_function::snapshot`). Every error names the
//! field.

mod error;
#[cfg(any(test, feature = "testing"))]
mod fuzz;

use adit_function::dataplane::{check_positions, QueueKind};
use adit_function::layout::Frames;
use adit_function::pci::PciId;
use adit_function::snapshot::Snapshot;
use adit_uapi::regs::dyn_ctl::{CLEARPBA_M, SWINT_TRIG_M};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::protocol::{text, Layout};

pub use adit_function::dataplane::QueueState;
pub use error::StateError;
#[cfg(any(test, feature = "testing"))]
pub use fuzz::fuzz_state;

/// The value of [`DeviceState::format`].
pub const FORMAT: &str = "adit-vdev";
/// The version of the format. It changes when an older release would misunderstand a newer state.
pub const VERSION: u32 = 1;
/// The maximum length of a saved state in bytes.
pub const MAX_LEN: usize = 8 << 20;

/// The state of a composed device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceState {
    /// [`FORMAT`].
    pub format: String,
    /// [`VERSION`].
    pub version: u32,
    /// The device that it is of.
    pub device: DeviceShape,
    /// The slow path.
    pub function: Snapshot,
    /// The mailbox's vector.
    pub mailbox_vector: MailboxVectorState,
    /// The ADIs, in the order of the virtual ports.
    pub adis: Vec<AdiState>,
}

/// The properties of a device that its state depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceShape {
    /// The register layout.
    pub layout: Layout,
    /// Vendor and device id.
    #[serde(with = "text")]
    pub pci_id: PciId,
    /// The number of ADIs, and so of virtual ports.
    pub adis: u16,
    /// The number of RX queues of each virtual port.
    pub queues: u16,
    /// The number of queue pairs of each ADI.
    pub pairs: u16,
    /// The number of vectors of each ADI.
    pub vectors: u16,
}

/// The state of the mailbox's vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MailboxVectorState {
    /// DYN_CTL, as it is read.
    pub dyn_ctl: u32,
    /// Set if a cause is latched.
    pub pending: bool,
}

/// The state of an ADI that the slow path does not have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdiState {
    /// The tails of all TX queues.
    pub tx_tails: Vec<u32>,
    /// The tails of all buffer queues.
    pub buffer_tails: Vec<u32>,
    /// All vectors.
    pub vectors: Vec<VectorState>,
    /// The queues that are enabled, by kind and number.
    pub queues: Vec<QueueState>,
}

/// The state of a vector of an ADI.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VectorState {
    /// DYN_CTL.
    pub dyn_ctl: u32,
    /// The throttling intervals.
    pub itr: [u32; 3],
    /// Set if a cause is latched.
    pub pending: bool,
}

/// The fields that every version has.
#[derive(Deserialize)]
struct Head {
    format: String,
    version: u32,
}

impl Head {
    fn check(&self) -> Result<(), StateError> {
        if self.format != FORMAT {
            let problem = format!("{:?}: it is {FORMAT:?}", shortened(&self.format));
            return Err(StateError::invalid("format", problem));
        }
        if self.version != VERSION {
            let problem = format!("{}: this release reads version {VERSION}", self.version);
            return Err(StateError::invalid("version", problem));
        }
        Ok(())
    }
}

/// Reads a saved state.
///
/// # Errors
/// Fails when it is too long, of another format or version, or not of the form of this one.
pub fn parse(bytes: &[u8]) -> Result<DeviceState, StateError> {
    if bytes.len() > MAX_LEN {
        return Err(StateError::TooLong(bytes.len()));
    }
    // Not by a tree of values, which takes many times the memory of the bytes, and a stack frame for
    // each level: a client chooses both, and the thread of its device has a small stack.
    serde_json::from_slice::<Head>(bytes)?.check()?;
    Ok(serde_json::from_slice(bytes)?)
}

/// Reads a saved state out of a JSON document of limited length.
///
/// # Errors
/// Fails when it is of another format or version, or not of the form of this one.
pub fn from_value(document: Value) -> Result<DeviceState, StateError> {
    Head::deserialize(&document)?.check()?;
    Ok(serde_json::from_value(document)?)
}

/// The start of a text of unknown length.
fn shortened(text: &str) -> String {
    text.chars().take(32).collect()
}

impl DeviceState {
    /// Checks that it has the format and version of this release.
    ///
    /// # Errors
    /// Fails when it is of another.
    pub fn check_version(&self) -> Result<(), StateError> {
        let (format, version) = (self.format.clone(), self.version);
        Head { format, version }.check()
    }

    /// The bytes that [`parse`] reads.
    ///
    /// # Errors
    /// Fails when they would be more than [`MAX_LEN`].
    pub fn bytes(&self) -> Result<Vec<u8>, StateError> {
        let bytes = serde_json::to_vec(self)?;
        match bytes.len() > MAX_LEN {
            true => Err(StateError::TooLong(bytes.len())),
            false => Ok(bytes),
        }
    }

    /// Checks that a device can have this state, except for the control plane's part.
    ///
    /// # Errors
    /// Fails when a field has a value that the device cannot have.
    pub fn check(&self, device: &DeviceShape, frames: Frames) -> Result<(), StateError> {
        self.device.check(device)?;
        let dyn_ctl = self.mailbox_vector.dyn_ctl;
        if dyn_ctl & (SWINT_TRIG_M | CLEARPBA_M) != 0 {
            let problem = format!("{dyn_ctl:#x}: SWINT_TRIG and CLEARPBA read as 0");
            return Err(StateError::invalid("mailbox_vector.dyn_ctl", problem));
        }
        let count = usize::from(frames.adis);
        if self.adis.len() != count {
            let problem = format!("{} ADIs: the device has {count}", self.adis.len());
            return Err(StateError::invalid("adis", problem));
        }
        for (n, adi) in (0..).zip(&self.adis) {
            let at = format!("adis[{n}]");
            adi.check_counts(&at, frames)?;
            adi.check_queues(&at, &self.enabled(n, frames))?;
        }
        Ok(())
    }

    /// The enabled queues of an ADI according to the control plane, numbered in the ADI, with the
    /// lengths of their rings.
    fn enabled(&self, adi: u32, frames: Frames) -> Vec<(QueueKind, u32, u16)> {
        let vports = self.function.control.vports.iter();
        let queues = vports.filter(|vport| vport.id == adi);
        let queues = queues.flat_map(|vport| &vport.queues);
        let mut enabled: Vec<_> = queues
            .filter(|queue| queue.enabled)
            .filter_map(|queue| {
                let own = queue.index % u32::from(per_port(frames, queue.kind)).max(1);
                Some((queue.kind, own, queue.config?.ring().len))
            })
            .collect();
        enabled.sort_unstable();
        enabled
    }
}

/// The number of queues of a kind of each virtual port.
fn per_port(frames: Frames, kind: QueueKind) -> u16 {
    match kind {
        QueueKind::Tx | QueueKind::TxCompletion => frames.pairs,
        QueueKind::Rx => frames.rx_queues,
        QueueKind::RxBuffer => frames.rx_queues.saturating_mul(2),
    }
}

impl DeviceShape {
    /// Checks that a state of this device can be one of another.
    fn check(&self, own: &Self) -> Result<(), StateError> {
        let alike = |field: &str, saved: &str, own: &str| match saved == own {
            true => Ok(()),
            false => Err(StateError::invalid(
                format!("device.{field}"),
                format!("{saved}: that of this device is {own}"),
            )),
        };
        alike("layout", self.layout.name(), own.layout.name())?;
        alike("pci_id", &self.pci_id.to_string(), &own.pci_id.to_string())?;
        for (field, saved, own) in [
            ("adis", self.adis, own.adis),
            ("queues", self.queues, own.queues),
            ("pairs", self.pairs, own.pairs),
            ("vectors", self.vectors, own.vectors),
        ] {
            alike(field, &saved.to_string(), &own.to_string())?;
        }
        Ok(())
    }
}

impl AdiState {
    fn check_counts(&self, at: &str, frames: Frames) -> Result<(), StateError> {
        let pairs = usize::from(frames.pairs);
        for (field, given, expected) in [
            ("tx_tails", self.tx_tails.len(), pairs),
            ("buffer_tails", self.buffer_tails.len(), 2 * pairs),
            ("vectors", self.vectors.len(), frames.vectors.into()),
        ] {
            if given != expected {
                let problem = format!("{given} elements: the ADI has {expected}");
                return Err(StateError::invalid(format!("{at}.{field}"), problem));
            }
        }
        Ok(())
    }

    /// Checks that it has the positions of exactly these queues, within their rings.
    fn check_queues(&self, at: &str, enabled: &[(QueueKind, u32, u16)]) -> Result<(), StateError> {
        check_positions(&self.queues, enabled)
            .map_err(|error| StateError::invalid(format!("{at}.queues{}", error.at), error.problem))
    }
}
