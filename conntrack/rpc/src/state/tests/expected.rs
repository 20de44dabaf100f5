// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Connections that others expected.

use super::*;

#[test]
fn an_expected_connection_stays_one_when_its_master_has_ended() {
    const SYN: u8 = 2;
    let clock = At(1_000_000_000);
    let create = |tracker: &Tracker, new: &NewConnection| {
        tracker.create_connection(new, clock.now()).unwrap()
    };
    for has_copy in [false, true] {
        let old = tracker();
        let master = create(&old, &connection(1));
        let child = NewConnection {
            master: Some(master),
            ..connection(1234)
        };
        create(&old, &child);
        assert!(old.delete(master, clock.now()));
        let is_expected = |tracker: &Tracker| {
            let found = all(tracker, clock.now());
            let [one] = &found[..] else {
                panic!("one connection: {found:?}");
            };
            let segment = Tcp {
                flags: SYN,
                seq: 100,
                ack: 0,
                window: 60_000,
                options: &[],
                payload: &[],
            };
            let input = segment.packet(V4);
            let state = tracker.track(&Input::new(&input), clock.now()).state();
            (one.status.contains(Status::EXPECTED), state)
        };
        let expected = (true, CtState::TRACKED | CtState::RELATED);
        assert_eq!(is_expected(&old), expected);
        // A successor has its own successor, to which no master is known at all.
        let mut last = old;
        for _ in 0..2 {
            let new = tracker();
            let copied = has_copy.then(|| precopy(&last, &clock));
            let mut restoring = Restoring::default();
            if let Some((copy, _)) = &copied {
                restoring.add(&new, &clock, copy).unwrap();
            }
            let rest = save(&last, &clock, copied.as_ref().map(|(_, copied)| copied));
            restoring.finish(&new, &clock, &rest).unwrap();
            assert_eq!(is_expected(&new), expected, "copied: {has_copy}");
            last = new;
        }
    }
}
