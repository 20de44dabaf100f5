// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Saves and restores what the control plane has assigned and configured.

use std::collections::BTreeSet;

use adit_uapi::virtchnl2::cap::other;
use adit_uapi::virtchnl2::rss::DEFAULT_HASH_EXPANDED;
use adit_uapi::virtchnl2::{FlowRule, RULE_ID_NONE};
use zerocopy::{FromBytes, IntoBytes};

use super::adi::Adis;
use super::filters::MAX_ADDRESSES;
use super::queue_config::{check, references};
use super::queue_set::{QueueSet, Single, Slot, State};
use super::queues::ITR_INDEXES;
use super::vectors::Vectors;
use super::vport::Vport;
use super::{flow_rules, Control, Profile, Refusal};
use crate::dataplane::{AddressTaken, DataPlane, QueueError, QueueId, QueueKind};
use crate::ids::{VectorId, VectorMapping, VportId};
use crate::snapshot::{
    ControlSnapshot, FlowRuleSnapshot, Hex, InterruptSnapshot, QueueSnapshot, RestoreError,
    VportSnapshot,
};
use crate::vport::{FlowAction, VportConfig, MAX_FLOWS, RSS_LUT_LEN};

/// The order in which queues are configured and enabled: those that others refer to first.
const ORDER: [QueueKind; 4] = [
    QueueKind::TxCompletion,
    QueueKind::RxBuffer,
    QueueKind::Tx,
    QueueKind::Rx,
];

/// The control plane's part of a saved state that is possible.
struct Checked {
    vectors: Vectors,
    vports: Vec<Option<Vport>>,
    adis: Option<Adis>,
}

/// Bounds of a saved virtual port.
pub(super) struct Limits<'a> {
    pub(super) profile: &'a Profile,
    /// The maximum number of addresses.
    pub(super) addresses: usize,
    /// The maximum number of RX queues that RSS selects.
    pub(super) rx_queues: u16,
    /// Set if the look-up table of RSS can be absent.
    pub(super) has_default_table: bool,
    /// Returns whether queues can be mapped to a vector.
    pub(super) has_vector: &'a dyn Fn(u16) -> bool,
}

impl Control {
    /// Saves the state, of which the data plane has a part.
    #[must_use]
    pub fn save(&self, dp: &impl DataPlane) -> ControlSnapshot {
        let vports = (0..).zip(&self.vports);
        let vports = vports.filter_map(|(id, vport)| Some((id, vport.as_ref()?)));
        ControlSnapshot {
            vectors: self.vectors.all_allocated().collect(),
            vports: vports
                .map(|(id, vport)| save_vport(id, vport, dp.vport(VportId(id))))
                .collect(),
            adis: self.save_adis(dp).map(Box::new),
        }
    }

    /// Replaces the state by a saved one; the data plane is in the state after a reset, and is set
    /// up accordingly. Counters are kept.
    ///
    /// # Errors
    /// When the saved state is impossible; nothing has changed then. When the data plane does not do
    /// what it requires; then it has to be reset.
    pub fn restore(
        &mut self,
        saved: &ControlSnapshot,
        dp: &mut impl DataPlane,
    ) -> Result<(), RestoreError> {
        let Checked {
            vectors,
            vports,
            adis,
        } = self.checked(saved)?;
        // Before the function's own virtual ports, which may have addresses of ADIs, but not the reverse.
        match (&saved.adis, adis) {
            (Some(saved), Some(adis)) => {
                self.adis = adis;
                self.apply_adis(saved, dp)?;
            }
            _ => self.adis.clear(),
        }
        for vport in &saved.vports {
            apply_own(vport, &self.profile, dp)?;
        }
        self.vports = vports;
        self.vectors = vectors;
        Ok(())
    }

    /// Checks a saved state, without changing anything.
    ///
    /// # Errors
    /// When it is impossible.
    pub fn check_saved(&self, saved: &ControlSnapshot) -> Result<(), RestoreError> {
        self.checked(saved).map(drop)
    }

