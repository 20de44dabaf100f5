// SPDX-License-Identifier: Apache-2.0 OR MIT
//! ADIs whose drivers do not kick: their idle pages are looked at at intervals, and nothing is lost.

use adit_uapi::regs::adi::ASLEEP_OFFSET;
use adit_uapi::regs::dyn_ctl;
use adit_uapi::virtchnl2::adi::{doorbell_flags, op as adi_op, ConfigAdiDoorbells, ResetAdi};

use super::*;
use crate::awake::Drowsy;
use crate::interrupts::SLEEP_AFTER_NS;
use crate::testing::adi::TX_DATA;

/// Sets an ADI's flags; returns the status.
fn configure(guest: &mut Guest, id: u16, flags: u16) -> u32 {
    let message = ConfigAdiDoorbells {
        adi_id: U16::new(id),
        flags: U16::new(flags),
    };
    let opcode = adi_op::CONFIG_ADI_DOORBELLS;
    guest.call(opcode, message.as_bytes()).0
}

/// Two ADIs, the first of which is polled without kicks, that have been idle for long.
fn idle_pair() -> (Guest, AdiDriver, AdiDriver) {
    let (mut guest, a, b) = pair();
    let set = configure(&mut guest, a.created.id(), doorbell_flags::NO_KICK);
    assert_eq!(set, status::SUCCESS);
    guest.idle(SLEEP_AFTER_NS);
    (guest, a, b)
}

/// The asleep words of a driver's TX queue and vector.
fn words(guest: &mut Guest, adi: &AdiDriver) -> [u32; 2] {
    let pages = [adi.tail(QueueKind::Tx), adi.dyn_ctl()];
    pages.map(|page| guest.read(page + ASLEEP_OFFSET))
}

/// Sends a frame to the wire, and rings without looking at the asleep word.
fn send_quietly(guest: &mut Guest, adi: &mut AdiDriver, tail: u32) {
    let sent = frame(STRANGER, adi.mac(), 7);
    crate::memory::Dma::write(guest.memory(), adi.physical + 0x4000, &sent).unwrap();
    adi.describe(guest, TX_DATA, 64);
    guest.write(adi.tail(QueueKind::Tx), tail);
}

#[test]
fn a_doorbell_of_an_idle_adi_is_seen_without_a_kick() {
    let (mut guest, mut a, b) = idle_pair();
    let totals = guest.function.datapath().adi_totals();
    assert_eq!(totals.awake_queues, 0, "idle ones are not in each turn");
    assert_eq!(guest.function.datapath().queues().interrupts.adi.awake(), 0);
    assert_eq!(words(&mut guest, &a), [0, 0]);
    assert_eq!(words(&mut guest, &b), [1, 1], "the neighbour kicks");
    guest.poll();
    for tail in 1..4 {
        send_quietly(&mut guest, &mut a, tail);
        guest.idle(Drowsy::INTERVAL_NS);
        guest.poll();
        assert!(guest.far.recv().is_some(), "frame {tail}");
        assert!(a.completion(&guest).is_some());
        guest.idle(SLEEP_AFTER_NS);
        assert_eq!(guest.function.datapath().adi_totals().awake_queues, 0);
    }
    // A tail that is beyond the ring is seen, too.
    guest.write(a.tail(QueueKind::Tx), 9999);
    guest.idle(Drowsy::INTERVAL_NS);
    let fault = a.fault(&mut guest, 0);
    let reason = adit_uapi::virtchnl2::adi::fault_reason::TAIL;
    assert_eq!(fault.reason.get(), reason);
    assert_eq!(guest.function.datapath().adi_totals().kicks, 0);
}

#[test]
fn an_idle_vector_signals_once_it_is_armed_or_triggered() {
    let (mut guest, mut a, _) = idle_pair();
    let told = [(a.created.id(), 0, cause_reason::INTERRUPT)];
    send_quietly(&mut guest, &mut a, 1);
    // The cause is latched, and the vector is armed long after that.
    guest.idle(Drowsy::INTERVAL_NS);
    guest.idle(10 * SLEEP_AFTER_NS);
    assert!(guest.causes().is_empty());
    guest.write(a.dyn_ctl(), dyn_ctl::INTENA_M);
    guest.idle(Drowsy::INTERVAL_NS);
    assert_eq!(guest.causes(), told);
    assert_eq!(guest.read(a.dyn_ctl()), 0);
    guest.idle(SLEEP_AFTER_NS);
    let bits = dyn_ctl::INTENA_M | dyn_ctl::SWINT_TRIG_M;
    guest.write(a.dyn_ctl(), bits);
    guest.idle(Drowsy::INTERVAL_NS);
    assert_eq!(guest.causes(), told);
    assert_eq!(words(&mut guest, &a), [0, 0]);
}

#[test]
fn the_flag_is_cleared_by_a_reset_and_by_a_message() {
    let (mut guest, mut a, mut b) = idle_pair();
    let id = a.created.id();
    assert_eq!(configure(&mut guest, id, 0), status::SUCCESS);
    guest.idle(SLEEP_AFTER_NS);
    assert_eq!(words(&mut guest, &a), [1, 1]);
    // An ADI that is asleep is woken by the message.
    guest.write(a.tail(QueueKind::Tx), 0);
    let set = configure(&mut guest, id, doorbell_flags::NO_KICK);
    assert_eq!(set, status::SUCCESS);
    assert_eq!(words(&mut guest, &a), [0, 0]);
    guest.idle(SLEEP_AFTER_NS);
    let reset = ResetAdi {
        adi_id: U16::new(id),
        ..ResetAdi::default()
    };
    guest.ok(adi_op::RESET_ADI, reset.as_bytes());
    a.up(&mut guest);
    guest.idle(SLEEP_AFTER_NS);
    assert_eq!(words(&mut guest, &a), [1, 1]);
    // One that is destroyed leaves nothing to the next.
    configure(&mut guest, b.created.id(), doorbell_flags::NO_KICK);
    guest.idle(SLEEP_AFTER_NS);
    guest.destroy(b.created.id());
    b.created = guest.create(b.pasid, &wanted(1)).unwrap();
    b.up(&mut guest);
    guest.idle(SLEEP_AFTER_NS);
    assert_eq!(words(&mut guest, &b), [1, 1]);
}

#[test]
fn messages_about_nobody_or_with_other_flags_are_refused() {
    let (mut guest, a, _) = pair();
    let refused = configure(&mut guest, 99, doorbell_flags::NO_KICK);
    assert_eq!(refused, status::ERR_ENXIO);
    let refused = configure(&mut guest, a.created.id(), 1 << 1 | 1);
    assert_eq!(refused, status::ERR_EINVAL);
    let (refused, _) = guest.call(adi_op::CONFIG_ADI_DOORBELLS, &[0; 3]);
    assert_eq!(refused, status::ERR_EINVAL);
    guest.idle(SLEEP_AFTER_NS);
    assert_eq!(words(&mut guest, &a), [1, 1], "nothing was changed");
}
