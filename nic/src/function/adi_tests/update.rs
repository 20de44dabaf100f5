// SPDX-License-Identifier: Apache-2.0 OR MIT
//! ADIs whose device is replaced by a successor, as an update does: their owners notice nothing.

use adit_uapi::regs::adi::ASLEEP_OFFSET;
use adit_uapi::virtchnl2::adi::{
    doorbell_flags, fault_flags, fault_reason, op as adi_op, AdiGroup, ConfigAdiDoorbells,
    SuspendAdi,
};
use adit_uapi::virtchnl2::{mac_addr_type, MacAddr, MacAddrList};
use serde_json::{json, Value};

use super::*;
use crate::awake::Drowsy;
use crate::function::{FunctionState, TakeOverError};
use crate::interrupts::SLEEP_AFTER_NS;
use crate::memory::Dma;
use crate::testing::adi::{IOVA, LEN, TX_DATA};
use crate::testing::guest::ADI_MEMORY;

/// Sends a frame to the wire, and checks that it arrives and completes.
fn sends(guest: &mut Guest, adi: &mut AdiDriver, n: u8) {
    let sent = frame(STRANGER, adi.mac(), n);
    adi.send(guest, &sent);
    guest.poll();
    assert_eq!(guest.far.recv().map(|(frame, _)| frame), Some(sent));
    assert!(adi.completion(guest).is_some());
}

/// Checks that a frame from the wire arrives.
fn receives(guest: &mut Guest, adi: &mut AdiDriver, n: u8) {
    let sent = frame(adi.mac(), STRANGER, n);
    guest.far.send(&sent, Default::default());
    guest.poll();
    assert_eq!(adi.recv(guest), Some(sent));
    adi.post(guest, 1);
}

/// The asleep words of a driver's TX queue and vector.
fn words(guest: &mut Guest, adi: &AdiDriver) -> [u32; 2] {
    let pages = [adi.tail(QueueKind::Tx), adi.dyn_ctl()];
    pages.map(|page| guest.read(page + ASLEEP_OFFSET))
}

/// The messages that add an address to an ADI and remove one.
fn address(adi: &AdiDriver, addr: [u8; 6]) -> Vec<u8> {
    let header = MacAddrList {
        vport_id: adi.vport(),
        num_mac_addr: U16::new(1),
        ..MacAddrList::default()
    };
    let entry = MacAddr {
        addr,
        type_: mac_addr_type::EXTRA,
        pad: 0,
    };
    [header.as_bytes(), entry.as_bytes()].concat()
}

#[test]
fn frames_pass_as_if_nothing_had_happened_and_are_counted_once() {
    let (mut guest, mut a, mut b) = pair();
    let interrupt = cause_reason::INTERRUPT;
    for n in 0..200 {
        b.arm(&mut guest);
        let sent = frame(b.mac(), a.mac(), n);
        a.send(&mut guest, &sent);
        // The doorbell has been rung, and has not been seen.
        if n % 7 == 3 {
            guest.update();
        }
        guest.poll();
        assert_eq!(b.recv(&guest), Some(sent), "frame {n}");
        assert_eq!(a.completion(&guest), Some(u16::from(n)));
        assert_eq!(guest.causes(), [(b.created.id(), 0, interrupt)]);
        b.post(&mut guest, 1);
        if n % 7 == 5 {
            guest.update();
        }
        receives(&mut guest, &mut a, n);
    }
    let totals = guest.function.datapath().adi_totals();
    assert_eq!((totals.adis, totals.frames.tx_unicast), (2, 200));
    assert_eq!(totals.frames.rx_unicast, 400);
    let ask = VportStats {
        vport_id: b.vport(),
        ..VportStats::default()
    };
    let stats = guest.ok(op::GET_STATS, ask.as_bytes());
    let stats = VportStats::read_from_bytes(&stats).unwrap();
    assert_eq!(stats.rx_unicast.get(), 200);
    assert_eq!(guest.function.counters().function_resets, 0);
}