    /// The vectors, virtual ports and ADIs of a saved state.
    fn checked(&self, saved: &ControlSnapshot) -> Result<Checked, RestoreError> {
        let vectors = self.check_vectors(&saved.vectors)?;
        let mut vports: Vec<Option<Vport>> = (0..self.profile.vports()).map(|_| None).collect();
        for (n, vport) in saved.vports.iter().enumerate() {
            let at = format!("control.vports[{n}]");
            let checked = check_own(&at, vport, &self.profile, &vectors)?;
            match vports.get_mut(vport.id as usize) {
                Some(place @ None) => *place = Some(checked),
                _ => {
                    let most = self.profile.vports() - 1;
                    let problem = format!("{}: ids are from 0 to {most}, each once", vport.id);
                    return Err(RestoreError::invalid(format!("{at}.id"), problem));
                }
            }
        }
        let adis = saved.adis.as_deref();
        let adis = adis.map(|adis| self.checked_adis(adis, &vectors));
        Ok(Checked {
            adis: adis.transpose()?,
            vectors,
            vports,
        })
    }

    fn check_vectors(&self, saved: &[u16]) -> Result<Vectors, RestoreError> {
        let mut vectors = Vectors::new(self.profile.vectors());
        for &vector in saved {
            let possible = usize::from(vector) < vectors.count();
            if vector == 0 || !possible || vectors.allocated(vector) {
                let last = vectors.count() - 1;
                let problem = format!("{vector}: vectors are from 1 to {last}, each once");
                return Err(RestoreError::invalid("control.vectors", problem));
            }
            vectors.allocate(vector);
        }
        Ok(vectors)
    }
}

pub(super) fn save_vport(id: u32, vport: &Vport, config: &VportConfig) -> VportSnapshot {
    let VportConfig {
        enabled: _,
        loopback,
        unicast_promiscuous,
        multicast_promiscuous,
        addresses,
        rx_queues: _,
        rss_lut,
        rules,
        ..
    } = config;
    let sorted: BTreeSet<_> = addresses.iter().copied().collect();
    let queue = |(queue, slot): (QueueId, &Slot)| QueueSnapshot {
        kind: queue.kind,
        index: queue.index,
        vector: slot.vector.map(|vector| InterruptSnapshot {
            vector,
            itr: slot.itr,
        }),
        config: slot.config,
        enabled: slot.state == State::Enabled,
    };
    let rule = |(&id, rule): (&u32, &FlowRule)| FlowRuleSnapshot {
        id,
        rule: Hex(rule.as_bytes().to_vec()),
    };
    VportSnapshot {
        id,
        enabled: vport.enabled,
        link_event: vport.link_event,
        single_tx: vport.queues.single.tx,
        single_rx: vport.queues.single.rx,
        queues: vport.queues.slots().map(queue).collect(),
        addresses: sorted.into_iter().map(Hex).collect(),
        unicast_promiscuous: *unicast_promiscuous,
        multicast_promiscuous: *multicast_promiscuous,
        loopback: *loopback,
        rss_key: Hex(*config.rss_key()),
        rss_lut: rss_lut.to_vec(),
        rss_hash: config.rss_hash(),
        rules: rules.iter().map(rule).collect(),
    }
}

/// Checks the state of a virtual port of the function itself, and makes the control plane's part of it.
fn check_own(
    at: &str,
    saved: &VportSnapshot,
    profile: &Profile,
    vectors: &Vectors,
) -> Result<Vport, RestoreError> {
    let invalid =
        |field: &str, problem: String| Err(RestoreError::invalid(format!("{at}.{field}"), problem));
    let Some(index) = u16::try_from(saved.id)
        .ok()
        .filter(|&id| id < profile.vports())
    else {
        let most = profile.vports() - 1;
        return invalid("id", format!("{}: ids are from 0 to {most}", saved.id));
    };
    let mut queues = QueueSet::new(profile, index);
    queues.single = Single {
        tx: saved.single_tx,
        rx: saved.single_rx,
    };
    if (queues.single.tx || queues.single.rx) && profile.layout().frames().is_some() {
        return invalid("single_tx", "the queues of ADIs are split queues".into());
    }
    let limits = Limits {
        profile,
        addresses: MAX_ADDRESSES,
        rx_queues: profile.queues(QueueKind::Rx),
        has_default_table: false,
        has_vector: &|vector| vectors.allocated(vector),
    };
    check_vport(at, saved, queues, &limits)
}

