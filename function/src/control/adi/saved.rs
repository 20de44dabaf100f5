// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Saves and restores ADIs.

use adit_uapi::virtchnl2::adi::{GROUP_VECTOR, VLAN_MAX};

use super::super::filters::MAX_ADI_ADDRESSES;
use super::super::queue_set::{Counts, QueueSet};
use super::super::snapshot::{apply, check_vport, save_vport, Limits, Step};
use super::super::vectors::Vectors;
use super::super::vport::AdiResources;
use super::super::{Control, Profile, Refusal};
use super::{group, max_pairs, pairs, Adi, Adis, CAUSE_RINGS, MAX_GROUP, MAX_PAIRS};
use crate::dataplane::{AdiConfig, DataPlane, QueueKind};
use crate::ids::{AdiId, VectorId, VportId};
use crate::pasid::Pasid;
use crate::snapshot::{AdiSnapshot, AdisSnapshot, Hex, RestoreError, VportSnapshot};

impl Control {
    /// Saves the ADIs; `None` if none has existed and no cause ring is configured.
    pub(in super::super) fn save_adis(&self, dp: &impl DataPlane) -> Option<AdisSnapshot> {
        let adis = self.adis.slots.iter().flatten();
        let saved = AdisSnapshot {
            next: self.adis.ids.next(),
            rings: self.adis.rings.clone(),
            list: adis.map(|adi| save(adi, dp)).collect(),
        };
        let is_used = saved.next != 0 || !saved.rings.is_empty() || !saved.list.is_empty();
        is_used.then_some(saved)
    }

    /// Checks saved ADIs of a function whose driver has these vectors, and makes the control plane's part
    /// of them.
    ///
    /// # Errors
    /// When they are impossible.
    pub(in super::super) fn checked_adis(
        &self,
        saved: &AdisSnapshot,
        vectors: &Vectors,
    ) -> Result<Adis, RestoreError> {
        let invalid = |field: &str, problem: String| {
            Err(RestoreError::invalid(
                format!("control.adis{field}"),
                problem,
            ))
        };
        if self.profile.adis() == 0 {
            return invalid("", "the function has no ADIs".into());
        }
        let mut adis = Adis::new(&self.profile);
        let limit = adis.ids.limit();
        if saved.next > limit {
            return invalid(".next", format!("{}: at most {limit}", saved.next));
        }
        adis.ids.continue_at(saved.next);
        for (&ring, &vector) in &saved.rings {
            if ring >= CAUSE_RINGS {
                let problem = format!("ring {ring}: there are {CAUSE_RINGS}, from 0");
                return invalid(".rings", problem);
            }
            if !vectors.allocated(vector) {
                let problem = format!("ring {ring}: vector {vector} is not allocated");
                return invalid(".rings", problem);
            }
        }
        adis.rings.clone_from(&saved.rings);
        for (n, one) in saved.list.iter().enumerate() {
            let (field, problem) = match adis.add_saved(n, one, &self.profile)? {
                Ok(()) => continue,
                Err(problem) => problem,
            };
            return invalid(&format!(".list[{n}].{field}"), problem);
        }
        for (n, one) in saved.list.iter().enumerate() {
            if let Err(problem) = adis.add_saved_group(one) {
                return invalid(&format!(".list[{n}].members"), problem);
            }
        }
        for (n, one) in saved.list.iter().enumerate() {
            if let Some(vector) = adis.lacking_vector(one) {
                let problem = format!("vector {vector:#x}: the ADI's group does not have it");
                return invalid(&format!(".list[{n}].vport.queues"), problem);
            }
        }
        Ok(adis)
    }

    /// Sets up ADIs in the data plane, which are those of a saved state.
    ///
    /// # Errors
    /// When the data plane does not do it.
    pub(in super::super) fn apply_adis(
        &self,
        saved: &AdisSnapshot,
        dp: &mut impl DataPlane,
    ) -> Result<(), RestoreError> {
        // An ADI that has given its own address up comes before those that may have it now.
        let has_own = |one: &&AdiSnapshot| one.vport.addresses.contains(&one.mac);
        let (with, without): (Vec<_>, Vec<_>) = saved.list.iter().partition(has_own);
        for one in without {
            let vport = self.create_saved(one, dp)?;
            Step::of(vport, dp).run("removing its own address", |dp| {
                dp.remove_address(vport, one.mac.0);
            })?;
        }
        for one in with {
            self.create_saved(one, dp)?;
        }
        let first = u32::from(self.profile.vectors());
        for one in &saved.list {
            let vport = VportId(one.vport.id);
            // Before its queues run.
            if one.suspended {
                Step::of(vport, dp).run("suspending", |dp| dp.set_suspended(vport, true))?;
            }
            let first = VectorId(first + one.first_pair);
            let number = |vector| {
                let of_group = self.adis.vector_of_group(AdiId(one.id), vector);
                // A vector of a group has been checked.
                let of_group = of_group.filter(|_| vector & GROUP_VECTOR != 0);
                of_group.unwrap_or_else(|| first.nth(vector))
            };
            apply(&one.vport, &self.profile, number, dp)?;
        }
        let own = u32::from(self.profile.vports());
        for leader in saved.list.iter().filter(|one| !one.members.is_empty()) {
            let members = leader
                .members
                .iter()
                .map(|&id| VportId(own + u32::from(id)));
            let (vport, members) = (VportId(leader.vport.id), members.collect::<Vec<_>>());
            Step::of(vport, dp).run("the group", |dp| dp.set_group(vport, &members))?;
        }
        Ok(())
    }