#[test]
fn copies_that_are_not_made_yet_are_counted() {
    let (mut guest, mut a, mut b) = pair();
    for n in 0..2 {
        a.send(&mut guest, &frame(BROADCAST, a.mac(), n));
    }
    // One frame is copied in a turn.
    guest.function.poll(1, true);
    guest.update();
    guest.poll();
    assert!(b.recv(&guest).is_some() && b.recv(&guest).is_none());
    let floods = guest.function.datapath().adi_totals().floods;
    assert_eq!((floods.copied, floods.dropped), (1, 1));
}

#[test]
fn a_link_that_only_the_successor_has_seen_is_reported() {
    let (mut guest, ..) = pair();
    for up in [false, true, true] {
        // The predecessor has not looked at it since.
        guest.far.set_up(up);
        guest.update();
        let event = guest.event().expect("an event");
        assert_eq!(event.link_status, u8::from(up));
        assert_eq!(guest.event().map(|event| event.link_status), None);
    }
}

#[test]
fn idle_adis_are_polled_again_so_that_no_doorbell_is_lost() {
    let (mut guest, mut a, b) = pair();
    guest.idle(SLEEP_AFTER_NS);
    assert_eq!(words(&mut guest, &a), [1, 1]);
    guest.update();
    assert_eq!(words(&mut guest, &a), [0, 0], "no kick is needed");
    assert_eq!(words(&mut guest, &b), [0, 0]);
    sends(&mut guest, &mut a, 1);
    guest.idle(SLEEP_AFTER_NS);
    assert_eq!(words(&mut guest, &a), [1, 1]);
    assert!(a.arm(&mut guest), "a kick is needed");
    sends(&mut guest, &mut a, 2);
    assert!(guest.function.datapath().adi_totals().kicks > 0);
    let kicks = guest.function.datapath().adi_totals().kicks;
    guest.update();
    assert_eq!(guest.function.datapath().adi_totals().kicks, kicks);
}

#[test]
fn an_owner_reaches_its_own_memory_only_and_its_faults_are_kept() {
    let (mut guest, mut a, mut b) = pair();
    a.describe(&mut guest, IOVA + LEN, 64);
    a.ring_tx(&mut guest);
    guest.poll();
    guest.update();
    assert_eq!(guest.causes(), [(a.created.id(), 0, cause_reason::FAULT)]);
    let fault = a.fault(&mut guest, 0);
    assert_eq!(fault.reason.get(), fault_reason::NOT_MAPPED);
    assert_eq!((fault.address.get(), fault.count.get()), (IOVA + LEN, 1));
    assert_eq!(fault.queue_id.get(), a.queue(QueueKind::Tx));
    let totals = guest.function.datapath().adi_totals();
    assert_eq!(totals.faults[fault_reason::NOT_MAPPED as usize], 1);
    // The queue is still stopped.
    a.send(&mut guest, &frame(STRANGER, a.mac(), 1));
    guest.poll();
    assert!(guest.far.recv().is_none() && a.completion(&guest).is_none());
    sends(&mut guest, &mut b, 2);
    assert_eq!(a.fault(&mut guest, fault_flags::CLEAR).count.get(), 1);
    a.restart(&mut guest);
    a.post(&mut guest, 16);
    sends(&mut guest, &mut a, 3);
    // What is the neighbour's, by its physical address, is not reached in the successor either.
    let secret = b.physical + (TX_DATA - IOVA);
    a.describe(&mut guest, secret, 64);
    a.ring_tx(&mut guest);
    guest.poll();
    assert!(guest.far.recv().is_none());
    guest.update();
    let fault = a.fault(&mut guest, 0);
    assert_eq!((fault.address.get(), fault.count.get()), (secret, 2));
}

#[test]
fn causes_that_wait_are_reported_by_the_successor() {
    let (mut guest, mut a, mut b) = pair();
    // A cause without an armed vector.
    sends(&mut guest, &mut b, 1);
    guest.update();
    guest.poll();
    assert!(guest.causes().is_empty());
    b.arm(&mut guest);
    guest.poll();
    let interrupt = cause_reason::INTERRUPT;
    assert_eq!(guest.causes(), [(b.created.id(), 0, interrupt)]);
    // A ring that is full: of its 16 entries one is never used.
    for n in 0..15 {
        b.arm(&mut guest);
        sends(&mut guest, &mut b, n);
    }
    a.describe(&mut guest, IOVA + LEN, 64);
    a.ring_tx(&mut guest);
    guest.poll();
    guest.update();
    guest.poll();
    assert_eq!(guest.peek_causes().len(), 15);
    assert_eq!(guest.causes().len(), 15);
    guest.poll();
    assert_eq!(guest.causes(), [(a.created.id(), 0, cause_reason::FAULT)]);
}