/// Checks the state of a virtual port whose queues are among `queues`, all of which are free, and makes
/// the control plane's part of it.
pub(super) fn check_vport(
    at: &str,
    saved: &VportSnapshot,
    mut queues: QueueSet,
    limits: &Limits<'_>,
) -> Result<Vport, RestoreError> {
    let profile = limits.profile;
    let invalid =
        |field: &str, problem: String| Err(RestoreError::invalid(format!("{at}.{field}"), problem));
    let mut last = None;
    for (n, queue) in saved.queues.iter().enumerate() {
        let id = QueueId {
            kind: queue.kind,
            index: queue.index,
        };
        let field = format!("queues[{n}]");
        if last >= Some(id) {
            return invalid(&field, format!("{id:?} is not after {last:?}"));
        }
        last = Some(id);
        let slot = check_queue(queue, &queues, limits);
        match slot {
            Ok(slot) => queues.put(id, slot),
            Err(problem) => return invalid(&field, format!("{id:?}: {problem}")),
        }
    }
    let (count, offered) = (saved.addresses.len(), profile.capabilities());
    if count > limits.addresses {
        let most = limits.addresses;
        return invalid("addresses", format!("{count}: at most {most}"));
    }
    if saved.addresses.iter().any(|address| address.0 == [0; 6]) {
        return invalid("addresses", "000000000000 is no address".into());
    }
    let promiscuous = saved.unicast_promiscuous || saved.multicast_promiscuous;
    if promiscuous && offered.other & other::PROMISC == 0 {
        return invalid(
            "unicast_promiscuous",
            "the function has no such mode".into(),
        );
    }
    if saved.loopback && offered.other & other::LOOPBACK == 0 {
        return invalid("loopback", "the function has no such mode".into());
    }
    // Entries for queues that were removed stay.
    let most = limits.rx_queues;
    let len = match limits.has_default_table && saved.rss_lut.is_empty() {
        true => 0,
        false => RSS_LUT_LEN,
    };
    if saved.rss_lut.len() != len || saved.rss_lut.iter().any(|&entry| entry >= most) {
        return invalid(
            "rss_lut",
            format!("it has {RSS_LUT_LEN} entries below {most}"),
        );
    }
    if saved.rss_hash & !DEFAULT_HASH_EXPANDED != 0 {
        let problem = format!("{:#x}: bits of {DEFAULT_HASH_EXPANDED:#x}", saved.rss_hash);
        return invalid("rss_hash", problem);
    }
    if let Err((n, problem)) = check_rules(&saved.rules, profile) {
        return invalid(&format!("rules[{n}]"), problem);
    }
    Ok(Vport {
        enabled: saved.enabled,
        link_event: saved.link_event,
        queues,
        adi: None,
    })
}

/// Checks the flow rules of a virtual port; returns the number of one that is impossible, and its problem.
fn check_rules(saved: &[FlowRuleSnapshot], profile: &Profile) -> Result<(), (usize, String)> {
    let mut last = None;
    for (n, one) in saved.iter().enumerate() {
        let problem = if !profile.capabilities().flow_steering() {
            "the function has no flow rules".into()
        } else if n >= MAX_FLOWS {
            format!("there are {}: at most {MAX_FLOWS}", saved.len())
        } else if one.id == RULE_ID_NONE || last >= Some(one.id) {
            format!("id {} is none, or not after {last:?}", one.id)
        } else if let Err(problem) = rule_of(one, profile) {
            problem
        } else {
            last = Some(one.id);
            continue;
        };
        return Err((n, problem));
    }
    Ok(())
}

/// The rule and its action, or what is wrong with it. Its queue may have been removed after it was added.
fn rule_of(saved: &FlowRuleSnapshot, profile: &Profile) -> Result<(FlowRule, FlowAction), String> {
    let rule = FlowRule::read_from_bytes(&saved.rule.0).map_err(|_| {
        let (given, len) = (saved.rule.0.len(), size_of::<FlowRule>());
        format!("a rule of {given} bytes: it has {len}")
    })?;
    let action = flow_rules::checked(&rule, profile.queues(QueueKind::Rx).into());
    let action = action.map_err(|status| format!("it would be refused with status {status}"))?;
    Ok((rule, action))
}

