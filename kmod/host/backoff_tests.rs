// SPDX-License-Identifier: GPL-2.0
//! Tests of [`crate::vfio_backoff`].

use crate::vfio_backoff::Backoff;

#[test]
fn registration_at_once_is_delayed_longer_each_time() {
    let (mut backoff, mut now, mut delays) = (Backoff::new(), 1_000, Vec::new());
    for _ in 0..11 {
        backoff.start(now);
        delays.push(backoff.remaining(now));
        now += backoff.remaining(now);
        assert_eq!(backoff.remaining(now), 0);
    }
    assert_eq!(
        delays,
        [20, 40, 80, 160, 320, 640, 1_280, 2_560, 5_000, 5_000, 5_000]
    );
    // type1 retries ten times.
    assert!(delays[..10].iter().sum::<u64>() > 10_000);
}

#[test]
fn parts_of_one_range_count_once() {
    let mut backoff = Backoff::new();
    for now in 100..110 {
        backoff.start(now);
        assert_eq!(backoff.remaining(now), 20);
    }
    assert_eq!(backoff.remaining(128), 1);
}

#[test]
fn delays_start_anew_after_a_while() {
    let mut backoff = Backoff::new();
    assert_eq!(backoff.remaining(0), 0);
    backoff.start(0);
    backoff.start(20);
    assert_eq!(backoff.remaining(20), 40);
    backoff.start(60 + 40);
    assert_eq!(backoff.remaining(100), 20);
    backoff.start(u64::MAX);
    assert_eq!(backoff.remaining(u64::MAX), 0);
}
