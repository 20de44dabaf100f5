// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The resources of the function.

use adit_uapi::regs::adi::{MAX_ADIS, MAX_QUEUE_PAIRS};
use thiserror::Error;

use super::capabilities::Capabilities;
use crate::dataplane::QueueKind;
use crate::layout::{Frames, RegisterLayout};
use crate::mac::MacAddr;
use crate::pci::MAX_VECTORS;

/// The maximum number of vports of a function.
pub const MAX_VPORTS: usize = 16;
/// The maximum number of RX queues of a vport. Linux keeps at most 256 queue ids of a kind, and
/// there are two TX queues for each RX queue (one of them for XDP).
pub const MAX_QUEUES: u16 = 128;
/// The longest frame in bytes, with two VLAN tags and FCS, from which Linux computes an MTU of
/// 9000.
pub const MAX_FRAME_LEN: u16 = 9026;

/// The reason why a profile is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ProfileError {
    /// Too few or too many vports.
    #[error("{0} virtual ports: there can be 1 to {MAX_VPORTS}")]
    Vports(usize),
    /// Too few or too many queues.
    #[error("{0} queues for each virtual port: there can be 1 to {MAX_QUEUES}")]
    Queues(u16),
    /// More ADIs than fit in BAR0.
    #[error("{0} ADIs: there can be 0 to {MAX_ADIS}")]
    Adis(u32),
    /// More queue pairs than fit in BAR0.
    #[error("{0} queue pairs of ADIs: there can be 0 to {MAX_QUEUE_PAIRS}")]
    AdiQueues(u32),
    /// Fewer queue pairs than ADIs, each of which has at least one.
    #[error("{adis} ADIs need {adis} queue pairs or more: there are {pairs}")]
    PairsPerAdi {
        /// The number of ADIs.
        adis: u32,
        /// The number of queue pairs of all of them.
        pairs: u32,
    },
    /// The register layout has no space for the doorbells of ADIs.
    #[error("the {0} register layout has no space for the doorbells of ADIs: use pf")]
    Layout(RegisterLayout),
    /// More vectors in total than MSI-X supports.
    #[error(
        "{vports} virtual ports with {queues} queues take {vectors} vectors, of which MSI-X has \
         {MAX_VECTORS}: there can be {most} queues for each of so many ports"
    )]
    Vectors {
        /// The number of virtual ports.
        vports: u16,
        /// The number of queues of each.
        queues: u16,
        /// The number of vectors: one for each queue, one more for each port, and the mailbox's.
        vectors: u32,
        /// The maximum number of queues of each for which there are vectors.
        most: u32,
    },
    /// The layout's ADIs are not those of the virtual ports.
    #[error(
        "a composed device of {ports} virtual ports with {queues} RX queues: its layout has {adis} \
         ADIs with {rx_queues} RX queues, {pairs} queue pairs and {vectors} vectors each"
    )]
    Frames {
        /// The number of virtual ports.
        ports: u16,
        /// The number of RX queues of each.
        queues: u16,
        /// The number of ADIs in the layout.
        adis: u16,
        /// The number of RX queues of each in the layout.
        rx_queues: u16,
        /// The number of queue pairs of each.
        pairs: u16,
        /// The number of vectors of each.
        vectors: u16,
    },
    /// More doorbell pages than fit in BAR0.
    #[error("{0} doorbell pages of ADIs do not fit in BAR0: use fewer or smaller ADIs")]
    Pages(u32),
    /// The address of a port is not a unicast address.
    #[error("MAC address {} of virtual port {vport} is a group or zero", MacAddr(*.mac))]
    Address {
        /// The virtual port.
        vport: usize,
        /// Its address.
        mac: [u8; 6],
    },
    /// A port has an address from the range for ADIs.
    #[error(
        "MAC address {} of virtual port {vport} is in the range of the ADIs ({} to {}): choose one \
         whose fourth byte is below 80",
        MacAddr(*.mac), MacAddr(*.first), MacAddr(*.last)
    )]
    AdiAddress {
        /// The virtual port.
        vport: usize,
        /// Its address.
        mac: [u8; 6],
        /// The first ADI's address.
        first: [u8; 6],
        /// The last ADI's address.
        last: [u8; 6],
    },
}

/// The limits for ADIs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AdiLimits {
    /// The maximum number of ADIs.
    pub adis: u32,
    /// The number of queue pairs of all of them together.
    pub pairs: u32,
}

/// The resources of the function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    macs: Vec<[u8; 6]>,
    queues: u16,
    max_frame: u16,
    adis: AdiLimits,
    layout: RegisterLayout,
    capabilities: Capabilities,
}

impl Profile {
    /// A function with a vport for each of `macs`, each with up to `queues` RX queues.
    ///
    /// # Errors
    /// When a number would be zero or too large, or an address is not a unicast address.
    pub fn new(macs: Vec<[u8; 6]>, queues: u16) -> Result<Self, ProfileError> {
        if macs.is_empty() || macs.len() > MAX_VPORTS {
            return Err(ProfileError::Vports(macs.len()));
        }
        if queues == 0 || queues > MAX_QUEUES {
            return Err(ProfileError::Queues(queues));
        }
        // Addresses that count up from the first may become group addresses.
        if let Some(vport) = macs.iter().position(|m| m[0] & 1 != 0 || *m == [0; 6]) {
            let mac = macs[vport];
            return Err(ProfileError::Address { vport, mac });
        }
        let profile = Self {
            macs,
            queues,
            max_frame: MAX_FRAME_LEN,
            adis: AdiLimits::default(),
            layout: RegisterLayout::default(),
            capabilities: Capabilities::ALL,
        };
        match u32::from(profile.vectors()) {
            vectors if vectors > MAX_VECTORS => Err(ProfileError::Vectors {
                vports: profile.vports(),
                queues,
                vectors,
                most: (MAX_VECTORS - 1) / u32::from(profile.vports()) - 1,
            }),
            _ => Ok(profile),
        }
    }

