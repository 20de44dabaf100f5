// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The entry point of the control plane's fuzz target, and the invariants that it checks.

use std::collections::BTreeMap;

use adit_uapi::mailbox::MAX_BUF_LEN;
use adit_uapi::virtchnl2::adi::{op as adi_op, GROUP_VECTOR};
use adit_uapi::virtchnl2::op;

use super::filters::MAX_ADDRESSES;
use super::mock::MockDataPlane;
use super::queue_set::{State, KINDS};
use super::vport::Vport;
use super::{AdiLimits, Control, Profile};
use crate::dataplane::{DataPlane, QueueId, QueueKind};
use crate::ids::{VectorId, VportId};
use crate::memory::GuestMemory;

/// Runs the requests that `data` encodes: two bytes of opcode (counted from 500; values after the
/// last opcode stand for a link change, a reset, an ADI request, or VERSION), two bytes of length,
/// and the payload. A panic is a bug.
pub fn fuzz_control(data: &[u8]) {
    let Ok(profile) = Profile::new(vec![[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]], 2) else {
        return;
    };
    let adis = AdiLimits { adis: 3, pairs: 5 };
    let Ok(profile) = profile.with_adis(adis) else {
        return;
    };
    let new = || MockDataPlane::new(&profile, GuestMemory::new());
    let mut dp = new();
    let mut control = Control::new(profile.clone());
    let mut reply = Vec::new();
    let mut rest = data;
    while let Some((&[opcode, more, low, high], after)) = rest.split_first_chunk() {
        let len = usize::from(u16::from_le_bytes([low, high])) % (MAX_BUF_LEN + 1);
        let (payload, after) = after.split_at(len.min(after.len()));
        rest = after;
        match opcode {
            0..=60 => {
                let opcode = op::GET_CAPS + u32::from(opcode);
                control.handle(opcode, payload, &mut dp, &mut reply);
            }
            61..=63 => control.link_changed(VportId(u32::from(more))),
            64 => {
                dp.reset();
                control.reset();
            }
            65..=79 => {
                let opcode = adi_op::GET_ADI_CAPS + u32::from(opcode - 65);
                control.handle(opcode, payload, &mut dp, &mut reply);
            }
            _ => {
                control.handle(u32::from(opcode % 3), payload, &mut dp, &mut reply);
            }
        }
        assert!(
            reply.len() <= MAX_BUF_LEN,
            "a reply of {} bytes",
            reply.len()
        );
        control.check(&mut dp);
        if more & 1 != 0 {
            let events = std::iter::from_fn(|| control.take_event(&dp)).count();
            assert!(events <= control.vports.len());
        }
    }
    // Whatever a driver has done, its state is one that can be restored.
    let saved = control.save(&dp);
    let (mut again, mut dp) = (Control::new(profile.clone()), new());
    if let Err(error) = again.restore(&saved, &mut dp) {
        panic!("a state that was saved: {error}");
    }
    again.check(&mut dp);
    assert_eq!(again.save(&dp), saved);
}

impl Control {
    /// Panics unless the state of both planes agrees.
    pub(crate) fn check(&mut self, dp: &mut MockDataPlane) {
        let own = u32::from(self.profile.vports());
        let ids: Vec<u32> = self.adis.iter_mut().map(|(id, _)| id).collect();
        // The vectors of each ADI's group, in their order in it.
        let of_groups: BTreeMap<u32, Vec<VectorId>> = ids
            .into_iter()
            .map(|id| {
                let vector = |n| self.vector_of_group(VportId(own + id), GROUP_VECTOR | n);
                (own + id, (0..).map_while(vector).collect())
            })
            .collect();
        let (mut running, mut mapped, mut set_up) = (0, 0, 0);
        let mut vports: Vec<(u32, &mut Vport)> = Vec::new();
        for (id, vport) in (0..).zip(&mut self.vports) {
            let forwarding = dp.vport(VportId(id));
            let Some(vport) = vport else {
                assert!(!forwarding.enabled && forwarding.rx_queues.is_empty());
                continue;
            };
            assert_eq!(forwarding.enabled, vport.enabled);
            assert_eq!(forwarding.rx_queues, vport.queues.allocated(QueueKind::Rx));
            assert!(forwarding.addresses.len() <= MAX_ADDRESSES);
            vports.push((id, vport));
        }
        assert_eq!(self.adis.iter_mut().count(), dp.adis.len());
        let rx_queues = self.adis.rx_queues();
        for (id, adi) in self.adis.iter_mut() {
            let config = &dp.adis[&VportId(own + id)];
            assert_eq!(*config, adi.config);
            let forwarding = dp.vport(VportId(own + id));
            assert_eq!(forwarding.enabled, adi.vport.enabled);
            assert_eq!(forwarding.rx_queues, rx_queues[&id]);
            assert!(!(adi.vport.enabled && adi.group.is_member()));
            assert_eq!(dp.suspended.contains(&VportId(own + id)), adi.suspended);
            assert!(!forwarding.unicast_promiscuous);
            vports.push((own + id, &mut adi.vport));
        }
        for (id, vport) in vports {
            let adi = vport.adi;
            let of_group = of_groups.get(&id).map_or(&[][..], Vec::as_slice);
            for kind in KINDS {
                for index in vport.queues.allocated(kind) {
                    let queue = QueueId { kind, index };
                    let Ok(slot) = vport.queues.slot(queue) else {
                        unreachable!()
                    };
                    let configured = dp.queues.get(&queue);
                    assert_eq!(
                        configured.is_some(),
                        slot.state >= State::Configured,
                        "{queue:?}"
                    );
                    assert_eq!(
                        configured.is_some_and(|q| q.enabled),
                        slot.state == State::Enabled
                    );
                    assert!(configured.is_none_or(|q| q.vport == VportId(id)));
                    let vector = dp.vectors.get(&queue).map(|mapping| mapping.vector);
                    let device = |v: u16| match adi {
                        Some(_) if v & GROUP_VECTOR != 0 => {
                            of_group[usize::from(v & !GROUP_VECTOR)]
                        }
                        Some(adi) => adi.first_vector.nth(v),
                        None => VectorId::from(v),
                    };
                    assert_eq!(vector, slot.vector.map(device), "{queue:?}");
                    assert!(slot.vector.is_none_or(|v| match adi {
                        Some(adi) => v & GROUP_VECTOR != 0 || v < adi.vectors,
                        None => self.vectors.allocated(v),
                    }));
                    running += usize::from(slot.state == State::Enabled);
                    set_up += usize::from(slot.state >= State::Configured);
                    mapped += usize::from(slot.vector.is_some());
                }
            }
        }
        assert_eq!(running, dp.queues.values().filter(|q| q.enabled).count());
        assert_eq!((set_up, mapped), (dp.queues.len(), dp.vectors.len()));
    }
}
