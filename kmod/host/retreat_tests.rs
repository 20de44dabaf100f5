// SPDX-License-Identifier: GPL-2.0
//! Tests of [`crate::vfio_retreat`].

use crate::vfio_retreat::Retreat;

#[test]
fn whoever_registers_at_once_waits_longer_each_time() {
    let (mut retreat, mut now, mut waits) = (Retreat::new(), 1_000, Vec::new());
    for _ in 0..11 {
        retreat.begin(now);
        waits.push(retreat.left(now));
        now += retreat.left(now);
        assert_eq!(retreat.left(now), 0);
    }
    assert_eq!(
        waits,
        [20, 40, 80, 160, 320, 640, 1_280, 2_560, 5_000, 5_000, 5_000]
    );
    // type1 retries ten times.
    assert!(waits[..10].iter().sum::<u64>() > 10_000);
}

#[test]
fn parts_of_one_range_are_once() {
    let mut retreat = Retreat::new();
    for now in 100..110 {
        retreat.begin(now);
        assert_eq!(retreat.left(now), 20);
    }
    assert_eq!(retreat.left(128), 1);
}

#[test]
fn time_heals() {
    let mut retreat = Retreat::new();
    assert_eq!(retreat.left(0), 0);
    retreat.begin(0);
    retreat.begin(20);
    assert_eq!(retreat.left(20), 40);
    retreat.begin(60 + 40);
    assert_eq!(retreat.left(100), 20);
    retreat.begin(u64::MAX);
    assert_eq!(retreat.left(u64::MAX), 0);
}
