// SPDX-License-Identifier: Apache-2.0 OR MIT
//! How much the function has to hand out.

use adit_uapi::regs::adi::{MAX_ADIS, MAX_QUEUE_PAIRS};
use thiserror::Error;

use crate::dataplane::QueueKind;
use crate::pci::MAX_VECTORS;

/// Most vports of a function.
pub const MAX_VPORTS: usize = 16;
/// Most RX queues of a vport. Linux keeps at most 256 queue ids of a kind, and there are two TX
/// queues for each RX queue (one of them for XDP).
pub const MAX_QUEUES: u16 = 128;
/// The longest frame in bytes, with two VLAN tags and FCS, that Linux makes an MTU of 9000 of.
pub const MAX_FRAME_LEN: u16 = 9026;

/// Why a profile cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ProfileError {
    /// Too few or too many vports.
    #[error("{0} virtual ports: there can be 1 to {MAX_VPORTS}")]
    Vports(usize),
    /// Too few or too many queues.
    #[error("{0} queues for each virtual port: there can be 1 to {MAX_QUEUES}")]
    Queues(u16),
    /// More ADIs than BAR0 has room for, or fewer queue pairs than ADIs.
    #[error(
        "{0} ADIs with {1} queue pairs: there can be {MAX_ADIS} with {MAX_QUEUE_PAIRS}, one each \
         at least"
    )]
    Adis(u32, u32),
    /// All vectors together are more than MSI-X has.
    #[error("{0} vectors, one for each queue and two more: MSI-X has {MAX_VECTORS}")]
    Vectors(u32),
}

/// How many ADIs there can be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AdiLimits {
    /// ADIs.
    pub adis: u32,
    /// Queue pairs of all of them together.
    pub pairs: u32,
}

/// How much the function has to hand out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    macs: Vec<[u8; 6]>,
    queues: u16,
    max_frame: u16,
    adis: AdiLimits,
}

impl Profile {
    /// A function with a vport for each of `macs`, each with up to `queues` RX queues.
    ///
    /// # Errors
    /// When there would be none or too many of something.
    pub fn new(macs: Vec<[u8; 6]>, queues: u16) -> Result<Self, ProfileError> {
        if macs.is_empty() || macs.len() > MAX_VPORTS {
            return Err(ProfileError::Vports(macs.len()));
        }
        if queues == 0 || queues > MAX_QUEUES {
            return Err(ProfileError::Queues(queues));
        }
        let profile = Self {
            macs,
            queues,
            max_frame: MAX_FRAME_LEN,
            adis: AdiLimits::default(),
        };
        match u32::from(profile.vectors()) {
            vectors if vectors > MAX_VECTORS => Err(ProfileError::Vectors(vectors)),
            _ => Ok(profile),
        }
    }

    /// The same with ADIs besides.
    ///
    /// # Errors
    /// When the doorbells of so many do not fit into BAR0.
    pub fn with_adis(self, adis: AdiLimits) -> Result<Self, ProfileError> {
        if adis.adis > MAX_ADIS || adis.pairs > MAX_QUEUE_PAIRS || adis.adis > adis.pairs {
            return Err(ProfileError::Adis(adis.adis, adis.pairs));
        }
        Ok(Self { adis, ..self })
    }

    /// ADIs.
    #[must_use]
    pub fn adis(&self) -> u32 {
        self.adis.adis
    }

    /// Queue pairs of all ADIs together.
    #[must_use]
    pub fn adi_pairs(&self) -> u32 {
        self.adis.pairs
    }

    /// The address of an ADI for which none is asked: the first three bytes of the first vport's,
    /// locally administered, and a number in the upper half of what is left.
    #[must_use]
    pub fn adi_mac(&self, adi: u32) -> [u8; 6] {
        let [a, b, c, ..] = self.mac(0);
        let [_, d, e, f] = (0x80_0000 | adi).to_be_bytes();
        [a | 2, b, c, d, e, f]
    }

    /// Vports.
    #[must_use]
    pub fn vports(&self) -> u16 {
        self.macs.len() as u16
    }

    /// A vport's own address.
    #[must_use]
    pub fn mac(&self, vport: u16) -> [u8; 6] {
        self.macs
            .get(usize::from(vport))
            .copied()
            .unwrap_or_default()
    }

    /// Vectors, the mailbox's (0) included: one for each RX queue and one more for each vport,
    /// for queues that are polled. Linux divides by what is left after these two.
    #[must_use]
    pub fn vectors(&self) -> u16 {
        1 + self.vports() * (self.queues + 1)
    }

    /// The longest frame in bytes, FCS included.
    #[must_use]
    pub fn max_frame(&self) -> u16 {
        self.max_frame
    }

    /// Most queues of a kind that a vport has: two buffer queues for each RX queue, as Linux
    /// wants them, and two TX queues, each with its completion queue, so that XDP finds some
    /// beyond the regular ones.
    #[must_use]
    pub fn queues(&self, kind: QueueKind) -> u16 {
        match kind {
            QueueKind::Rx => self.queues,
            QueueKind::Tx | QueueKind::TxCompletion | QueueKind::RxBuffer => 2 * self.queues,
        }
    }

    /// Queues of a kind in the whole function.
    #[must_use]
    pub fn total_queues(&self, kind: QueueKind) -> u16 {
        self.vports() * self.queues(kind)
    }
}
