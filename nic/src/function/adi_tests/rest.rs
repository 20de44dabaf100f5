// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Queues and vectors that sleep, are woken by kicks, and lose nothing; cause rings that are full.

use adit_uapi::regs::adi::ASLEEP_OFFSET;
use adit_uapi::regs::dyn_ctl;
use adit_uapi::virtchnl2::adi::{op as adi_op, ConfigAdiCauseRing};

use super::*;
use crate::interrupts::SLEEP_AFTER_NS;
use crate::memory::Dma;

#[test]
fn what_is_idle_falls_asleep_and_a_kick_wakes_it() {
    let (mut guest, mut a, mut b) = pair();
    assert_eq!(guest.function.datapath().adi_totals().awake_queues, 2);
    guest.idle(SLEEP_AFTER_NS);
    let totals = guest.function.datapath().adi_totals();
    assert_eq!(totals.awake_queues, 0, "nobody looks any more");
    assert_eq!(guest.function.datapath().queues().interrupts.adi.awake(), 0);
    let asleep = a.tail(QueueKind::Tx) + ASLEEP_OFFSET;
    assert_eq!(guest.read(asleep), 1);

    let tail = a.tail(QueueKind::Tx);
    let sent = frame(b.mac(), a.mac(), 1);
    guest.memory().write(a.physical + 0x4000, &sent).unwrap();
    a.describe(&mut guest, crate::testing::adi::TX_DATA, 64);
    guest.write(tail, 1);
    guest.poll();
    assert_eq!(b.recv(&guest), None, "rung too quietly");
    assert!(a.ring_tx(&mut guest), "it had to kick");
    assert_eq!(guest.read(asleep), 0);
    guest.poll();
    assert_eq!(b.recv(&guest), Some(sent));
    assert!(!a.ring_tx(&mut guest), "awake");
    assert_eq!(guest.function.datapath().adi_totals().kicks, 1);
}

#[test]
fn a_vector_that_sleeps_still_signals() {
    let (mut guest, mut a, b) = pair();
    let (a_id, b_id) = (a.created.id(), b.created.id());
    let interrupt = cause_reason::INTERRUPT;
    b.arm(&mut guest);
    guest.idle(SLEEP_AFTER_NS);
    // Armed and asleep: a frame wakes it without a kick.
    a.send(&mut guest, &frame(b.mac(), a.mac(), 1));
    guest.poll();
    assert_eq!(guest.causes(), [(b_id, 0, interrupt)]);
    // A vector with a cause latched while it is not armed sleeps, too; arming it finds the word
    // set.
    guest.idle(SLEEP_AFTER_NS);
    assert!(guest.causes().is_empty());
    assert_eq!(guest.read(a.dyn_ctl() + ASLEEP_OFFSET), 1);
    assert!(a.arm(&mut guest));
    guest.poll();
    assert_eq!(guest.causes(), [(a_id, 0, interrupt)]);
    // A software interrupt needs no cause.
    guest.idle(SLEEP_AFTER_NS);
    let bits = dyn_ctl::INTENA_M | dyn_ctl::SWINT_TRIG_M;
    a.ring(&mut guest, a.dyn_ctl(), bits);
    guest.poll();
    assert_eq!(guest.causes(), [(a_id, 0, interrupt)]);
    assert_eq!(guest.read(a.dyn_ctl()), 0);
}

#[test]
fn throttling_is_the_vectors_own() {
    let (mut guest, mut a, b) = pair();
    // 10 µs.
    guest.write(b.dyn_ctl() + 4, 5);
    for n in 0..2 {
        b.arm(&mut guest);
        a.send(&mut guest, &frame(b.mac(), a.mac(), n));
        guest.poll();
    }
    assert_eq!(guest.causes().len(), 1);
    guest.now += 10_000;
    guest.poll();
    assert_eq!(guest.causes().len(), 1);
}

#[test]
fn a_full_cause_ring_loses_nothing() {
    let mut guest = Guest::new(20, 20);
    guest.cause_ring(8);
    let mut adis: Vec<_> = (1..=20)
        .map(|pasid| {
            let mut adi = AdiDriver::new(&mut guest, pasid, &wanted(1));
            adi.post(&mut guest, 4);
            adi
        })
        .collect();
    for adi in &mut adis {
        adi.arm(&mut guest);
        let mac = adi.mac();
        guest.far.send(&frame(mac, STRANGER, 1), Default::default());
        // A queue of each one faults as well.
        adi.describe(&mut guest, 0, 64);
        adi.ring_tx(&mut guest);
    }
    let mut told = Vec::new();
    for _ in 0..3 {
        guest.poll();
        assert!(guest.peek_causes().len() < 8, "one entry stays free");
    }
    // The device never passes the driver's head index, however long it takes.
    guest.idle(SLEEP_AFTER_NS);
    while !guest.peek_causes().is_empty() {
        told.extend(guest.causes());
        guest.poll();
    }
    told.sort_unstable();
    let reasons = [cause_reason::INTERRUPT, cause_reason::FAULT];
    let expected = (0..20).flat_map(|id| reasons.map(|reason| (id, 0, reason)));
    assert_eq!(told, expected.collect::<Vec<_>>());
    // An invalid head index does not make space.
    guest.memory().write(0x13_F000, &[0xFF; 4]).unwrap();
    guest.poll();
}

#[test]
fn causes_wait_for_a_ring_and_outlive_one() {
    let mut guest = Guest::new(4, 4);
    let mut adi = AdiDriver::new(&mut guest, 1, &wanted(1));
    adi.arm(&mut guest);
    adi.send(&mut guest, &frame(STRANGER, adi.mac(), 1));
    guest.idle(2 * SLEEP_AFTER_NS);
    guest.cause_ring(8);
    guest.poll();
    assert_eq!(guest.causes(), [(0, 0, cause_reason::INTERRUPT)]);

    let mut ring = ConfigAdiCauseRing {
        vector_id: U16::new(1),
        ..ConfigAdiCauseRing::default()
    };
    guest.ok(adi_op::CONFIG_ADI_CAUSE_RING, ring.as_bytes());
    adi.arm(&mut guest);
    adi.send(&mut guest, &frame(STRANGER, adi.mac(), 1));
    guest.poll();
    guest.cause_ring(8);
    guest.poll();
    assert_eq!(guest.causes(), [(0, 0, cause_reason::INTERRUPT)]);

    let mut refused = |change: &dyn Fn(&mut ConfigAdiCauseRing)| {
        ring.ring_len.set(16);
        change(&mut ring);
        let payload = ring.as_bytes().to_vec();
        guest.call(adi_op::CONFIG_ADI_CAUSE_RING, &payload).0
    };
    assert_eq!(refused(&|r| r.ring_len.set(15)), status::ERR_ERANGE);
    assert_eq!(refused(&|r| r.ring_len.set(4)), status::ERR_ERANGE);
    assert_eq!(refused(&|r| r.ring_id.set(64)), status::ERR_ERANGE);
    assert_eq!(refused(&|r| r.ring_id.set(0)), status::SUCCESS);
    assert_eq!(refused(&|r| r.ring_addr.set(4)), status::ERR_EINVAL);
    assert_eq!(
        refused(&|r| r.ring_addr.set(u64::MAX - 7)),
        status::ERR_EINVAL
    );
    assert_eq!(refused(&|r| r.ring_addr.set(0)), status::SUCCESS);
    assert_eq!(refused(&|r| r.vector_id.set(0)), status::ERR_ENXIO);
    assert_eq!(refused(&|r| r.vector_id.set(999)), status::ERR_ENXIO);
}
