// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Virtual ports: create, enable, disable, destroy.

use adit_uapi::desc::ids::{rxdid_m, txdid};
use adit_uapi::virtchnl2::Vport as VportName;
use adit_uapi::virtchnl2::{rss, vport_type, CreateVport, QueueRegChunks};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::IntoBytes;

use super::queue_config::is_single;
use super::queue_set::{Counts, QueueSet, Single};
use super::{flow_rules, wire, Control, Refusal};
use crate::dataplane::{DataPlane, QueueKind};
use crate::ids::{VectorId, VportId};
use crate::vport::{RSS_KEY_LEN, RSS_LUT_LEN};

/// The control plane's state of a vport.
#[derive(Debug)]
pub(super) struct Vport {
    /// Set from ENABLE_VPORT to DISABLE_VPORT.
    pub(super) enabled: bool,
    /// Set if the driver must be notified of the link.
    pub(super) link_event: bool,
    pub(super) queues: QueueSet,
    /// Set for the vport of an ADI.
    pub(super) adi: Option<AdiResources>,
}

/// The resources of the ADI that a vport belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AdiResources {
    /// Its PASID.
    pub(super) pasid: u32,
    /// The number of its vectors.
    pub(super) vectors: u16,
    /// The data plane's number of the first vector.
    pub(super) first_vector: VectorId,
}

impl Control {
    pub(super) fn create_vport(
        &mut self,
        payload: &[u8],
        dp: &mut impl DataPlane,
        reply: &mut Vec<u8>,
    ) -> Result<(), Refusal> {
        let (request, _) = wire::header::<CreateVport>(payload)?;
        if request.vport_type.get() != vport_type::DEFAULT {
            return Err(Refusal::BadField);
        }
        // The id is the index: Linux uses one for the other (idpf_mac_filter_async_handler).
        let index = request.vport_index.get();
        let place = self
            .vports
            .get_mut(usize::from(index))
            .ok_or(Refusal::OutOfRange)?;
        if place.is_some() {
            return Err(Refusal::VportExists);
        }
        let mut queues = QueueSet::new(&self.profile, index);
        queues.single = single(request)?;
        // The queues of ADIs are split queues.
        if (queues.single.tx || queues.single.rx) && self.profile.layout().frames().is_some() {
            return Err(Refusal::NotOffered);
        }
        let chunks = queues.allocate(self.counts(request, queues.single))?;
        let mac = self.profile.mac(index);
        let counts = queues.counts();
        let id = VportId(index.into());
        dp.create_vport(id, mac, queues.allocated(QueueKind::Rx));
        dp.set_tx_queues(id, &queues.allocated(QueueKind::Tx));
        let offered = *self.profile.capabilities();
        let flow_steering = offered.flow_steering();
        let (key_len, lut_len) = match offered.rss {
            0 => (0, 0),
            _ => (RSS_KEY_LEN, RSS_LUT_LEN),
        };
        let created = CreateVport {
            vport_type: U16::new(vport_type::DEFAULT),
            txq_model: request.txq_model,
            rxq_model: request.rxq_model,
            num_tx_q: U16::new(counts.tx),
            num_tx_complq: U16::new(counts.tx_completion),
            num_rx_q: U16::new(counts.rx),
            num_rx_bufq: U16::new(counts.rx_buffer),
            vport_index: request.vport_index,
            max_mtu: U16::new(self.profile.max_frame()),
            vport_id: U32::new(u32::from(index)),
            default_mac_addr: mac,
            vport_flags: U16::new(if flow_steering {
                flow_rules::VPORT_FLAGS
            } else {
                0
            }),
            rx_desc_ids: U64::new(rxdid_m::FLEX_SPLITQ),
            tx_desc_ids: U64::new(if queues.single.tx {
                txdid::DATA | txdid::CTX | txdid::FLEX_TSO_CTX | txdid::DESC_DONE
            } else {
                txdid::FLEX_TSO_CTX | txdid::FLEX_L2TAG1_L2TAG2 | txdid::FLEX_FLOW_SCHED
            }),
            sideband_flow_caps: U64::new(if flow_steering { flow_rules::FLOWS } else { 0 }),
            sideband_flow_actions: U32::new(if flow_steering {
                flow_rules::ACTIONS
            } else {
                0
            }),
            flow_steer_max_rules: U32::new(if flow_steering {
                flow_rules::MAX_RULES
            } else {
                0
            }),
            rss_algorithm: U32::new(rss::alg::TOEPLITZ_ASYMMETRIC),
            rss_key_size: U16::new(key_len as u16),
            rss_lut_size: U16::new(lut_len as u16),
            rx_split_pos: U32::new(offered.hsplit),
            chunks: QueueRegChunks {
                num_chunks: U16::new(chunks.len() as u16),
                ..QueueRegChunks::default()
            },
            ..CreateVport::default()
        };
        reply.extend_from_slice(created.as_bytes());
        reply.extend_from_slice(chunks.as_bytes());
        self.vports[usize::from(index)] = Some(Vport {
            enabled: false,
            link_event: false,
            queues,
            adi: None,
        });
        Ok(())
    }

    pub(super) fn destroy_vport(
        &mut self,
        payload: &[u8],
        dp: &mut impl DataPlane,
    ) -> Result<(), Refusal> {
        let id = VportId(wire::header::<VportName>(payload)?.0.vport_id.get());
        self.own_vport(id)?.queues.remove_all(dp);
        dp.destroy_vport(id);
        self.vports[id.index()] = None;
        Ok(())
    }

    /// Handles ENABLE_VPORT and DISABLE_VPORT. An enabled vport is notified of its link
    /// immediately, even if it was enabled before: Linux keeps its carrier off until then.
    pub(super) fn enable_vport(
        &mut self,
        payload: &[u8],
        dp: &mut impl DataPlane,
        enable: bool,
    ) -> Result<(), Refusal> {
        let id = VportId(wire::header::<VportName>(payload)?.0.vport_id.get());
        if enable && self.is_led(id) {
            return Err(Refusal::NotYours);
        }
        let vport = self.vport(id)?;
        vport.enabled = enable;
        // An ADI's link is that of its port.
        vport.link_event = enable && vport.adi.is_none();
        dp.set_enabled(id, enable);
        Ok(())
    }

    /// The number of queues for a new vport: those requested, up to the maximum.
    fn counts(&self, request: &CreateVport, single: Single) -> Counts {
        let most = |kind| self.profile.queues(kind);
        let split = |single: bool, count: U16| if single { 0 } else { count.get() };
        Counts {
            tx: request.num_tx_q.get().min(most(QueueKind::Tx)),
            tx_completion: split(single.tx, request.num_tx_complq)
                .min(most(QueueKind::TxCompletion)),
            rx: request.num_rx_q.get().min(most(QueueKind::Rx)),
            rx_buffer: split(single.rx, request.num_rx_bufq).min(most(QueueKind::RxBuffer)),
        }
    }
}

/// The queue models that a driver requests.
fn single(request: &CreateVport) -> Result<Single, Refusal> {
    Ok(Single {
        tx: is_single(request.txq_model)?,
        rx: is_single(request.rxq_model)?,
    })
}
