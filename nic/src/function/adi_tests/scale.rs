// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Ten thousand ADIs. `cargo xtask bench adi` measures their cost in time; this checks the number
//! of queues polled in a turn.

use super::*;
use crate::interrupts::SLEEP_AFTER_NS;

const MANY: u32 = 10_000;

#[test]
fn ten_thousand_can_be_and_those_that_are_idle_are_not_looked_at() {
    let mut guest = Guest::new(10_240, 16_384);
    guest.cause_ring(1024);
    let mut a = AdiDriver::new(&mut guest, 1, &wanted(1));
    let mut b = AdiDriver::new(&mut guest, 2, &wanted(1));
    b.post(&mut guest, 16);
    let ids: Vec<_> = (10..10 + MANY)
        .map(|pasid| {
            let adi = guest.create(pasid, &wanted(1)).unwrap();
            let name = [adi.ext.vport_id.as_bytes(), &[0; 4]].concat();
            guest.ok(op::ENABLE_VPORT, &name);
            adi.id()
        })
        .collect();
    guest.poll();
    let awake = |guest: &Guest| guest.function.datapath().adi_totals().awake_queues;
    assert!(awake(&guest) >= 2, "two have queues that run");
    guest.idle(SLEEP_AFTER_NS);
    assert_eq!(awake(&guest), 0);
    assert_eq!(guest.function.datapath().adi_totals().adis, MANY + 2);

    // The first two still exchange frames.
    let sent = frame(b.mac(), a.mac(), 1);
    a.send(&mut guest, &sent);
    guest.poll();
    assert_eq!(b.recv(&guest), Some(sent));
    assert_eq!(awake(&guest), 1, "only who sends is looked at");

    for &id in &ids {
        assert_eq!(guest.destroy(id), status::SUCCESS);
    }
    assert_eq!(guest.function.datapath().adi_totals().adis, 2);
}
