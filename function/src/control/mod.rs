// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The virtchnl2 control plane: assigns virtual ports, queues, vectors and filters.
//!
//! It is a pure state machine. A request comes in as an opcode and bytes, is validated as a whole,
//! and only then changes state here or in the data plane: a refused request changes nothing, unless
//! it is the data plane that could not apply it. Every reply repeats the request's payload unless the standard defines one for it, because drivers read
//! it from there when a request fails (Linux, for MAC filters).
//!
//! Each family of messages has a file, which adds its handlers to [`Control`]; the state that they
//! work on is in files that do not refer to it (`queue_set`, `profile`, `id_allocator`).

mod adi;
mod capabilities;
mod caps;
mod filters;
mod flow_rules;
#[cfg(any(test, feature = "testing"))]
mod fuzz;
mod id_allocator;
#[cfg(any(test, feature = "testing"))]
pub mod mock;
mod profile;
pub mod ptype;
mod queue_config;
mod queue_set;
mod queues;
mod refusal;
mod rss;
mod snapshot;
mod stats;
mod vectors;
mod vport;
mod wire;

#[cfg(test)]
mod tests;

use adit_uapi::mailbox::MAX_BUF_LEN;
use adit_uapi::virtchnl2::adi::op as adi_op;
use adit_uapi::virtchnl2::{event_code, op, status, Event, VersionInfo};
use adit_uapi::virtchnl2::{VERSION_MAJOR_2, VERSION_MINOR_0};
use zerocopy::little_endian::U32;
use zerocopy::IntoBytes;

use crate::dataplane::DataPlane;
use crate::ids::{AdiId, VportId};
use crate::pasid::Readiness;

pub use adi::{MAX_ADI_LOG_PAGES, MAX_GROUP};
pub use capabilities::Capabilities;
#[cfg(any(test, feature = "testing"))]
pub use fuzz::fuzz_control;
pub use profile::{AdiLimits, Profile, ProfileError, MAX_FRAME_LEN, MAX_QUEUES, MAX_VPORTS};
pub use queue_config::MAX_RING_LEN;
pub use refusal::Refusal;

use adi::Adis;
use vectors::Vectors;
use vport::Vport;

/// Counters of the control plane since the process started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ControlCounters {
    /// Requests handled, including refused ones.
    pub requests: u64,
    /// Events delivered to the driver.
    pub events: u64,
    refused: [u64; Refusal::ALL.len()],
}

impl ControlCounters {
    /// Requests refused, by reason.
    pub fn refused(&self) -> impl Iterator<Item = (Refusal, u64)> + '_ {
        Refusal::ALL.into_iter().zip(self.refused)
    }
}

/// The control plane of one function.
#[derive(Debug)]
pub struct Control {
    profile: Profile,
    /// Indexed by vport id, which is the index that the driver requests.
    vports: Vec<Option<Vport>>,
    vectors: Vectors,
    /// ADIs; their vports follow the others.
    adis: Adis,
    counters: ControlCounters,
}

impl Control {
    /// The control plane after a reset.
    #[must_use]
    pub fn new(profile: Profile) -> Self {
        let vports = (0..profile.vports()).map(|_| None).collect();
        let vectors = Vectors::new(profile.vectors());
        let adis = Adis::new(&profile);
        Self {
            profile,
            vports,
            vectors,
            adis,
            counters: ControlCounters::default(),
        }
    }

    /// The resources of the function.
    #[must_use]
    pub fn profile(&self) -> &Profile {
        &self.profile
    }

    /// Replaces the resources, and frees all that were assigned: a [`reset`](Self::reset).
    pub fn set_profile(&mut self, profile: Profile) {
        *self = Self {
            counters: self.counters,
            ..Self::new(profile)
        };
    }

    /// The counters since the process started.
    #[must_use]
    pub fn counters(&self) -> &ControlCounters {
        &self.counters
    }