/// Checks the state of a queue of a virtual port; returns its slot, or the problem.
fn check_queue(
    saved: &QueueSnapshot,
    queues: &QueueSet,
    limits: &Limits<'_>,
) -> Result<Slot, String> {
    let id = QueueId {
        kind: saved.kind,
        index: saved.index,
    };
    if !queues.owns(id) {
        return Err("the virtual port has no such queue".into());
    }
    if let Some(InterruptSnapshot { vector, itr }) = saved.vector {
        if !matches!(id.kind, QueueKind::Tx | QueueKind::Rx) {
            return Err("only TX and RX queues have a vector".into());
        }
        if !(limits.has_vector)(vector) {
            return Err(format!("vector {vector} is not allocated"));
        }
        if itr >= ITR_INDEXES {
            return Err(format!("interval {itr}: there are {ITR_INDEXES}, from 0"));
        }
    }
    if let Some(config) = &saved.config {
        if config.kind() != id.kind {
            return Err(format!("it has the configuration of {:?}", config.kind()));
        }
        let single = match id.kind {
            QueueKind::Tx | QueueKind::TxCompletion => queues.single.tx,
            QueueKind::Rx | QueueKind::RxBuffer => queues.single.rx,
        };
        if config.is_single() != (single && matches!(id.kind, QueueKind::Tx | QueueKind::Rx)) {
            return Err("it has the configuration of the other queue model".into());
        }
        check(config, &queues.offered).map_err(|refusal| format!("{config:?}: {refusal}"))?;
        // A queue that it refers to may have been removed after it was configured.
        let foreign = |queue: &QueueId| !queues.owns(*queue);
        if let Some(other) = references(config).into_iter().flatten().find(foreign) {
            return Err(format!(
                "it refers to {other:?}, which the virtual port does not have"
            ));
        }
    }
    Ok(Slot {
        state: match (saved.config, saved.enabled) {
            (None, true) => return Err("it is enabled and not configured".into()),
            (None, false) => State::Allocated,
            (Some(_), false) => State::Configured,
            (Some(_), true) => State::Enabled,
        },
        vector: saved.vector.map(|interrupt| interrupt.vector),
        itr: saved.vector.map_or(0, |interrupt| interrupt.itr),
        config: saved.config,
    })
}

/// Sets up a virtual port of the function itself in the data plane.
fn apply_own(
    saved: &VportSnapshot,
    profile: &Profile,
    dp: &mut impl DataPlane,
) -> Result<(), RestoreError> {
    let id = VportId(saved.id);
    let mac = profile.mac(saved.id as u16); // checked
    let of_kind = |kind| saved.queues.iter().filter(move |queue| queue.kind == kind);
    let indexes = |kind| of_kind(kind).map(|queue| queue.index).collect::<Vec<_>>();
    Step::of(id, dp).run("the virtual port", |dp| {
        dp.create_vport(id, mac, indexes(QueueKind::Rx));
        dp.set_tx_queues(id, &indexes(QueueKind::Tx));
    })?;
    apply(saved, profile, VectorId::from, dp)
}