#[test]
fn adis_without_kicks_and_suspended_ones_stay_so() {
    let (mut guest, mut a, mut b) = pair();
    let doorbells = ConfigAdiDoorbells {
        adi_id: U16::new(a.created.id()),
        flags: U16::new(doorbell_flags::NO_KICK),
    };
    guest.ok(adi_op::CONFIG_ADI_DOORBELLS, doorbells.as_bytes());
    let named = SuspendAdi {
        adi_id: U16::new(b.created.id()),
        ..SuspendAdi::default()
    };
    guest.ok(adi_op::SUSPEND_ADI, named.as_bytes());
    guest.update();
    guest.idle(SLEEP_AFTER_NS);
    assert_eq!(words(&mut guest, &a), [0, 0]);
    sends_quietly(&mut guest, &mut a);

    let sent = frame(STRANGER, b.mac(), 3);
    b.send(&mut guest, &sent);
    guest
        .far
        .send(&frame(b.mac(), STRANGER, 4), Default::default());
    guest.poll();
    assert!(guest.far.recv().is_none() && b.recv(&guest).is_none());
    assert_eq!(dropped(&guest, DropReason::Suspended), (1, 0));
    guest.update();
    guest.ok(adi_op::RESUME_ADI, named.as_bytes());
    guest.poll();
    assert_eq!(guest.far.recv().map(|(frame, _)| frame), Some(sent));
    assert_eq!(dropped(&guest, DropReason::Suspended), (1, 0));
}

/// Sends a frame to the wire without looking at the asleep word.
fn sends_quietly(guest: &mut Guest, adi: &mut AdiDriver) {
    let sent = frame(STRANGER, adi.mac(), 7);
    guest
        .memory()
        .write(adi.physical + (TX_DATA - IOVA), &sent)
        .unwrap();
    adi.describe(guest, TX_DATA, 64);
    guest.write(adi.tail(QueueKind::Tx), 1);
    guest.idle(Drowsy::INTERVAL_NS);
    guest.poll();
    assert_eq!(guest.far.recv().map(|(frame, _)| frame), Some(sent));
}

#[test]
fn filters_vlans_and_groups_are_those_from_before() {
    const GROUP: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];
    const EXTRA: [u8; 6] = [2, 0, 0, 0, 7, 7];
    let mut guest = Guest::new(8, 16);
    guest.create_vport();
    guest.cause_ring(16);
    let mut tagged = wanted(1);
    tagged.vlan = U16::new(5);
    let mut a = AdiDriver::new(&mut guest, 100, &tagged);
    let mut b = AdiDriver::new(&mut guest, 200, &wanted(1));
    a.post(&mut guest, 16);
    b.post(&mut guest, 16);
    for addr in [GROUP, EXTRA] {
        guest.ok(op::ADD_MAC_ADDR, &address(&b, addr));
    }
    guest.ok(op::DEL_MAC_ADDR, &address(&b, b.mac()));
    // The port has that address now, which the ADI does not get again.
    let mut of_pf = address(&b, b.mac());
    of_pf[..4].fill(0);
    guest.ok(op::ADD_MAC_ADDR, &of_pf);
    guest.update();

    a.send(&mut guest, &frame(STRANGER, a.mac(), 1));
    guest.poll();
    let sent = guest.far.recv().unwrap().0;
    assert_eq!(sent[12..16], [0x81, 0, 0, 5], "the device inserts the tag");
    for (to, arrives) in [
        (GROUP, true),
        (EXTRA, true),
        (BROADCAST, true),
        (b.mac(), false),
    ] {
        let sent = frame(to, STRANGER, 2);
        guest.far.send(&sent, Default::default());
        guest.poll();
        assert_eq!(b.recv(&guest), arrives.then_some(sent), "to {to:?}");
    }
    assert!(a.recv(&guest).is_none(), "the other VLAN");
    b.send(&mut guest, &frame(STRANGER, b.mac(), 3));
    guest.poll();
    assert_eq!(dropped(&guest, DropReason::Spoofed), (0, 1));
    let taken = guest.call(op::ADD_MAC_ADDR, &address(&b, b.mac())).0;
    assert_eq!(taken, status::ERR_EEXIST);
}