    /// Handles one request: returns the status (virtchnl2 `v_retval`) and writes the payload to
    /// `reply`. Events that the request caused must be delivered before the reply:
    /// [`take_event`](Self::take_event).
    pub fn handle(
        &mut self,
        v_opcode: u32,
        payload: &[u8],
        dp: &mut impl DataPlane,
        reply: &mut Vec<u8>,
    ) -> u32 {
        self.counters.requests += 1;
        reply.clear();
        let result = self.dispatch(v_opcode, payload, dp, reply);
        let result = match dp.take_refusal() {
            Some(refusal) => Err(refusal),
            None => result,
        };
        if result.is_err() || reply.is_empty() {
            reply.clear();
            reply.extend_from_slice(&payload[..payload.len().min(MAX_BUF_LEN)]);
        }
        let status = match result {
            Ok(()) => status::SUCCESS,
            Err(refusal) => {
                let name = op::name(v_opcode).or(adi_op::name(v_opcode));
                let name = name.unwrap_or("unknown");
                tracing::debug!(v_opcode, name, %refusal, "request refused");
                self.counters.refused[refusal as usize] += 1;
                refusal.status()
            }
        };
        dp.answered(v_opcode, payload.len(), status);
        status
    }

    /// The next event for the driver, if any. Of several changes of a link only the last is
    /// reported, and only to an enabled vport.
    pub fn take_event(&mut self, dp: &impl DataPlane) -> Option<Event> {
        let mut vports = (0..).zip(&mut self.vports);
        let (id, vport) = vports.find_map(|(id, vport)| {
            vport
                .as_mut()
                .filter(|v| v.enabled && v.link_event)
                .map(|v| (id, v))
        })?;
        vport.link_event = false;
        self.counters.events += 1;
        let (up, speed) = dp.link(VportId(id));
        Some(Event {
            event: U32::new(event_code::LINK_CHANGE),
            link_speed: U32::new(speed),
            vport_id: U32::new(id),
            link_status: up.into(),
            ..Event::default()
        })
    }

    /// Notes that the link of a vport went up or down.
    pub fn link_changed(&mut self, vport: VportId) {
        if let Some(Some(vport)) = self.vports.get_mut(vport.index()) {
            vport.link_event = true;
        }
    }

    /// Frees all resources. The owner of the data plane has to reset that before.
    pub fn reset(&mut self) {
        self.vports.fill_with(|| None);
        self.vectors = Vectors::new(self.profile.vectors());
        self.adis.clear();
    }

    /// Returns whether a request is for a reset of the function, which is not answered: RESET_VF,
    /// of the driver of a VF.
    #[must_use]
    pub fn is_reset(&self, v_opcode: u32) -> bool {
        v_opcode == op::RESET_VF && self.profile.layout().is_vf()
    }

    /// Returns whether a request must wait, because a lookup of the IOMMU's tables is pending or the
    /// data plane limits their rate.
    pub fn must_wait(&self, v_opcode: u32, dp: &mut impl DataPlane) -> bool {
        let without_tables = v_opcode == op::NON_FLEX_CREATE_ADI
            && self.profile.adis() > 0
            && dp.find_tables() == Readiness::Pending;
        without_tables || !dp.admits()
    }

