// SPDX-License-Identifier: Apache-2.0 OR MIT
//! ADIs: their creation, their state, their destruction. In between they are ordinary virtual
//! ports.

mod group;
mod log;
mod messages;
mod saved;
mod state;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use adit_uapi::regs::adi::{FRAMES, PAGES_PER_PAIR};
use adit_uapi::virtchnl2::adi::{CreateAdiExt, NonFlexCreateAdi, NO_MAILBOX, VLAN_MAX};

use super::id_allocator::{IdAllocator, NotFree};
use super::queue_set::{Counts, QueueSet};
use super::vport::{AdiResources, Vport};
use super::{Control, Profile, Refusal};
use crate::dataplane::{AddressTaken, AdiConfig, DataPlane};
use crate::ids::{AdiId, VectorId, VportId};
use crate::interrupts::CAUSE_RINGS;
use crate::memory::WriteLog;
use crate::pasid::Pasid;

pub use group::MAX_GROUP;
pub use log::MAX_ADI_LOG_PAGES;

/// The maximum number of queue pairs of one ADI.
pub(super) const MAX_PAIRS: u16 = 64;

/// The control plane's state of an ADI.
#[derive(Debug)]
pub(super) struct Adi {
    pub(super) config: AdiConfig,
    pub(super) vport: Vport,
    /// Set from SUSPEND_ADI to RESUME_ADI.
    pub(super) suspended: bool,
    /// The log of what it writes, from START_ADI_LOG on.
    log: Option<Arc<WriteLog>>,
    /// Its place in a group.
    pub(super) group: group::Membership,
}

/// All ADIs.
#[derive(Debug)]
pub(super) struct Adis {
    /// Indexed by id.
    slots: Vec<Option<Box<Adi>>>,
    /// The ADI of each PASID.
    pasids: HashMap<Pasid, AdiId>,
    ids: IdAllocator,
    pairs: IdAllocator,
    /// The vector (of MSI-X) that each cause ring signals.
    pub(super) rings: BTreeMap<u16, u16>,
}

/// The resources that a message requests for an ADI.
#[derive(Clone, Copy, Debug)]
struct Wanted {
    counts: Counts,
    vectors: u16,
    pairs: u16,
    port: u16,
    vlan: u16,
    mac: [u8; 6],
    ring: u16,
    /// Its place before a reset: its id and first queue pair.
    place: Option<(u32, u32)>,
}

impl Wanted {
    /// Reads them from the message; a queue pair and a vector without an extension.
    fn new(ext: Option<&CreateAdiExt>, profile: &Profile) -> Result<Self, Refusal> {
        let wanted = match ext {
            None => Self {
                counts: Counts {
                    tx: 1,
                    tx_completion: 1,
                    rx: 1,
                    rx_buffer: 2,
                },
                vectors: 1,
                pairs: 1,
                port: 0,
                vlan: 0,
                mac: [0; 6],
                ring: 0,
                place: None,
            },
            Some(ext) => {
                let counts = Counts {
                    tx: ext.num_tx_q.get(),
                    tx_completion: ext.num_tx_complq.get(),
                    rx: ext.num_rx_q.get(),
                    rx_buffer: ext.num_rx_bufq.get(),
                };
                let vectors = ext.num_vectors.get();
                Self {
                    counts,
                    vectors,
                    pairs: pairs(&counts, vectors),
                    port: ext.port.get(),
                    vlan: ext.vlan.get(),
                    mac: ext.mac,
                    ring: ext.cause_ring.get(),
                    place: place(ext, profile)?,
                }
            }
        };
        if wanted.pairs == 0
            || wanted.pairs > max_pairs(profile)
            || wanted.port >= profile.vports()
            || wanted.vlan > VLAN_MAX
            || wanted.ring >= CAUSE_RINGS
        {
            return Err(Refusal::OutOfRange);
        }
        if wanted.mac[0] & 1 != 0 {
            return Err(Refusal::BadField);
        }
        Ok(wanted)
    }
}

/// The number of queue pairs of an ADI with these queues and vectors.
fn pairs(counts: &Counts, vectors: u16) -> u16 {
    let pairs = [
        counts.tx,
        counts.tx_completion,
        counts.rx,
        counts.rx_buffer.div_ceil(2),
        vectors,
    ];
    pairs.into_iter().max().unwrap_or(0)
}