    /// Narrows the capabilities to those that `allowed` has, too.
    #[must_use]
    pub fn narrowed(self, allowed: &Capabilities) -> Self {
        Self {
            capabilities: self.capabilities.intersection(allowed),
            ..self
        }
    }

    /// Narrows the longest frame to `len` bytes, FCS included.
    #[must_use]
    pub fn with_max_frame(self, len: u16) -> Self {
        Self {
            max_frame: self.max_frame.min(len),
            ..self
        }
    }

    /// The capabilities that the function offers.
    #[must_use]
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// Sets the register layout; without this, it is that of a PF. That of a composed device also
    /// has the number of TX queues and of vectors.
    ///
    /// # Errors
    /// When the function has ADIs and the layout no space for them, or when the layout is that of a
    /// composed device with other virtual ports, or whose pages do not fit in BAR0.
    pub fn with_layout(self, layout: RegisterLayout) -> Result<Self, ProfileError> {
        if let Some(frames) = layout.frames() {
            self.check_frames(frames)?;
        }
        Self { layout, ..self }.with_adis(self.adis)
    }

    /// Checks that a composed device can have this profile.
    fn check_frames(&self, frames: Frames) -> Result<(), ProfileError> {
        let alike = frames.adis == self.vports() && frames.rx_queues == self.queues;
        let possible = frames.rx_queues <= frames.pairs && frames.pairs <= MAX_QUEUES;
        if !alike || !possible || !(1..=frames.pairs).contains(&frames.vectors) {
            return Err(ProfileError::Frames {
                ports: self.vports(),
                queues: self.queues,
                adis: frames.adis,
                rx_queues: frames.rx_queues,
                pairs: frames.pairs,
                vectors: frames.vectors,
            });
        }
        match frames.fit() {
            true => Ok(()),
            false => Err(ProfileError::Pages(frames.total_pages())),
        }
    }

    /// The register layout.
    #[must_use]
    pub fn layout(&self) -> RegisterLayout {
        self.layout
    }

    /// Adds ADIs.
    ///
    /// # Errors
    /// When their doorbells do not fit into BAR0, there are fewer queue pairs than ADIs, or a port
    /// has an address from their range.
    pub fn with_adis(self, adis: AdiLimits) -> Result<Self, ProfileError> {
        if adis.pairs > 0 && !self.layout.has_adis() {
            return Err(ProfileError::Layout(self.layout));
        }
        if adis.adis > MAX_ADIS {
            return Err(ProfileError::Adis(adis.adis));
        }
        if adis.pairs > MAX_QUEUE_PAIRS {
            return Err(ProfileError::AdiQueues(adis.pairs));
        }
        if adis.adis > adis.pairs {
            return Err(ProfileError::PairsPerAdi {
                adis: adis.adis,
                pairs: adis.pairs,
            });
        }
        if let Some(last) = adis.adis.checked_sub(1) {
            let (first, last) = (self.adi_mac(0), self.adi_mac(last));
            let taken = |mac: &[u8; 6]| (first..=last).contains(mac);
            if let Some(vport) = self.macs.iter().position(taken) {
                let mac = self.macs[vport];
                return Err(ProfileError::AdiAddress {
                    vport,
                    mac,
                    first,
                    last,
                });
            }
        }
        Ok(Self { adis, ..self })
    }

    /// The maximum number of ADIs.
    #[must_use]
    pub fn adis(&self) -> u32 {
        self.adis.adis
    }

    /// The number of queue pairs of all ADIs together.
    #[must_use]
    pub fn adi_pairs(&self) -> u32 {
        self.adis.pairs
    }

    /// The default address of an ADI: the first three bytes of the first vport's, locally
    /// administered, and a number in the upper half of the remaining 24 bits.
    #[must_use]
    pub fn adi_mac(&self, adi: u32) -> [u8; 6] {
        let [a, b, c, ..] = self.mac(0);
        let [_, d, e, f] = (0x80_0000 | adi).to_be_bytes();
        [a | 2, b, c, d, e, f]
    }

    /// The number of vports.
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

    /// The number of vectors, including the mailbox's (0): one for each RX queue and one more for
    /// each vport, for queues that are polled. Linux divides by the number that is left after these
    /// two.
    #[must_use]
    pub fn vectors(&self) -> u16 {
        let per_port = match self.layout.frames() {
            Some(frames) => frames.vectors_per_port(),
            None => self.queues + 1,
        };
        1 + self.vports() * per_port
    }

    /// The longest frame in bytes, FCS included.
    #[must_use]
    pub fn max_frame(&self) -> u16 {
        self.max_frame
    }

    /// The maximum number of queues of a kind of a vport: two buffer queues for each RX queue, as
    /// Linux requires, and two TX queues, each with its completion queue, so that there are some
    /// for XDP beyond the regular ones. A composed device has the TX queues of its ADIs instead.
    #[must_use]
    pub fn queues(&self, kind: QueueKind) -> u16 {
        match (kind, self.layout.frames()) {
            (QueueKind::Rx, _) => self.queues,
            (QueueKind::Tx | QueueKind::TxCompletion, Some(frames)) => frames.pairs,
            (QueueKind::Tx | QueueKind::TxCompletion, None) | (QueueKind::RxBuffer, _) => {
                2 * self.queues
            }
        }
    }

    /// The number of queues of a kind in the whole function.
    #[must_use]
    pub fn total_queues(&self, kind: QueueKind) -> u16 {
        self.vports() * self.queues(kind)
    }
}