#[test]
fn a_group_is_one_virtual_port_of_the_successor() {
    let mut guest = Guest::new(4, 8);
    guest.create_vport();
    guest.cause_ring(16);
    let [leader, member] = [1, 2].map(|pasid| guest.create(pasid, &wanted(1)).unwrap());
    let header = AdiGroup {
        adi_id: U16::new(leader.id()),
        num_members: U16::new(1),
    };
    let list = [header.as_bytes(), U16::new(member.id()).as_bytes()].concat();
    guest.ok(adi_op::SET_ADI_GROUP, &list);
    let queues = |guest: &Guest| {
        let vport = VportId(leader.ext.vport_id.get());
        let datapath = guest.function.datapath();
        crate::dataplane::DataPlane::vport(datapath, vport)
            .rx_queues
            .clone()
    };
    let before = queues(&guest);
    assert_eq!(before.len(), 2);
    guest.update();
    assert_eq!(queues(&guest), before);
    let vport = |created: &crate::testing::guest::Created| adit_uapi::virtchnl2::Vport {
        vport_id: created.ext.vport_id,
        ..Default::default()
    };
    let member = guest.call(op::ENABLE_VPORT, vport(&member).as_bytes()).0;
    assert_eq!(
        member,
        status::ERR_EACCES,
        "a member has no virtual port of its own"
    );
    guest.ok(op::ENABLE_VPORT, vport(&leader).as_bytes());
}

#[test]
fn what_comes_and_goes_afterwards_is_as_before() {
    let (mut guest, mut a, mut b) = pair();
    let c = guest.create(300, &wanted(1)).unwrap();
    assert_eq!(guest.destroy(c.id()), status::SUCCESS);
    sends(&mut guest, &mut a, 1);
    assert_eq!(guest.destroy(a.created.id()), status::SUCCESS);
    guest.update();
    let totals = guest.function.datapath().adi_totals();
    assert_eq!(
        (totals.adis, totals.frames.tx_unicast),
        (1, 1),
        "of one that is gone"
    );
    // Neither a PASID nor an address is anybody's twice; ids are not used again soon.
    assert_eq!(
        guest.create(200, &wanted(1)).unwrap_err(),
        status::ERR_EEXIST
    );
    let d = AdiDriver::new(&mut guest, 300, &wanted(1));
    assert_eq!(d.created.id(), c.id() + 1);
    assert_eq!(guest.destroy(b.created.id()), status::SUCCESS);
    guest
        .far
        .send(&frame(b.mac(), STRANGER, 1), Default::default());
    guest.poll();
    assert!(b.recv(&guest).is_none());
}

#[test]
fn ten_thousand_adis_are_handed_over_at_once() {
    const MANY: u32 = 10_000;
    let mut guest = Guest::new(10_240, 16_384);
    guest.cause_ring(1024);
    for pasid in 1..=MANY {
        let created = guest.create(pasid, &wanted(1)).unwrap();
        AdiDriver::of(created, pasid, ADI_MEMORY).up(&mut guest);
    }
    let begun = std::time::Instant::now();
    let state = guest.function.save().unwrap();
    let bytes = serde_json::to_vec(&state).unwrap();
    let saved = begun.elapsed();
    let (mut next, pages) = guest.successor();
    let begun = std::time::Instant::now();
    let state: FunctionState = serde_json::from_slice(&bytes).unwrap();
    next.restore(&state, pages).unwrap();
    println!(
        "{} bytes; saved in {saved:?}, restored in {:?}",
        bytes.len(),
        begun.elapsed()
    );
    assert!(bytes.len() < 3_000 * MANY as usize, "{} bytes", bytes.len());
    guest.function = next;
    assert_eq!(guest.function.datapath().adi_totals().adis, MANY);
    assert_eq!(guest.function.datapath().adi_totals().awake_queues, MANY);
    guest.idle(SLEEP_AFTER_NS);
    assert_eq!(guest.function.datapath().adi_totals().awake_queues, 0);
}

