// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Ten thousand of them.

use std::time::{Duration, Instant};

use super::*;
use crate::interrupts::SLEEP_AFTER_NS;

const MANY: u32 = 10_000;

/// The shortest of a few tries, for machines that do other things, too.
fn shortest(tries: u32, mut work: impl FnMut()) -> Duration {
    let timed = (0..tries).map(|_| {
        let start = Instant::now();
        work();
        start.elapsed()
    });
    timed.min().unwrap_or_default()
}

#[test]
fn ten_thousand_can_be_and_those_that_are_idle_cost_nothing() {
    let mut guest = Guest::new(10_240, 16_384);
    guest.cause_ring(1024);
    let mut a = AdiDriver::new(&mut guest, 1, &wanted(1));
    let mut b = AdiDriver::new(&mut guest, 2, &wanted(1));
    b.post(&mut guest, 16);
    let idle = |guest: &mut Guest| {
        shortest(20, || {
            for _ in 0..100 {
                guest.poll();
            }
        })
    };
    let before = idle(&mut guest);
    let mut ids = Vec::new();
    let mut batch = |guest: &mut Guest, from: u32| {
        let start = Instant::now();
        for pasid in from..from + 500 {
            let adi = guest.create(pasid, &wanted(1)).unwrap();
            let name = [adi.ext.vport_id.as_bytes(), &[0; 4]].concat();
            guest.ok(op::ENABLE_VPORT, &name);
            ids.push(adi.id());
        }
        start.elapsed()
    };
    let batches: Vec<_> = (0..MANY / 500)
        .map(|n| batch(&mut guest, 10 + n * 500))
        .collect();
    let (first, last) = batches.split_at(batches.len() / 2);
    let fastest = |half: &[Duration]| half.iter().min().copied().unwrap_or_default();
    let (first, last) = (fastest(first), fastest(last));
    assert!(
        last < first * 3,
        "the last cost {last:?}, the first {first:?}"
    );

    guest.idle(SLEEP_AFTER_NS);
    let after = idle(&mut guest);
    assert!(after < before * 4, "{before:?} became {after:?}");
    assert_eq!(guest.function.datapath().adi_totals().adis, MANY + 2);

    // The two that were first still talk to each other.
    let sent = frame(b.mac(), a.mac(), 1);
    a.send(&mut guest, &sent);
    guest.poll();
    assert_eq!(b.recv(&guest), Some(sent));

    let start = Instant::now();
    for &id in &ids {
        assert_eq!(guest.destroy(id), status::SUCCESS);
    }
    let each = start.elapsed() / MANY;
    assert!(each < Duration::from_millis(1), "{each:?} for each");
    assert_eq!(guest.function.datapath().adi_totals().adis, 2);
}