/// The maximum number of queue pairs of an ADI of a function.
fn max_pairs(profile: &Profile) -> u16 {
    MAX_PAIRS.min(u16::try_from(profile.adi_pairs()).unwrap_or(u16::MAX))
}

/// The place that a message requests, if any.
fn place(ext: &CreateAdiExt, profile: &Profile) -> Result<Option<(u32, u32)>, Refusal> {
    let (vport, offset) = (ext.vport_id.get(), ext.frame_offset.get());
    if (vport, offset) == (0, 0) {
        return Ok(None);
    }
    let id = vport.checked_sub(profile.vports().into());
    let page = FRAMES.index(offset);
    let pair = page.filter(|page| page % PAGES_PER_PAIR == 0);
    let pair = pair.map(|page| page / PAGES_PER_PAIR);
    id.zip(pair).map(Some).ok_or(Refusal::OutOfRange)
}

impl From<NotFree> for Refusal {
    fn from(error: NotFree) -> Self {
        match error {
            NotFree::OutOfRange => Self::OutOfRange,
            NotFree::Taken => Self::Taken,
        }
    }
}

impl Adis {
    pub(super) fn new(profile: &Profile) -> Self {
        Self {
            slots: Vec::new(),
            pasids: HashMap::new(),
            ids: IdAllocator::new(profile.adis()),
            pairs: IdAllocator::new(profile.adi_pairs()),
            rings: BTreeMap::new(),
        }
    }

    /// Removes all ADIs. Allocation of ids continues where it was: entries of a P4 program's tables
    /// for the vport of a removed ADI must not apply to the next one.
    pub(super) fn clear(&mut self) {
        self.slots.clear();
        self.pasids.clear();
        self.rings.clear();
        self.ids.clear();
        self.pairs.clear();
    }

    /// Allocates an id and queue pairs: those of a place, or free ones.
    fn take(&mut self, wanted: &Wanted) -> Result<(u32, u32), Refusal> {
        let id = match wanted.place {
            Some((id, _)) => self.ids.allocate_at(id, 1).map(|()| id)?,
            None => self.ids.allocate_next().ok_or(Refusal::NoRoom)?,
        };
        let pairs = u32::from(wanted.pairs);
        let first = match wanted.place {
            Some((_, first)) => match self.pairs.allocate_at(first, pairs) {
                Ok(()) => Ok(first),
                Err(error) => Err(error.into()),
            },
            None => self.pairs.allocate(pairs).ok_or(Refusal::NoRoom),
        };
        if first.is_err() {
            self.ids.free(id, 1);
        }
        Ok((id, first?))
    }

    pub(super) fn get_mut(&mut self, id: AdiId) -> Option<&mut Adi> {
        self.slots.get_mut(id.index())?.as_deref_mut()
    }

    /// All ADIs, with their ids.
    #[cfg(any(test, feature = "testing"))]
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (u32, &mut Adi)> {
        (0..)
            .zip(&mut self.slots)
            .filter_map(|(id, adi)| Some((id, adi.as_deref_mut()?)))
    }

    /// Removes the cause rings that signal a vector.
    pub(super) fn remove_rings_of(&mut self, vector: u16, dp: &mut impl DataPlane) {
        self.rings.retain(|&ring, used| {
            let gone = *used == vector;
            if gone {
                dp.set_cause_ring(ring, None);
            }
            !gone
        });
    }

    /// The number of ADIs and of queue pairs: allocated, and maximum.
    fn occupancy(&self) -> [(u32, u32); 2] {
        [&self.ids, &self.pairs].map(|ids| (ids.taken(), ids.limit()))
    }
}

