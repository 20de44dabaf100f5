// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The end of ADIs: none of their state may remain.

use adit_uapi::regs::pf;
use adit_uapi::virtchnl2::adi::{fault_reason, op as adi_op, AdiCaps, AdiFault, ResetAdi};
use adit_uapi::virtchnl2::rss::ptype_group;
use adit_uapi::virtchnl2::{RssHash, RssKey, RssLut};

use super::*;
use crate::forwarding::RSS_KEY_LEN;
use crate::memory::Dma;
use crate::pasid::{Root, RootQuery};
use crate::testing::adi::{IOVA, LEN};
use crate::testing::guest::Created;

fn occupancy(guest: &mut Guest) -> (u32, u32) {
    let caps = guest.ok(adi_op::GET_ADI_CAPS, &[]);
    let caps = AdiCaps::read_from_bytes(&caps).unwrap();
    (caps.adis.get(), caps.queue_pairs.get())
}

/// All memory that an ADI can write.
fn memory_of(guest: &Guest, adi: &AdiDriver) -> Vec<u8> {
    let mut bytes = vec![0; LEN as usize];
    guest.memory().read(adi.physical, &mut bytes).unwrap();
    bytes
}

/// Starts traffic that is in flight: doorbells are rung, but not yet handled.
fn busy(guest: &mut Guest, a: &mut AdiDriver, b: &mut AdiDriver) {
    a.arm(guest);
    for n in 0..8 {
        let (to_b, to_a) = (frame(b.mac(), a.mac(), n), frame(a.mac(), b.mac(), n));
        a.send(guest, &to_b);
        b.send(guest, &to_a);
        guest
            .far
            .send(&frame(a.mac(), STRANGER, n), Default::default());
    }
}

fn quiet(guest: &mut Guest, a: &AdiDriver) {
    let before = memory_of(guest, a);
    for register in [
        a.tail(QueueKind::Tx),
        a.tail(QueueKind::RxBuffer),
        a.dyn_ctl(),
    ] {
        assert_eq!(guest.read(register), 0, "{register:#x}");
    }
    for _ in 0..4 {
        guest.poll();
    }
    assert_eq!(memory_of(guest, a), before, "DMA after the end");
}

#[test]
fn resets_end_all_adis_before_they_are_answered() {
    let resets: [fn(&mut Guest); 3] = [
        |guest| guest.write(pf::GEN_CTRL, pf::GEN_CTRL_PFSWR_M),
        |guest| guest.function.reset(),
        |guest| guest.function.config_write(0x68, &[0, 0x80]),
    ];
    for reset in resets {
        let (mut guest, mut a, mut b) = pair();
        guest.poll();
        busy(&mut guest, &mut a, &mut b);
        reset(&mut guest);
        quiet(&mut guest, &a);
        quiet(&mut guest, &b);
        let totals = guest.function.datapath().adi_totals();
        assert_eq!((totals.adis, totals.awake_queues), (0, 0));
        assert_eq!(guest.function.datapath().pasid(VportId(1)), None);
        // A kick for a destroyed ADI is ignored.
        guest.write(a.created.ext.kick_offset.get() as u32, 1);
        assert_eq!(guest.function.counters().stray_kicks, 1);
        guest.start_mailbox();
        assert_eq!(occupancy(&mut guest), (0, 0));
        guest.cause_ring(16);
        let mut c = AdiDriver::new(&mut guest, 100, &wanted(1));
        c.post(&mut guest, 8);
        let back = frame(c.mac(), STRANGER, 9);
        guest.far.send(&back, Default::default());
        while guest.far.waiting() > 0 {
            guest.poll();
        }
        let got: Vec<_> = std::iter::from_fn(|| c.recv(&guest)).collect();
        assert!(got.contains(&back), "the next one works");
    }
}

/// The request for an ADI with the vport and frame of an earlier one.
fn at_place_of(created: &Created) -> CreateAdiExt {
    CreateAdiExt {
        mac: created.ext.mac,
        vport_id: created.ext.vport_id,
        frame_offset: created.ext.frame_offset,
        ..wanted(1)
    }
}

#[test]
fn an_adi_comes_back_to_its_place_after_a_reset() {
    let mut guest = Guest::new(8, 8);
    let [a, b, c] = [1, 2, 3].map(|pasid| guest.create(pasid, &wanted(1)).unwrap());
    guest.destroy(a.id());
    guest.write(pf::GEN_CTRL, pf::GEN_CTRL_PFSWR_M);
    guest.start_mailbox();
    // In another order, and with a gap before them.
    let [c2, b2] = [(3, &c), (2, &b)].map(|(pasid, adi)| guest.create(pasid, &at_place_of(adi)));
    let (b2, c2) = (b2.unwrap(), c2.unwrap());
    for (before, after) in [(&b, &b2), (&c, &c2)] {
        assert_eq!(before.adi.adi_id, after.adi.adi_id);
        assert_eq!(before.ext.as_bytes(), after.ext.as_bytes());
        assert_eq!(before.chunks.as_bytes(), after.chunks.as_bytes());
    }
    // A new one does not get a vport id that was another's.
    let new = guest.create(4, &wanted(1)).unwrap();
    assert!([&a, &b, &c]
        .iter()
        .all(|old| old.ext.vport_id != new.ext.vport_id));
}

