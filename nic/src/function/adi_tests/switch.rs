// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Delivery of frames: addresses, VLANs, groups, and frames that an ADI may not send.

use adit_pipeline::offload::FrameMeta;
use adit_uapi::virtchnl2::adi::{op as adi_op, ResetAdi};
use adit_uapi::virtchnl2::{MacAddr, MacAddrList};

use super::*;

const GROUP: [u8; 6] = [1, 0, 0x5E, 0, 0, 7];

fn tagged(vlan: u16, untagged: &[u8]) -> Vec<u8> {
    let [high, low] = vlan.to_be_bytes();
    let (addresses, rest) = untagged.split_at(12);
    [addresses, &[0x81, 0, high, low], rest].concat()
}

fn on_vlan(vlan: u16) -> CreateAdiExt {
    CreateAdiExt {
        vlan: U16::new(vlan),
        ..wanted(1)
    }
}

fn addresses(adi: &AdiDriver, macs: &[[u8; 6]]) -> Vec<u8> {
    let header = MacAddrList {
        vport_id: adi.vport(),
        num_mac_addr: U16::new(macs.len() as u16),
        ..MacAddrList::default()
    };
    let macs = macs.iter().map(|&addr| MacAddr {
        addr,
        type_: 2,
        ..MacAddr::default()
    });
    [header.as_bytes(), macs.collect::<Vec<_>>().as_bytes()].concat()
}

fn wire(guest: &Guest) -> Vec<Vec<u8>> {
    std::iter::from_fn(|| guest.far.recv())
        .map(|(frame, _)| frame)
        .collect()
}

#[test]
fn a_foreign_source_is_dropped_and_counted() {
    let (mut guest, mut a, mut b) = pair();
    for source in [b.mac(), STRANGER, PF_MAC, BROADCAST, [0; 6]] {
        a.send(&mut guest, &frame(b.mac(), source, 1));
        a.send(&mut guest, &frame(STRANGER, source, 1));
        guest.poll();
    }
    a.send(&mut guest, &tagged(5, &frame(STRANGER, a.mac(), 1)));
    a.send(&mut guest, &frame(STRANGER, a.mac(), 1)[..10]);
    guest.poll();
    assert!(wire(&guest).is_empty());
    assert_eq!(b.recv(&guest), None);
    assert_eq!(dropped(&guest, DropReason::Spoofed), (0, 10));
    assert_eq!(dropped(&guest, DropReason::Tagged), (0, 1));
    assert_eq!(dropped(&guest, DropReason::Runt), (0, 1));
    let done = std::iter::from_fn(|| a.completion(&guest)).count();
    assert_eq!(done, 12, "each is reported as done");
    // An additional address of its own is accepted.
    let more = [2, 0, 0, 0, 5, 5];
    guest.ok(op::ADD_MAC_ADDR, &addresses(&a, &[more]));
    let taken = guest.call(op::ADD_MAC_ADDR, &addresses(&b, &[more])).0;
    assert_eq!(taken, status::ERR_EEXIST);
    a.send(&mut guest, &frame(b.mac(), more, 1));
    b.send(&mut guest, &frame(more, b.mac(), 2));
    guest.poll();
    assert!(b.recv(&guest).is_some() && a.recv(&guest).is_some());
    guest.ok(op::DEL_MAC_ADDR, &addresses(&a, &[more]));
    b.send(&mut guest, &frame(more, b.mac(), 3));
    guest.poll();
    assert_eq!((wire(&guest).len(), a.recv(&guest)), (1, None));
}

#[test]
fn an_adi_whose_address_another_has_ends_when_it_is_reset() {
    let (mut guest, a, mut b) = pair();
    guest.ok(op::DEL_MAC_ADDR, &addresses(&a, &[a.mac()]));
    guest.ok(op::ADD_MAC_ADDR, &addresses(&b, &[a.mac()]));
    let reset = ResetAdi {
        adi_id: a.created.adi.adi_id,
        ..ResetAdi::default()
    };
    let refused = guest.call(adi_op::RESET_ADI, reset.as_bytes()).0;
    assert_eq!(refused, status::ERR_EEXIST);
    assert_eq!(guest.function.datapath().adi_totals().adis, 1);
    let sent = frame(a.mac(), STRANGER, 1);
    guest.far.send(&sent, FrameMeta::default());
    guest.poll();
    assert_eq!(b.recv(&guest), Some(sent));
}