/// Restores a changed state to a successor; returns the error.
fn refused(guest: &Guest, change: &dyn Fn(&mut Value)) -> String {
    let mut state = guest.state();
    change(&mut state);
    let state = match serde_json::from_value::<FunctionState>(state) {
        Ok(state) => state,
        Err(error) => return error.to_string(),
    };
    let (mut next, pages) = guest.successor();
    let error: TakeOverError = next.restore(&state, pages).unwrap_err();
    error.to_string()
}

#[test]
fn states_of_other_adis_are_refused_for_their_reason() {
    let (mut guest, mut a, _b) = pair();
    a.describe(&mut guest, IOVA + LEN, 64);
    a.ring_tx(&mut guest);
    guest.poll();
    fn adis(state: &mut Value) -> &mut Value {
        &mut state["data_plane"]["adis"]
    }
    type Change = fn(&mut Value);
    let cases: [(&str, Change); 13] = [
        ("data_plane.adis: it is missing: there are 2 ADIs", |s| {
            *adis(s) = Value::Null
        }),
        ("data_plane.adis: there are no ADIs", |s| {
            s["slow_path"]["control"]["adis"] = Value::Null;
            let queues = s["data_plane"]["queues"].as_array_mut().unwrap();
            queues.clear();
        }),
        ("data_plane.adis.tables: ADIs have tables", |s| {
            adis(s)["tables"] = Value::Null;
        }),
        ("data_plane.adis.tables: 0x1001 is not the address", |s| {
            adis(s)["tables"]["table"] = json!(0x1001);
        }),
        (
            "data_plane.adis.rings.1: the control plane has no ring",
            |s| {
                adis(s)["rings"]["1"] = adis(s)["rings"]["0"].clone();
            },
        ),
        (
            "data_plane.adis.rings.0: the control plane has no ring with vector 2",
            |s| {
                adis(s)["rings"]["0"]["config"]["vector"] = json!(2);
            },
        ),
        ("data_plane.adis.rings.0: 12 entries: a power of two", |s| {
            adis(s)["rings"]["0"]["config"]["len"] = json!(12);
        }),
        ("data_plane.adis.rings.0: entries at 0x1", |s| {
            adis(s)["rings"]["0"]["config"]["base"] = json!(1);
        }),
        ("data_plane.adis.rings.0: entry 16 of 16", |s| {
            adis(s)["rings"]["0"]["next"] = json!(16);
        }),
        ("data_plane.adis.adis.7: there is no such ADI", |s| {
            adis(s)["adis"]["7"] = json!({
                "no_kick": true, "faults": { "count": 0, "first": null }, "unreported": false
            });
        }),
        (
            "data_plane.adis.adis.0: a fault of QueueId { kind: Tx, index: 0 }",
            |s| {
                adis(s)["adis"]["0"]["faults"]["first"][0]["index"] = json!(0);
            },
        ),
        ("data_plane.pending: 6: the function has 4 vectors", |s| {
            s["data_plane"]["pending"] = json!([4, 5, 6]);
        }),
        (
            "data_plane.queues: 9 positions: 8 queues are enabled",
            |s| {
                let queues = s["data_plane"]["queues"].as_array_mut().unwrap();
                queues.push(queues[0].clone());
            },
        ),
    ];
    for (text, change) in cases {
        let error = refused(&guest, &change);
        assert!(error.contains(text), "{error:?} has no {text:?}");
    }
    // One that is not changed fits, and so do vectors of ADIs.
    let mut state = guest.state();
    state["data_plane"]["pending"] = json!([4, 5]);
    let (mut next, pages) = guest.successor();
    next.restore(&serde_json::from_value(state).unwrap(), pages)
        .unwrap();
    assert_eq!(next.datapath().adi_totals().adis, 2);
}