#[test]
fn a_place_that_cannot_be_had_is_refused() {
    let mut guest = Guest::new(8, 8);
    let a = guest.create(1, &wanted(1)).unwrap();
    let mut place = CreateAdiExt {
        mac: [0; 6],
        ..at_place_of(&a)
    };
    let taken = guest.create(2, &place).map(|adi| adi.id());
    assert_eq!(taken, Err(status::ERR_EEXIST));
    let vport = a.ext.vport_id.get();
    let page = a.ext.frame_offset.get();
    let wrong = [
        (vport + 8, page),
        (0, page),
        (vport + 1, 0),
        (vport + 1, page + 0x1000),
        (vport + 1, u64::MAX),
        (u32::MAX, page),
    ];
    for (vport, page) in wrong {
        (place.vport_id, place.frame_offset) = (vport.into(), page.into());
        let refused = guest.create(2, &place).map(|adi| adi.id());
        assert_eq!(refused, Err(status::ERR_ERANGE), "{vport} {page:#x}");
    }
    // Its vport id was free, its frame was not: the vport id is released again.
    place.vport_id = (vport + 1).into();
    place.frame_offset = page.into();
    let taken = guest.create(2, &place).map(|adi| adi.id());
    assert_eq!(taken, Err(status::ERR_EEXIST));
    assert_eq!(occupancy(&mut guest), (1, 1));
}

#[test]
fn the_client_takes_everything_along() {
    let (mut guest, mut a, mut b) = pair();
    busy(&mut guest, &mut a, &mut b);
    guest.function.disconnect().unwrap();
    for _ in 0..4 {
        guest.poll();
    }
    let totals = guest.function.datapath().adi_totals();
    assert_eq!((totals.adis, totals.awake_queues), (0, 0));
    assert!(guest.function.datapath().queues().memory.is_empty());
}

#[test]
fn an_adi_is_destroyed_under_traffic_and_its_neighbour_goes_on() {
    let (mut guest, mut a, mut b) = pair();
    guest.poll();
    busy(&mut guest, &mut a, &mut b);
    assert_eq!(guest.destroy(a.created.id()), status::SUCCESS);
    quiet(&mut guest, &a);
    assert_eq!(occupancy(&mut guest), (1, 1));
    assert!(guest.far.recv().is_some(), "to nobody here: to the wire");
    let still = frame(STRANGER, b.mac(), 9);
    b.send(&mut guest, &still);
    guest.poll();
    let sent = std::iter::from_fn(|| guest.far.recv());
    assert!(sent.map(|(frame, _)| frame).any(|frame| frame == still));
    // The next ADI inherits nothing: no tail, no address, no cause, and not its vport, which
    // entries of a P4 program may name.
    let c = guest.create(100, &wanted(1)).unwrap();
    assert_ne!(c.id(), a.created.id());
    assert_ne!(c.ext.vport_id, a.created.ext.vport_id);
    assert_eq!(c.ext.frame_offset, a.created.ext.frame_offset);
    guest.poll();
    assert!(guest.causes().iter().all(|&(id, ..)| id != c.id()));
    assert_eq!(guest.read(a.tail(QueueKind::Tx)), 0);
    let totals = guest.function.datapath().adi_totals();
    let frames = totals.frames;
    assert_eq!(frames.tx_unicast, 9, "what it had sent is still counted");
}

#[test]
fn a_message_waits_until_it_is_known_where_the_tables_are() {
    let query = RootQuery::default();
    let mut guest = Guest::asking(4, 4, Some(query.clone()));
    let mut ask = vec![0; 168];
    ask[0] = 9;
    guest.request(op::NON_FLEX_CREATE_ADI, &ask);
    guest.request(adi_op::GET_ADI_CAPS, &[]);
    assert_eq!(guest.reply(), None, "nor anything behind it");
    let era = query.wait().unwrap();
    guest.function.tables_found(era, None);
    assert_eq!(guest.reply().unwrap().0, status::ERR_EIO);
    assert_eq!(guest.reply().unwrap().0, status::SUCCESS);

    guest.request(op::NON_FLEX_CREATE_ADI, &ask);
    let era = query.wait().unwrap();
    let root = guest.tables.root();
    guest.function.tables_found(era, Some(root));
    assert_eq!(guest.reply().unwrap().0, status::SUCCESS);
    let mut adi = AdiDriver::new(&mut guest, 5, &wanted(1));
    let sent = frame(STRANGER, adi.mac(), 1);
    adi.send(&mut guest, &sent);
    guest.poll();
    assert!(guest.far.recv().is_some());

    // A reset discards the tables, and an answer from before it is ignored.
    guest.write(pf::GEN_CTRL, pf::GEN_CTRL_PFSWR_M);
    guest.start_mailbox();
    guest.request(op::NON_FLEX_CREATE_ADI, &ask);
    let wrong = Root { table: 0, ..root };
    guest.function.tables_found(era, Some(wrong));
    assert_eq!(guest.reply(), None);
    let era = query.wait().unwrap();
    // The driver gives up and starts again: the old request is not answered.
    guest.write(pf::GEN_CTRL, pf::GEN_CTRL_PFSWR_M);
    guest.start_mailbox();
    guest.function.tables_found(era, Some(root));
    assert_eq!(guest.reply(), None);
}