#[test]
fn groups_get_copies_and_the_sender_does_not() {
    let (mut guest, mut a, mut b) = pair();
    let mut c = AdiDriver::new(&mut guest, 300, &wanted(1));
    c.post(&mut guest, 16);
    let sent = frame(BROADCAST, a.mac(), 1);
    a.send(&mut guest, &sent);
    guest.poll();
    assert_eq!(wire(&guest), std::slice::from_ref(&sent));
    assert_eq!(b.recv(&guest), Some(sent.clone()));
    assert_eq!(c.recv(&guest), Some(sent));
    assert_eq!(a.recv(&guest), None);
    let from_wire = frame(BROADCAST, STRANGER, 2);
    guest.far.send(&from_wire, FrameMeta::default());
    guest.poll();
    for adi in [&mut a, &mut b, &mut c] {
        assert_eq!(adi.recv(&guest), Some(from_wire.clone()));
    }
    // Only ports that have the group address receive its frames.
    guest.ok(op::ADD_MAC_ADDR, &addresses(&b, &[GROUP]));
    guest.ok(op::ADD_MAC_ADDR, &addresses(&a, &[GROUP]));
    let group = frame(GROUP, c.mac(), 3);
    c.send(&mut guest, &group);
    guest.poll();
    assert_eq!(b.recv(&guest), Some(group.clone()));
    assert_eq!(a.recv(&guest), Some(group.clone()));
    assert_eq!(wire(&guest), [group]);
    let totals = guest.function.datapath().adi_totals();
    assert_eq!((totals.floods.copied, totals.floods.dropped), (3, 0));
    assert_eq!(totals.frames.rx_broadcast, 5);
    // A disabled port is no member.
    let name = [b.vport().as_bytes(), &[0; 4]].concat();
    guest.ok(op::DISABLE_VPORT, &name);
    guest.far.send(&from_wire, FrameMeta::default());
    guest.poll();
    assert_eq!(b.recv(&guest), None);
    assert_eq!(dropped(&guest, DropReason::PortDisabled), (0, 0));
}

#[test]
fn vlans_keep_apart_and_adis_see_no_tags() {
    let mut guest = Guest::new(8, 8);
    let vlans = [5, 5, 6, 0];
    let mut adis: Vec<_> = (1..)
        .zip(vlans)
        .map(|(pasid, vlan)| {
            let mut adi = AdiDriver::new(&mut guest, pasid, &on_vlan(vlan));
            adi.post(&mut guest, 16);
            adi
        })
        .collect();
    let macs: Vec<_> = adis.iter().map(AdiDriver::mac).collect();
    let sent = frame(macs[1], macs[0], 1);
    adis[0].send(&mut guest, &sent);
    guest.poll();
    assert_eq!(adis[1].recv(&guest), Some(sent));
    assert!(wire(&guest).is_empty());
    // On another VLAN the address is unknown: the frame goes to the wire, with the tag.
    let sent = frame(macs[2], macs[0], 2);
    adis[0].send(&mut guest, &sent);
    guest.poll();
    assert_eq!(adis[2].recv(&guest), None);
    assert_eq!(wire(&guest), [tagged(5, &sent)]);
    let sent = frame(BROADCAST, macs[0], 3);
    adis[0].send(&mut guest, &sent);
    guest.poll();
    let got: Vec<_> = adis.iter_mut().map(|adi| adi.recv(&guest)).collect();
    assert_eq!(got, [None, Some(sent.clone()), None, None]);
    assert_eq!(wire(&guest), [tagged(5, &sent)]);
    for (adi, vlan) in adis.iter_mut().zip(vlans) {
        let back = frame(adi.mac(), STRANGER, 4);
        for other in [0, 5, 6, 7] {
            let seen = match other {
                0 => back.clone(),
                other => tagged(other, &back),
            };
            guest.far.send(&seen, FrameMeta::default());
            guest.poll();
            let got = adi.recv(&guest);
            assert_eq!(got, (other == vlan).then(|| back.clone()), "{vlan} {other}");
        }
    }
    // The same address may exist on two VLANs.
    let twin = CreateAdiExt {
        mac: macs[0],
        ..on_vlan(6)
    };
    assert!(guest.create(9, &twin).is_ok());
    assert_eq!(
        guest.create(10, &twin).map(|a| a.id()),
        Err(status::ERR_EEXIST)
    );
}

#[test]
fn the_pf_is_one_of_them() {
    let (mut guest, mut a, _) = pair();
    a.send(&mut guest, &frame(PF_MAC, a.mac(), 1));
    guest.poll();
    assert!(wire(&guest).is_empty());
    let drops = *guest.function.datapath().drops(VportId(0)).unwrap();
    assert_eq!(
        drops.rx.get(DropReason::QueueDisabled),
        1,
        "it came as far as that"
    );
}