/// Sets up a virtual port that exists in the data plane, whose vectors have numbers there.
pub(super) fn apply(
    saved: &VportSnapshot,
    profile: &Profile,
    number: impl Fn(u16) -> VectorId,
    dp: &mut impl DataPlane,
) -> Result<(), RestoreError> {
    let id = VportId(saved.id);
    let mut step = Step::of(id, dp);
    let of_kind = |kind| saved.queues.iter().filter(move |queue| queue.kind == kind);
    for queue in ORDER.into_iter().flat_map(of_kind) {
        if let Some(config) = queue.config {
            step.queue("configuring", queue, |dp| {
                dp.configure(id, queue.index, config)
            })?;
        }
        if let Some(InterruptSnapshot { vector, itr }) = queue.vector {
            let vector = number(vector);
            step.queue("mapping to a vector", queue, |dp| {
                dp.map_vector(id_of(queue), Some(VectorMapping { vector, itr }));
                Ok(())
            })?;
        }
    }
    let current = step.dp.vport(id);
    let (key, hash) = (*current.rss_key(), current.rss_hash());
    if key != saved.rss_key.0 {
        step.run("the RSS key", |dp| dp.set_rss_key(id, saved.rss_key.0))?;
    }
    if hash != saved.rss_hash {
        step.run("the types of RSS", |dp| dp.set_rss_hash(id, saved.rss_hash))?;
    }
    let table = &saved.rss_lut;
    if !table.is_empty() && step.dp.vport(id).rss_lut[..] != table[..] {
        step.run("the RSS table", |dp| dp.set_rss_lut(id, 0, table))?;
    }
    let wanted: BTreeSet<_> = saved.addresses.iter().map(|address| address.0).collect();
    let current: BTreeSet<_> = step.dp.vport(id).addresses.iter().copied().collect();
    for &address in current.difference(&wanted) {
        step.run("removing an address", |dp| dp.remove_address(id, address))?;
    }
    for &address in wanted.difference(&current) {
        let mut added = Ok(false);
        step.run("adding an address", |dp| {
            added = dp.add_address(id, address);
        })?;
        added.map_err(|AddressTaken| step.refused("adding an address", Refusal::Taken))?;
    }
    if saved.unicast_promiscuous || saved.multicast_promiscuous {
        let (unicast, multicast) = (saved.unicast_promiscuous, saved.multicast_promiscuous);
        step.run("the promiscuous modes", |dp| {
            dp.set_promiscuous(id, unicast, multicast);
        })?;
    }
    if saved.loopback {
        step.run("the loopback", |dp| dp.set_loopback(id, true))?;
    }
    for saved in &saved.rules {
        let what = format!("adding flow rule {}", saved.id);
        let Ok((rule, action)) = rule_of(saved, profile) else {
            return Err(step.refused(&what, Refusal::BadField)); // checked
        };
        let mut added = Ok(());
        step.run(&what, |dp| {
            added = dp.add_flow_rule(id, saved.id, &rule, action);
        })?;
        added.map_err(|_| step.refused(&what, Refusal::DataPlane))?;
    }
    for queue in ORDER.into_iter().flat_map(of_kind).filter(|q| q.enabled) {
        step.queue("enabling", queue, |dp| dp.enable(id_of(queue)))?;
    }
    if saved.enabled {
        step.run("enabling", |dp| dp.set_enabled(id, true))?;
    }
    Ok(())
}

fn id_of(queue: &QueueSnapshot) -> QueueId {
    QueueId {
        kind: queue.kind,
        index: queue.index,
    }
}

/// Calls of the data plane for one virtual port, each of which can be refused.
pub(super) struct Step<'a, D> {
    vport: VportId,
    dp: &'a mut D,
}

impl<'a, D: DataPlane> Step<'a, D> {
    pub(super) fn of(vport: VportId, dp: &'a mut D) -> Self {
        Self { vport, dp }
    }

    pub(super) fn run(
        &mut self,
        what: &str,
        call: impl FnOnce(&mut D),
    ) -> Result<(), RestoreError> {
        call(self.dp);
        match self.dp.take_refusal() {
            None => Ok(()),
            Some(refusal) => Err(self.refused(what, refusal)),
        }
    }

    fn queue(
        &mut self,
        what: &str,
        queue: &QueueSnapshot,
        call: impl FnOnce(&mut D) -> Result<(), QueueError>,
    ) -> Result<(), RestoreError> {
        let result = call(self.dp);
        // The data plane's own reason is the better one.
        let refusal = match (self.dp.take_refusal(), result) {
            (Some(refusal), _) => refusal,
            (None, Err(_)) => Refusal::DataPlane,
            (None, Ok(())) => return Ok(()),
        };
        Err(self.refused(&format!("{what} {:?}", id_of(queue)), refusal))
    }

    pub(super) fn refused(&self, what: &str, refusal: Refusal) -> RestoreError {
        RestoreError::DataPlane {
            what: format!("virtual port {}: {what}", self.vport.0),
            refusal,
        }
    }
}