#[test]
fn without_tables_there_are_no_adis() {
    let mut guest = Guest::asking(4, 4, None);
    let refused = guest.create(1, &wanted(1)).map(|adi| adi.id());
    assert_eq!(refused, Err(status::ERR_EIO));
    assert_eq!(occupancy(&mut guest), (0, 0));
}

#[test]
fn tables_that_change_in_between_fault_and_do_no_harm() {
    let (mut guest, mut a, _) = pair();
    let at = guest
        .tables
        .entry(&guest.function.datapath().queues().memory, a.pasid);
    guest.memory().write(at, &[0xFF; 64]).unwrap();
    a.describe(&mut guest, IOVA, 64);
    a.ring_tx(&mut guest);
    guest.poll();
    let fault = a.fault(&mut guest, 0);
    assert_eq!(fault.reason.get(), fault_reason::TABLES);
}

/// The state of an ADI that its owner can read.
fn found(guest: &mut Guest, a: &AdiDriver) -> (Vec<Vec<u8>>, AdiFault, [u32; 2]) {
    let questions = [
        (op::GET_RSS_KEY, RssKey::LEN, 0),
        (op::GET_RSS_HASH, RssHash::LEN, 8),
        (op::GET_STATS, VportStats::LEN, 0),
        (op::GET_RSS_LUT, RssLut::LEN, 0),
    ];
    let ask = |(op, len, vport): (u32, usize, usize)| {
        let mut payload = vec![0; len];
        payload[vport..vport + 4].copy_from_slice(a.vport().as_bytes());
        guest.ok(op, &payload)
    };
    let answers = questions.map(ask).into();
    let tail = a.tail(QueueKind::Tx);
    let page = [tail, tail + SPARE].map(|register| guest.read(register));
    (answers, a.fault(guest, 0), page)
}

/// An offset in a page without a register.
const SPARE: u32 = 0x100;

#[test]
fn an_adi_that_is_reset_is_as_if_it_were_new() {
    let (mut guest, mut a, mut b) = pair();
    let fresh = found(&mut guest, &a);

    // Change every kind of state.
    busy(&mut guest, &mut a, &mut b);
    guest.poll();
    let mut key = RssKey {
        vport_id: a.vport(),
        ..RssKey::default()
    };
    key.key_len.set(RSS_KEY_LEN as u16);
    guest.ok(
        op::SET_RSS_KEY,
        &[key.as_bytes(), &[7; RSS_KEY_LEN]].concat(),
    );
    let hash = RssHash {
        vport_id: a.vport(),
        ptype_groups: (1 << ptype_group::NONF_IPV6_TCP).into(),
        ..RssHash::default()
    };
    guest.ok(op::SET_RSS_HASH, hash.as_bytes());
    guest.write(a.tail(QueueKind::Tx) + SPARE, 0x5E_C2E7);
    a.describe(&mut guest, 0x1234_5000, 64);
    a.ring_tx(&mut guest);
    guest.poll();
    let used = found(&mut guest, &a);
    for (used, fresh) in used.0.iter().zip(&fresh.0).take(3) {
        assert_ne!(used, fresh);
    }
    assert_ne!(used.1.reason, fresh.1.reason);
    assert_ne!(used.2, fresh.2);

    busy(&mut guest, &mut a, &mut b);
    let reset = ResetAdi {
        adi_id: a.created.adi.adi_id,
        ..ResetAdi::default()
    };
    guest.ok(adi_op::RESET_ADI, reset.as_bytes());
    quiet(&mut guest, &a);
    assert_eq!(found(&mut guest, &a), fresh);
    assert_eq!(occupancy(&mut guest), (2, 2));
    // Queues that are not configured do not start.
    let (refused, _) = guest.call(op::ENABLE_QUEUES, &a.all_queues());
    assert_ne!(refused, status::SUCCESS);
    a.up(&mut guest);
    let still = frame(STRANGER, a.mac(), 9);
    a.send(&mut guest, &still);
    guest.poll();
    let sent = std::iter::from_fn(|| guest.far.recv());
    assert!(sent.map(|(frame, _)| frame).any(|frame| frame == still));
    let nobody = ResetAdi {
        adi_id: U16::new(7),
        ..reset
    };
    let (refused, _) = guest.call(adi_op::RESET_ADI, nobody.as_bytes());
    assert_ne!(refused, status::SUCCESS);
}