impl Control {
    /// Creates an ADI for a parsed request; returns its id.
    fn make_adi(
        &mut self,
        request: &NonFlexCreateAdi,
        ext: Option<&CreateAdiExt>,
        dp: &mut impl DataPlane,
    ) -> Result<AdiId, Refusal> {
        let pasid = Pasid::new(request.pasid.get()).ok_or(Refusal::OutOfRange)?;
        let none = |id: u16| matches!(id, 0 | NO_MAILBOX);
        if !none(request.mbx_id.get()) {
            return Err(Refusal::NotForAdis);
        }
        let wanted = Wanted::new(ext, &self.profile)?;
        if self.adis.pasids.contains_key(&pasid) {
            return Err(Refusal::Taken);
        }
        if !dp.has_tables() {
            return Err(Refusal::NoTables);
        }
        let (id, first_pair) = self.adis.take(&wanted)?;
        let mut config = AdiConfig {
            vport: VportId(u32::from(self.profile.vports()) + id),
            adi: AdiId(id as u16), // below MAX_ADIS
            pasid,
            port: VportId(wanted.port.into()),
            vlan: wanted.vlan,
            mac: wanted.mac,
            first_pair,
            pairs: wanted.pairs,
            rx_queues: wanted.counts.rx,
            ring: wanted.ring,
        };
        if self.place_adi(&mut config, dp).is_err() {
            self.adis.ids.free(id, 1);
            self.adis.pairs.free(first_pair, wanted.pairs.into());
            return Err(Refusal::Taken);
        }
        let at = id as usize;
        if self.adis.slots.len() <= at {
            self.adis.slots.resize_with(at + 1, || None);
        }
        let adi_id = config.adi;
        self.adis.pasids.insert(pasid, adi_id);
        let resources = AdiResources {
            pasid: pasid.get(),
            vectors: wanted.vectors,
            first_vector: VectorId(u32::from(self.profile.vectors()) + first_pair),
        };
        self.adis.slots[at] = Some(Box::new(Adi {
            vport: Vport {
                enabled: false,
                link_event: false,
                queues: QueueSet::of_adi(&self.profile, first_pair, wanted.counts),
                adi: Some(resources),
            },
            config,
            suspended: false,
            log: None,
            group: group::Membership::default(),
        }));
        Ok(adi_id)
    }

    /// Creates an ADI in the data plane. Without an address it gets the default one of its id, or of the
    /// next id whose address no port has: an ADI that was made again with its former address may have
    /// another id now.
    fn place_adi(
        &self,
        config: &mut AdiConfig,
        dp: &mut impl DataPlane,
    ) -> Result<(), AddressTaken> {
        if config.mac != [0; 6] {
            return dp.create_adi(config);
        }
        let own = u32::from(config.adi.0);
        for id in (own..self.profile.adis()).chain(0..own) {
            config.mac = self.profile.adi_mac(id);
            if dp.create_adi(config).is_ok() {
                return Ok(());
            }
        }
        Err(AddressTaken)
    }

    /// Recreates an ADI with the same identifiers: none of the state that its owner has set up or
    /// left remains.
    fn renew_adi(&mut self, id: AdiId, dp: &mut impl DataPlane) -> Result<(), Refusal> {
        let adi = self.adis.get_mut(id).ok_or(Refusal::NoSuchVport)?;
        let counts = adi.vport.queues.counts();
        adi.vport.queues.remove_all(dp);
        dp.destroy_adi(adi.config.vport);
        if dp.create_adi(&adi.config).is_err() {
            // Its owner had removed its address, and another port has it now.
            self.leave_group(id, dp)?;
            self.release_adi(id);
            return Err(Refusal::Taken);
        }
        let queues = QueueSet::of_adi(&self.profile, adi.config.first_pair, counts);
        adi.vport = Vport {
            enabled: false,
            link_event: false,
            queues,
            adi: adi.vport.adi,
        };
        adi.suspended = false;
        // The data plane's ended with the ADI.
        adi.log = None;
        self.regroup(id, dp);
        Ok(())
    }

    /// Destroys an ADI: its queues first, then the ADI itself.
    fn end_adi(&mut self, id: AdiId, dp: &mut impl DataPlane) -> Result<(), Refusal> {
        self.leave_group(id, dp)?;
        let adi = self.adis.get_mut(id).ok_or(Refusal::NoSuchVport)?;
        adi.vport.queues.remove_all(dp);
        dp.destroy_adi(adi.config.vport);
        self.release_adi(id);
        Ok(())
    }

    /// Frees the resources of an ADI that the data plane has already destroyed.
    fn release_adi(&mut self, id: AdiId) {
        let slot = self.adis.slots.get_mut(id.index());
        let Some(adi) = slot.and_then(Option::take) else {
            return;
        };
        self.adis.pasids.remove(&adi.config.pasid);
        self.adis.ids.free(id.0.into(), 1);
        let pairs = u32::from(adi.config.pairs);
        self.adis.pairs.free(adi.config.first_pair, pairs);
    }
}

/// The first page of an ADI's frame, and the number of pages.
fn frame(config: &AdiConfig) -> (u32, u32) {
    let pages = u32::from(config.pairs) * PAGES_PER_PAIR;
    (config.first_pair * PAGES_PER_PAIR, pages)
}