    fn dispatch(
        &mut self,
        v_opcode: u32,
        payload: &[u8],
        dp: &mut impl DataPlane,
        reply: &mut Vec<u8>,
    ) -> Result<(), Refusal> {
        let permitted = self.profile.capabilities().permits(v_opcode);
        if !permitted || (self.profile.adis() == 0 && is_of_adis(v_opcode)) {
            return Err(Refusal::NotOffered);
        }
        match v_opcode {
            op::VERSION => version(payload, reply),
            op::GET_CAPS => self.get_caps(payload, reply),
            op::CREATE_VPORT => self.create_vport(payload, dp, reply),
            op::DESTROY_VPORT => self.destroy_vport(payload, dp),
            op::ENABLE_VPORT => self.enable_vport(payload, dp, true),
            op::DISABLE_VPORT => self.enable_vport(payload, dp, false),
            op::CONFIG_TX_QUEUES => self.config_tx_queues(payload, dp),
            op::CONFIG_RX_QUEUES => self.config_rx_queues(payload, dp),
            op::ENABLE_QUEUES => self.enable_queues(payload, dp),
            op::DISABLE_QUEUES => self.disable_queues(payload, dp),
            op::ADD_QUEUES => self.add_queues(payload, dp, reply),
            op::DEL_QUEUES => self.del_queues(payload, dp),
            op::MAP_QUEUE_VECTOR => self.map_queue_vector(payload, dp, true),
            op::UNMAP_QUEUE_VECTOR => self.map_queue_vector(payload, dp, false),
            op::GET_RSS_KEY => self.get_rss_key(payload, dp, reply),
            op::SET_RSS_KEY => self.set_rss_key(payload, dp),
            op::GET_RSS_LUT => self.get_rss_lut(payload, dp, reply),
            op::SET_RSS_LUT => self.set_rss_lut(payload, dp),
            op::GET_RSS_HASH => self.get_rss_hash(payload, dp, reply),
            op::SET_RSS_HASH => self.set_rss_hash(payload, dp),
            op::SET_SRIOV_VFS => caps::set_sriov_vfs(payload),
            op::ALLOC_VECTORS => self.alloc_vectors(payload, reply),
            op::DEALLOC_VECTORS => self.dealloc_vectors(payload, dp),
            op::GET_STATS => self.get_stats(payload, dp, reply),
            op::GET_PTYPE_INFO => ptype::get_ptype_info(payload, reply),
            op::NON_FLEX_CREATE_ADI => self.create_adi(payload, dp, reply),
            op::NON_FLEX_DESTROY_ADI => self.destroy_adi(payload, dp),
            adi_op::GET_ADI_CAPS => self.get_adi_caps(reply),
            adi_op::CONFIG_ADI_CAUSE_RING => self.config_adi_cause_ring(payload, dp),
            adi_op::GET_ADI_FAULT => self.get_adi_fault(payload, dp, reply),
            adi_op::RESET_ADI => self.reset_adi(payload, dp),
            adi_op::CONFIG_ADI_DOORBELLS => self.config_adi_doorbells(payload, dp),
            adi_op::SUSPEND_ADI => self.suspend_adi(payload, dp, true),
            adi_op::RESUME_ADI => self.suspend_adi(payload, dp, false),
            adi_op::GET_ADI_QUEUE_STATE => self.get_adi_queue_state(payload, dp, reply),
            adi_op::SET_ADI_QUEUE_STATE => self.set_adi_queue_state(payload, dp),
            adi_op::GET_ADI_VECTOR_STATE => self.get_adi_vector_state(payload, dp, reply),
            adi_op::SET_ADI_VECTOR_STATE => self.set_adi_vector_state(payload, dp),
            adi_op::SET_ADI_GROUP => self.set_adi_group(payload, dp),
            adi_op::START_ADI_LOG => self.start_adi_log(payload, dp, reply),
            adi_op::STOP_ADI_LOG => self.stop_adi_log(payload, dp),
            adi_op::READ_ADI_LOG => self.read_adi_log(payload, reply),
            op::LOOPBACK => self.loopback(payload, dp),
            op::ADD_MAC_ADDR => self.change_mac_addrs(payload, dp, true),
            op::DEL_MAC_ADDR => self.change_mac_addrs(payload, dp, false),
            op::CONFIG_PROMISCUOUS_MODE => self.config_promiscuous_mode(payload, dp),
            op::ADD_FLOW_RULE => self.add_flow_rules(payload, dp, reply),
            op::GET_FLOW_RULE => self.get_flow_rules(payload, dp, reply),
            op::DEL_FLOW_RULE => self.del_flow_rules(payload, dp, reply),
            _ => Err(Refusal::NotOffered),
        }
    }

    /// The vport with that id: an ADI's or one of the function's own.
    fn vport(&mut self, id: VportId) -> Result<&mut Vport, Refusal> {
        match id.0.checked_sub(u32::from(self.profile.vports())) {
            None => self.own_vport(id),
            Some(adi) => u16::try_from(adi)
                .ok()
                .and_then(|adi| self.adis.get_mut(AdiId(adi)))
                .map(|adi| &mut adi.vport)
                .ok_or(Refusal::NoSuchVport),
        }
    }

    /// The vport with that id, unless it is an ADI's.
    fn own_vport(&mut self, id: VportId) -> Result<&mut Vport, Refusal> {
        self.vports
            .get_mut(id.index())
            .and_then(Option::as_mut)
            .ok_or(Refusal::NoSuchVport)
    }
}

/// Returns whether an opcode is only for ADIs.
fn is_of_adis(v_opcode: u32) -> bool {
    let published = matches!(v_opcode, op::NON_FLEX_CREATE_ADI | op::NON_FLEX_DESTROY_ADI);
    published || adi_op::name(v_opcode).is_some()
}

/// Handles VERSION, which is never refused for its content: the driver decides whether it can
/// continue.
fn version(payload: &[u8], reply: &mut Vec<u8>) -> Result<(), Refusal> {
    let (_, _) = wire::header::<VersionInfo>(payload)?;
    let ours = VersionInfo {
        major: U32::new(VERSION_MAJOR_2),
        minor: U32::new(VERSION_MINOR_0),
    };
    reply.extend_from_slice(ours.as_bytes());
    Ok(())
}