#[test]
fn a_wire_that_is_full_makes_only_its_own_frames_wait() {
    let (mut guest, mut a, mut b) = pair();
    guest.far.set_room(Some(0));
    let out = frame(STRANGER, a.mac(), 1);
    a.send(&mut guest, &out);
    let inside = frame(a.mac(), b.mac(), 2);
    b.send(&mut guest, &inside);
    guest.poll();
    assert_eq!(a.recv(&guest), Some(inside));
    assert_eq!(a.completion(&guest), None);
    let group = frame(BROADCAST, b.mac(), 3);
    b.send(&mut guest, &group);
    guest.poll();
    assert_eq!(a.recv(&guest), None, "with the wire, or not at all");
    guest.far.set_room(None);
    guest.poll();
    guest.poll();
    assert_eq!(a.completion(&guest), Some(0));
    assert_eq!(a.recv(&guest), Some(group.clone()));
    assert_eq!(a.recv(&guest), None, "once");
    assert_eq!(wire(&guest), [out, group]);
}

#[test]
fn copies_are_made_a_bounded_number_at_a_time() {
    let mut guest = Guest::new(600, 600);
    let mut a = AdiDriver::new(&mut guest, 1, &wanted(1));
    let members: Vec<_> = (2..=600)
        .map(|pasid| {
            let created = guest.create(pasid, &wanted(1)).unwrap();
            let name = [created.ext.vport_id.as_bytes(), &[0; 4]].concat();
            guest.ok(op::ENABLE_VPORT, &name);
            created
        })
        .collect();
    assert_eq!(members.len(), 599);
    a.send(&mut guest, &frame(BROADCAST, a.mac(), 1));
    let mut made = Vec::new();
    for _ in 0..4 {
        guest.poll();
        // No member has running queues: each copy is dropped, and counted.
        made.push(dropped(&guest, DropReason::QueueDisabled).0);
    }
    assert_eq!(made, [255, 511, 599, 599], "the sender is passed over");
    for n in 0..30 {
        for _ in 0..3 {
            guest
                .far
                .send(&frame(BROADCAST, STRANGER, n), FrameMeta::default());
        }
        if n % 10 == 9 {
            guest.poll();
        }
    }
    for _ in 0..400 {
        guest.poll();
    }
    let floods = guest.function.datapath().adi_totals().floods;
    assert_eq!(floods.copied + floods.dropped, 91);
    assert!(floods.dropped > 0, "{floods:?}");
}

/// A program that gives every frame a flow id and leaves its destination to the switch.
const FLOW_ID: &str = r#"
    #include <adit.p4>
    struct H {} struct M {}
    parser P(packet_in pkt, out H h, inout M m, in pna_main_parser_input_metadata_t i) {
        state start { transition accept; }
    }
    control C(inout H h, inout M m, in pna_main_input_metadata_t i,
              inout pna_main_output_metadata_t o) {
        apply { set_flow_id((FlowId_t) 1); send_to_port(ADIT_PORT_SWITCH); }
    }
    control D(packet_out pkt, in H h, in M m, in pna_main_output_metadata_t o) { apply {} }
    PNA_NIC(P(), C(), D()) main;"#;

#[test]
fn a_broadcast_that_waits_for_its_wire_after_the_program_is_still_copied() {
    let (mut guest, mut a, mut b) = pair();
    let program = crate::program::Program::from_text("flow_id.p4", FLOW_ID).unwrap();
    assert!(!program.is_switch());
    guest.function.set_program(program);
    guest.far.set_room(Some(0));
    let sent = frame(BROADCAST, a.mac(), 1);
    a.send(&mut guest, &sent);
    guest.poll();
    assert_eq!((wire(&guest).len(), b.recv(&guest)), (0, None));
    guest.far.set_room(None);
    // The next packet of the queue finds the wire free for the one that waits.
    let next = frame(STRANGER, a.mac(), 2);
    a.send(&mut guest, &next);
    guest.poll();
    guest.poll();
    assert_eq!(wire(&guest), [sent.clone(), next]);
    assert_eq!(b.recv(&guest), Some(sent));
    assert_eq!((a.recv(&guest), b.recv(&guest)), (None, None));
}

#[test]
fn a_frame_that_waits_for_its_wire_ends_with_its_adi() {
    let (mut guest, mut a, _) = pair();
    let program = crate::program::Program::from_text("flow_id.p4", FLOW_ID).unwrap();
    guest.function.set_program(program);
    guest.far.set_room(Some(0));
    a.send(&mut guest, &frame(STRANGER, a.mac(), 1));
    guest.poll();
    assert_eq!(a.completion(&guest), Some(0), "its descriptor is done");
    guest.destroy(a.created.id());
    assert_eq!(dropped(&guest, DropReason::PortDisabled), (0, 1));
    guest.far.set_room(None);
    guest.poll();
    assert!(wire(&guest).is_empty());
}