    /// Creates a saved ADI, which the control plane has already, in the data plane; returns its virtual
    /// port.
    fn create_saved(
        &self,
        saved: &AdiSnapshot,
        dp: &mut impl DataPlane,
    ) -> Result<VportId, RestoreError> {
        let vport = VportId(saved.vport.id);
        let adi = self.adis.slots.get(usize::from(saved.id));
        let created = match adi {
            Some(Some(adi)) => dp.create_adi(&adi.config).map_err(|_| Refusal::Taken),
            _ => Err(Refusal::NoSuchVport), // it has been added
        };
        let mut step = Step::of(vport, dp);
        created.map_err(|refusal| step.refused("creating the ADI", refusal))?;
        step.run("creating the ADI", |_| ())?;
        Ok(vport)
    }
}

fn save(adi: &Adi, dp: &impl DataPlane) -> AdiSnapshot {
    let config = &adi.config;
    let mut vport = save_vport(config.vport.0, &adi.vport, dp.vport(config.vport));
    // There may be ten thousand.
    if is_spread(&vport.rss_lut, config.rx_queues) {
        vport.rss_lut.clear();
    }
    AdiSnapshot {
        id: config.adi.0,
        pasid: config.pasid.get(),
        port: config.port.0 as u16, // below MAX_VPORTS
        vlan: config.vlan,
        mac: Hex(config.mac),
        first_pair: config.first_pair,
        vectors: adi.vport.adi.map_or(0, |adi| adi.vectors),
        ring: config.ring,
        suspended: adi.suspended,
        members: adi.group.members.iter().map(|id| id.0).collect(),
        vport,
    }
}

/// Returns whether a look-up table is that of a new virtual port with so many RX queues.
fn is_spread(table: &[u16], rx_queues: u16) -> bool {
    let mut entries = (0..).zip(table);
    entries.all(|(at, &entry): (usize, _)| at % usize::from(rx_queues.max(1)) == usize::from(entry))
}

