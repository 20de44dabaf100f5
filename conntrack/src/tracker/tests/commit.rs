// SPDX-License-Identifier: Apache-2.0 OR MIT
use super::*;

#[test]
fn what_is_not_committed_is_not_there() {
    let mut bench = Bench::new();
    let packet = V4.udp(b"a");
    let tracked = bench.tracker.track(&Input::new(&packet), bench.now);
    assert_eq!(tracked.state(), CtState::TRACKED | NEW);
    assert_eq!((tracked.connection(), bench.tracker.len()), (None, 0));
    bench.expect(&V4.reverse().udp(b"b"), NEW);
}

#[test]
fn a_commit_sets_mark_and_label_and_direction() {
    let bench = Bench::new();
    let commit = Commit {
        mark: Some((0xff, 0x0f)),
        label: Some((u128::MAX, 1 << 100)),
        ..Commit::default()
    };
    let packet = V4.udp(b"a");
    let input = Input::new(&packet);
    let mut tracked = bench.tracker.track(&input, bench.now);
    bench
        .tracker
        .commit(&mut tracked, &input, &commit, bench.now)
        .unwrap();
    assert_eq!(
        (bench.only().mark, bench.only().label.bits()),
        (0x0f, 1 << 100)
    );
    let listener = bench.tracker.listen(EventMask::ALL, 10).unwrap();
    let answer = V4.reverse().udp(b"b");
    let input = Input::new(&answer);
    let mut tracked = bench.tracker.track(&input, bench.now);
    assert_eq!(tracked.state(), CtState::TRACKED | RPL);
    assert_eq!((tracked.mark(), tracked.label().bits()), (0x0f, 1 << 100));
    let commit = Commit {
        mark: Some((0x30, 0xf0)),
        ..Commit::default()
    };
    bench
        .tracker
        .commit(&mut tracked, &input, &commit, bench.now)
        .unwrap();
    assert_eq!(bench.only().mark, 0x3f);
    assert_eq!(tracked.mark(), 0x3f);
    let commit = Commit {
        force: true,
        ..Commit::default()
    };
    bench
        .tracker
        .commit(&mut tracked, &input, &commit, bench.now)
        .unwrap();
    assert_eq!(tracked.state(), CtState::TRACKED | NEW);
    assert_eq!(
        bench.only().original.src(),
        Endpoint {
            address: V4.dst,
            part: 80
        }
    );
    let events: Vec<_> = std::iter::from_fn(|| listener.next()).collect();
    assert!(matches!(
        events[0],
        Event::Update(_, Changes { reply: true, .. })
    ));
    assert!(matches!(
        events[1],
        Event::Update(_, Changes { mark: true, .. })
    ));
    assert!(
        matches!(&events[2], Event::Destroy(gone) if gone.end == Some((bench.now, RemovalReason::Packet)))
    );
    assert!(matches!(events[3], Event::New(..)));
    assert_eq!(events.len(), 4);
}

#[test]
fn zones_are_apart() {
    let bench = Bench::new();
    let packet = V4.udp(b"a");
    let answer = V4.reverse().udp(b"a");
    for id in [1, 2] {
        let input = Input {
            zone: Zone::new(id),
            ..Input::new(&packet)
        };
        let mut tracked = bench.tracker.track(&input, bench.now);
        assert_eq!(tracked.state(), CtState::TRACKED | NEW);
        bench
            .tracker
            .commit(&mut tracked, &input, &Commit::default(), bench.now)
            .unwrap();
    }
    let input = Input {
        zone: Zone::new(3),
        ..Input::new(&answer)
    };
    assert_eq!(
        bench.tracker.track(&input, bench.now).state(),
        CtState::TRACKED | NEW
    );
    assert_eq!((bench.tracker.len(), bench.tracker.zone_count(1)), (2, 1));
    let flushed = bench.tracker.flush(Cursor::default(), bench.now);
    assert_eq!(flushed, (2, None));
}

#[test]
fn packets_of_one_new_connection_are_merged() {
    let bench = Bench::new();
    let packet = V4.udp(b"a");
    let input = Input::new(&packet);
    let mut tracked = [0; 2].map(|_| bench.tracker.track(&input, bench.now));
    for tracked in &mut tracked {
        bench
            .tracker
            .commit(tracked, &input, &Commit::default(), bench.now)
            .unwrap();
    }
    assert_eq!(bench.only().counters[0].packets, 2);
    assert_eq!(bench.tracker.statistics().clash_resolve, 1);
    let syn = V4.tcp(SYN, 1, 0, &[]);
    let input = Input::new(&syn);
    let mut tracked = [0; 2].map(|_| bench.tracker.track(&input, bench.now));
    let results = tracked.each_mut().map(|tracked| {
        bench
            .tracker
            .commit(tracked, &input, &Commit::default(), bench.now)
    });
    assert_eq!(results, [Ok(()), Err(CommitError::Clash)]);
    assert_eq!(bench.tracker.statistics().insert_failed, 1);
}

#[test]
fn policies_set_timeouts() {
    let mut short = crate::settings::Timeouts::default();
    short.udp.unreplied = Duration::from_secs(5);
    let settings = Settings {
        policies: vec![short],
        ..Settings::default()
    };
    let bench = Bench::with(settings);
    let packet = V4.udp(b"a");
    let input = Input {
        policy: PolicyId(1),
        ..Input::new(&packet)
    };
    let mut tracked = bench.tracker.track(&input, bench.now);
    bench
        .tracker
        .commit(&mut tracked, &input, &Commit::default(), bench.now)
        .unwrap();
    assert_eq!(bench.only().timeout.as_secs(), 5);
    bench.tracker.track(&Input::new(&packet), bench.now);
    assert_eq!(bench.only().timeout.as_secs(), 5);
}