/// A field of a saved ADI, and what is wrong with it.
type Wrong = (&'static str, String);

impl Adis {
    /// Adds the saved ADI number `n` of a list; returns the field that is impossible.
    ///
    /// # Errors
    /// When its virtual port is.
    fn add_saved(
        &mut self,
        n: usize,
        saved: &AdiSnapshot,
        profile: &Profile,
    ) -> Result<Result<(), Wrong>, RestoreError> {
        let (config, counts) = match self.place(saved, profile) {
            Ok(placed) => placed,
            Err(wrong) => return Ok(Err(wrong)),
        };
        let limits = Limits {
            profile,
            addresses: MAX_ADI_ADDRESSES,
            rx_queues: MAX_GROUP * MAX_PAIRS,
            has_default_table: true,
            // Those of its group are checked when there are groups.
            has_vector: &|vector| vector & GROUP_VECTOR != 0 || vector < saved.vectors,
        };
        let queues = QueueSet::of_adi(profile, config.first_pair, counts);
        let at = format!("control.adis.list[{n}].vport");
        let vport = check_vport(&at, &saved.vport, queues, &limits)?;
        let resources = AdiResources {
            pasid: config.pasid.get(),
            vectors: saved.vectors,
            first_vector: VectorId(u32::from(profile.vectors()) + config.first_pair),
        };
        let at = usize::from(saved.id);
        if self.slots.len() <= at {
            self.slots.resize_with(at + 1, || None);
        }
        self.slots[at] = Some(Box::new(Adi {
            config,
            vport: super::Vport {
                adi: Some(resources),
                ..vport
            },
            suspended: saved.suspended,
            // Its owner notices, and starts another.
            log: None,
            group: group::Membership::default(),
        }));
        Ok(Ok(()))
    }

    /// Allocates the resources of a saved ADI; returns its configuration and the numbers of its queues.
    fn place(
        &mut self,
        saved: &AdiSnapshot,
        profile: &Profile,
    ) -> Result<(AdiConfig, Counts), Wrong> {
        let wrong = |field, problem: String| Err((field, problem));
        let Some(pasid) = Pasid::new(saved.pasid) else {
            return wrong("pasid", format!("{}: 20 bits, and not 0", saved.pasid));
        };
        if saved.port >= profile.vports() {
            let most = profile.vports() - 1;
            return wrong(
                "port",
                format!("{}: ports are from 0 to {most}", saved.port),
            );
        }
        if saved.vlan > VLAN_MAX {
            return wrong("vlan", format!("{}: at most {VLAN_MAX}", saved.vlan));
        }
        if saved.ring >= CAUSE_RINGS {
            let problem = format!("{}: there are {CAUSE_RINGS}, from 0", saved.ring);
            return wrong("ring", problem);
        }
        if saved.mac.0[0] & 1 != 0 || saved.mac.0 == [0; 6] {
            return wrong("mac", "it is no unicast address".into());
        }
        let id = u32::from(saved.id);
        let vport = VportId(u32::from(profile.vports()) + id);
        if saved.vport.id != vport.0 {
            let problem = format!("{}: that of the ADI is {}", saved.vport.id, vport.0);
            return wrong("vport.id", problem);
        }
        check_vport_of_adi(&saved.vport)?;
        let counts = counts(&saved.vport);
        let pairs = pairs(&counts, saved.vectors);
        let most = max_pairs(profile);
        if !(1..=most).contains(&pairs) {
            let problem = format!(
                "{} queues and {} vectors take {pairs} queue pairs: an ADI has 1 to {most}",
                saved.vport.queues.len(),
                saved.vectors
            );
            return wrong("vport.queues", problem);
        }
        if self.ids.allocate_at(id, 1).is_err() {
            let most = self.ids.limit() - 1;
            let problem = format!("{id}: ids are from 0 to {most}, each once");
            return wrong("id", problem);
        }
        let first_pair = saved.first_pair;
        if self.pairs.allocate_at(first_pair, pairs.into()).is_err() {
            let problem = format!(
                "{pairs} queue pairs from {first_pair} on: there are {}, each of one ADI",
                self.pairs.limit()
            );
            return wrong("first_pair", problem);
        }
        let adi = AdiId(saved.id);
        if self.pasids.insert(pasid, adi).is_some() {
            return wrong("pasid", format!("{}: each is of one ADI", saved.pasid));
        }
        let config = AdiConfig {
            vport,
            adi,
            pasid,
            port: VportId(saved.port.into()),
            vlan: saved.vlan,
            mac: saved.mac.0,
            first_pair,
            pairs,
            rx_queues: counts.rx,
            ring: saved.ring,
        };
        Ok((config, counts))
    }

    /// The vector that a queue of a saved ADI is mapped to, and its group does not have.
    fn lacking_vector(&self, saved: &AdiSnapshot) -> Option<u16> {
        let queues = saved.vport.queues.iter();
        let mut vectors = queues.filter_map(|queue| Some(queue.vector.as_ref()?.vector));
        vectors.find(|&vector| {
            let of_group = || self.vector_of_group(AdiId(saved.id), vector);
            vector & GROUP_VECTOR != 0 && of_group().is_none()
        })
    }

    /// Makes ADIs that have been added the members of a saved one that leads them; returns what is
    /// impossible.
    fn add_saved_group(&mut self, saved: &AdiSnapshot) -> Result<(), String> {
        let (id, members) = (AdiId(saved.id), &saved.members);
        if members.len() >= usize::from(MAX_GROUP) {
            let most = MAX_GROUP - 1;
            return Err(format!("there are {}: at most {most}", members.len()));
        }
        let place = |adi: &Adi| (adi.config.port, adi.config.vlan, adi.suspended);
        let leader = self.get(id).map_err(|refusal| refusal.to_string())?;
        let place_of_leader = place(leader);
        if !members.is_empty() && leader.group.leader.is_some() {
            return Err("the leader is a member of another group".into());
        }
        for &member in members {
            let member = AdiId(member);
            let Some(adi) = self.get_mut(member).filter(|_| member != id) else {
                return Err(format!("{}: there is no such ADI", member.0));
            };
            let problem = if adi.group.leader.is_some() || !adi.group.members.is_empty() {
                "it has another group"
            } else if place(adi) != place_of_leader {
                "its port, its VLAN or its suspension is not the leader's"
            } else if adi.vport.enabled {
                "a member is not enabled"
            } else {
                adi.group.leader = Some(id);
                continue;
            };
            return Err(format!("{}: {problem}", member.0));
        }
        if let Some(leader) = self.get_mut(id) {
            leader.group.members = members.iter().map(|&id| AdiId(id)).collect();
        }
        Ok(())
    }
}

/// Checks that a saved virtual port has nothing that those of ADIs do not have.
fn check_vport_of_adi(saved: &VportSnapshot) -> Result<(), Wrong> {
    let flags = [
        ("vport.single_tx", saved.single_tx),
        ("vport.single_rx", saved.single_rx),
        ("vport.link_event", saved.link_event),
        ("vport.unicast_promiscuous", saved.unicast_promiscuous),
        ("vport.loopback", saved.loopback),
        ("vport.rules", !saved.rules.is_empty()),
    ];
    match flags.into_iter().find(|(_, set)| *set) {
        Some((field, _)) => Err((field, "an ADI has none".into())),
        None => Ok(()),
    }
}

/// The numbers of queues in a saved virtual port.
fn counts(saved: &VportSnapshot) -> Counts {
    let count = |kind| {
        let queues = saved.queues.iter().filter(|queue| queue.kind == kind);
        u16::try_from(queues.count()).unwrap_or(u16::MAX)
    };
    Counts {
        tx: count(QueueKind::Tx),
        tx_completion: count(QueueKind::TxCompletion),
        rx: count(QueueKind::Rx),
        rx_buffer: count(QueueKind::RxBuffer),
    }
}
