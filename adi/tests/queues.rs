// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tests of queues with the device model: frames sent and received, rings that wrap, buffers that
//! are returned.

mod common;

use std::os::fd::AsFd;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use adit_adi::{Adi, Buffer, Config, Error, MemorySource, QueuePair, Wakeup};
use adit_nic::wire::mock::FarEnd;
use adit_pipeline::offload::FrameMeta;
use common::{Model, MAC};
use proptest::prelude::*;

const PEER: [u8; 6] = [2, 0, 0, 0, 0, 9];
/// A timeout that is long enough for a busy machine.
const TIMEOUT: Duration = Duration::from_secs(60);

fn config() -> Config {
    Config {
        ring_len: 64,
        ..Config::default()
    }
}

/// A frame of `len` bytes with its number in the payload.
fn frame(to: [u8; 6], from: [u8; 6], number: u32, len: usize) -> Vec<u8> {
    let mut frame = [&to[..], &from[..], &[0x88, 0xB5]].concat();
    frame.extend_from_slice(&number.to_le_bytes());
    frame.resize(len.max(frame.len()), number as u8);
    frame
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < TIMEOUT, "{what} takes too long");
        std::thread::yield_now();
    }
}

fn receive(pair: &mut QueuePair, count: usize) -> Vec<Buffer> {
    let mut frames = Vec::new();
    until("receiving", || {
        pair.rx.receive(&mut frames, count).unwrap();
        frames.len() >= count
    });
    frames
}

fn sent(far: &FarEnd, count: usize) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    until("sending", || {
        frames.extend(std::iter::from_fn(|| far.recv()).map(|(frame, _)| frame));
        frames.len() >= count
    });
    frames
}

fn start(pairs: u16, config: &Config) -> (Adi, Vec<QueuePair>, FarEnd) {
    let (adi, far) = Model::open(pairs);
    let pairs = adi.start(config).unwrap();
    (adi, pairs, far)
}

#[test]
fn frames_leave_in_order_and_their_buffers_return() {
    let (adi, mut pairs, far) = start(1, &config());
    let pair = &mut pairs[0];
    let before = pair.pool().available();
    // Many times around a ring of 64.
    let all: Vec<_> = (0..500)
        .map(|n| frame(PEER, MAC, n, 60 + n as usize % 1400))
        .collect();
    let mut seen = Vec::new();
    let mut next = 0;
    until("sending", || {
        let pool = pair.pool().clone();
        let burst = all[next..].iter().take(20).map_while(|f| pool.copy(f));
        next += pair.tx.send(&mut burst.fuse()).unwrap();
        pair.tx.reclaim().unwrap();
        seen.extend(std::iter::from_fn(|| far.recv()).map(|(frame, _)| frame));
        seen.len() >= all.len()
    });
    assert_eq!(seen, all);
    until("completing", || {
        pair.tx.reclaim().unwrap();
        pair.tx.in_flight() == 0
    });
    assert_eq!(pair.pool().available(), before);
    let stats = pair.tx.stats();
    assert_eq!(stats.frames, 500);
    assert_eq!(stats.bytes, all.iter().map(|f| f.len() as u64).sum::<u64>());
    assert_eq!(adi.stats().unwrap().tx_unicast.get(), 500);
}

#[test]
fn an_owner_that_does_not_wait_for_reports_is_not_woken_by_them() {
    for lazy_reports in [false, true] {
        let config = Config {
            lazy_reports,
            ..config()
        };
        let (_adi, mut pairs, far) = start(1, &config);
        let pair = &mut pairs[0];
        let before = pair.pool().available();
        let bytes = frame(PEER, MAC, 1, 60);
        // Bursts of one frame, many times around a ring of 64.
        for round in 1..=500 {
            let pool = pair.pool().clone();
            until("sending", || {
                let burst = pool.copy(&bytes);
                pair.tx.send(&mut burst.into_iter()).unwrap() == 1
            });
            assert_eq!(sent(&far, 1).len(), 1);
            if round == 1 {
                let wakeup = pair.wait(Some(Duration::from_millis(200))).unwrap();
                let wanted = [Wakeup::Ready, Wakeup::Timeout];
                assert_eq!(wakeup, wanted[usize::from(lazy_reports)]);
            }
        }
        until("completing", || {
            pair.tx.reclaim().unwrap();
            pair.tx.in_flight() == if lazy_reports { 500 % 32 } else { 0 }
        });
        let in_flight = pair.tx.in_flight();
        assert_eq!(pair.pool().available(), before - in_flight);
    }
}

#[test]
fn frames_arrive_in_order_however_often_the_rings_wrap() {
    let (adi, mut pairs, far) = start(1, &config());
    let pair = &mut pairs[0];
    let before = pair.pool().available();
    for round in 0..20 {
        let all: Vec<_> = (0..40)
            .map(|n| frame(MAC, PEER, round * 100 + n, 60 + (n * 37) as usize % 1400))
            .collect();
        all.iter().for_each(|f| far.send(f, FrameMeta::default()));
        let got = receive(pair, all.len());
        for (got, want) in got.iter().zip(&all) {
            assert_eq!(&got[..], &want[..]);
        }
    }
    assert_eq!(pair.pool().available(), before);
    assert_eq!(pair.rx.stats().frames, 800);
    assert_eq!(adi.stats().unwrap().rx_unicast.get(), 800);
}

/// A TCP segment with the sum of its pseudo header in place of its checksum (RFC 1071), and the complete
/// checksums of both layers.
fn segment() -> (Vec<u8>, [u8; 2], [u8; 2]) {
    let mut frame = [&PEER[..], &MAC[..], &[8, 0]].concat();
    frame.extend_from_slice(&[0x45, 0, 0, 45, 0, 0, 0x40, 0, 64, 6, 0, 0]);
    frame.extend_from_slice(&[10, 99, 0, 3, 10, 99, 0, 1]);
    frame.extend_from_slice(&[
        0, 80, 0x13, 0x88, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x10, 4, 0, 0, 0, 0, 0,
    ]);
    frame.extend_from_slice(b"hello");
    let sum = |bytes: &[u8]| {
        let words = bytes.chunks(2);
        let sum: u32 = words
            .map(|w| u32::from(w[0]) << 8 | w.get(1).map_or(0, |b| u32::from(*b)))
            .sum();
        let sum = (sum >> 16) + (sum & 0xFFFF);
        ((sum >> 16) + (sum & 0xFFFF)) as u16
    };
    let pseudo = sum(&[&frame[26..34], &[0, 6, 0, 25]].concat());
    frame[50..52].copy_from_slice(&pseudo.to_be_bytes());
    let ip = (!sum(&frame[14..34])).to_be_bytes();
    let tcp = (!sum(&frame[34..])).to_be_bytes();
    (frame, ip, tcp)
}

#[test]
fn checksums_are_completed_where_it_was_requested() {
    let (_adi, mut pairs, far) = start(1, &config());
    let pair = &mut pairs[0];
    let (frame, ip, tcp) = segment();
    // The first of a burst, one within, and the last one, which asks for a completion.
    let burst = (0..3).map(|n| {
        let mut buffer = pair.pool().copy(&frame).unwrap();
        if n != 1 {
            buffer.request_checksum();
        }
        buffer
    });
    let burst: Vec<_> = burst.collect();
    pair.tx.send(&mut burst.into_iter()).unwrap();
    let sent = sent(&far, 3);
    assert_eq!(sent[1], frame);
    for sent in [&sent[0], &sent[2]] {
        assert_eq!((&sent[24..26], &sent[50..52]), (&ip[..], &tcp[..]));
    }
    // A request ends with the frame: a buffer of the pool has none.
    until("completing", || {
        pair.tx.reclaim().unwrap();
        pair.tx.in_flight() == 0
    });
    let again: Vec<_> = (0..pair.pool().available())
        .map_while(|_| pair.pool().copy(&frame))
        .collect();
    let count = again.len().min(40);
    pair.tx.send(&mut again.into_iter().take(count)).unwrap();
    assert!(self::sent(&far, count).iter().all(|sent| *sent == frame));
}

#[test]
fn multicast_frames_are_received_once_their_address_is_added() {
    let (adi, mut pairs, far) = start(1, &config());
    let group = [0x33, 0x33, 0xFF, 0, 0, 3];
    far.send(&frame(group, PEER, 1, 60), FrameMeta::default());
    far.send(&frame(MAC, PEER, 2, 60), FrameMeta::default());
    assert_eq!(receive(&mut pairs[0], 1)[0][..6], MAC);
    adi.add_multicast(group).unwrap();
    far.send(&frame(group, PEER, 3, 60), FrameMeta::default());
    assert_eq!(receive(&mut pairs[0], 1)[0][..6], group);
}

#[test]
fn a_frame_goes_back_without_being_copied() {
    let (_adi, mut pairs, far) = start(1, &config());
    let pair = &mut pairs[0];
    far.send(&frame(MAC, PEER, 7, 100), FrameMeta::default());
    let mut frames = receive(pair, 1);
    let start = frames[0].as_ptr();
    let (to, rest) = frames[0].split_at_mut(6);
    to.swap_with_slice(&mut rest[..6]);
    assert_eq!(frames[0].as_ptr(), start);
    pair.tx.send(&mut frames.drain(..)).unwrap();
    assert_eq!(sent(&far, 1), [frame(PEER, MAC, 7, 100)]);
}

#[test]
fn buffers_that_are_kept_starve_the_queue_until_they_are_dropped() {
    let config = Config {
        spare_buffers: 0,
        ..config()
    };
    let (_adi, mut pairs, far) = start(1, &config);
    let pair = &mut pairs[0];
    let mut kept: Vec<_> = std::iter::from_fn(|| pair.pool().alloc()).collect();
    (0..40).for_each(|n| far.send(&frame(MAC, PEER, n, 64), FrameMeta::default()));
    kept.extend(receive(pair, 40));
    assert!(pair.rx.stats().starved > 0);
    kept.clear();
    pair.rx.refill();
    (0..62).for_each(|n| far.send(&frame(MAC, PEER, n, 64), FrameMeta::default()));
    assert_eq!(receive(pair, 62).len(), 62);
}

#[test]
fn waiting_ends_with_a_frame_or_with_time() {
    let (_adi, mut pairs, far) = start(1, &config());
    let pair = &mut pairs[0];
    let short = Some(Duration::from_millis(20));
    assert_eq!(pair.wait(short).unwrap(), Wakeup::Timeout);
    for round in 0..50 {
        let far = far.clone();
        let sender = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_micros(round * 40));
            far.send(&frame(MAC, PEER, 1, 64), FrameMeta::default());
        });
        let mut frames = Vec::new();
        while frames.is_empty() {
            assert_eq!(pair.wait(Some(TIMEOUT)).unwrap(), Wakeup::Ready);
            pair.rx.receive(&mut frames, 8).unwrap();
        }
        sender.join().unwrap();
    }
}

#[test]
fn each_signal_ends_a_wait_although_the_eventfd_is_not_read() {
    let (_adi, mut pairs, _far) = start(1, &config());
    let pair = &mut pairs[0];
    let event = pair.as_fd().try_clone_to_owned().unwrap();
    let signal = || rustix::io::write(&event, &1_u64.to_ne_bytes()).unwrap();
    let short = Some(Duration::from_millis(20));
    for round in 0..50 {
        // Before the wait.
        signal();
        assert_eq!(pair.wait(Some(TIMEOUT)).unwrap(), Wakeup::Ready);
        assert_eq!(pair.wait(short).unwrap(), Wakeup::Timeout);
        // And at any time around its start.
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_micros(round * 10));
                signal();
            });
            assert_eq!(pair.wait(Some(TIMEOUT)).unwrap(), Wakeup::Ready);
        });
    }
}

/// Regression test: a caller that had sent and only received after that never slept again, and did
/// not notice the driver's request to return the ADI.
#[test]
fn what_was_sent_wakes_once() {
    let (_adi, mut pairs, far) = start(1, &config());
    let pair = &mut pairs[0];
    let buffer = pair.pool().copy(&frame(PEER, MAC, 1, 64)).unwrap();
    pair.tx.send(&mut std::iter::once(buffer)).unwrap();
    sent(&far, 1);
    assert_eq!(pair.wait(Some(TIMEOUT)).unwrap(), Wakeup::Ready);
    let short = Some(Duration::from_millis(20));
    // The interrupt may arrive after the transmission was found complete.
    let again = [pair.wait(short).unwrap(), pair.wait(short).unwrap()];
    assert_eq!(again[1], Wakeup::Timeout);
}

#[test]
fn several_pairs_share_the_load_and_nothing_else() {
    let (_adi, mut pairs, far) = start(4, &config());
    assert_eq!(pairs.len(), 4);
    for pair in &mut pairs {
        let number = u32::from(pair.index());
        let buffer = pair.pool().copy(&frame(PEER, MAC, number, 64)).unwrap();
        pair.tx.send(&mut std::iter::once(buffer)).unwrap();
    }
    let mut seen = sent(&far, 4);
    seen.sort();
    let want: Vec<_> = (0..4).map(|n| frame(PEER, MAC, n, 64)).collect();
    assert_eq!(seen, want);
    // Pairs may be dropped one by one; the others continue to work.
    drop(pairs.remove(0));
    let pair = &mut pairs[2];
    let buffer = pair.pool().copy(&frame(PEER, MAC, 9, 64)).unwrap();
    pair.tx.send(&mut std::iter::once(buffer)).unwrap();
    assert_eq!(sent(&far, 1), [frame(PEER, MAC, 9, 64)]);
}

#[test]
fn memory_of_the_driver_does_as_well() {
    let (model, far) = Model::new(1, true);
    let adi = Adi::new(Box::new(model)).unwrap();
    let config = Config {
        memory: MemorySource::Driver,
        ..config()
    };
    let mut pairs = adi.start(&config).unwrap();
    far.send(&frame(MAC, PEER, 3, 200), FrameMeta::default());
    assert_eq!(
        &receive(&mut pairs[0], 1)[0][..],
        &frame(MAC, PEER, 3, 200)[..]
    );
}

#[test]
fn buffers_of_another_adi_are_refused() {
    let (_a, mut pairs_a, far_a) = start(1, &config());
    let (_b, pairs_b, _far_b) = start(1, &config());
    let foreign = pairs_b[0].pool().copy(&frame(PEER, MAC, 1, 64)).unwrap();
    let own = pairs_a[0].pool().copy(&frame(PEER, MAC, 2, 64)).unwrap();
    let mut burst = [own, foreign].into_iter();
    let result = pairs_a[0].tx.send(&mut burst);
    assert!(matches!(result, Err(Error::ForeignBuffer)), "{result:?}");
    assert_eq!(sent(&far_a, 1), [frame(PEER, MAC, 2, 64)]);
}

#[test]
fn what_does_not_fit_is_refused_with_what_would() {
    let (adi, _far) = Model::open(1);
    let refusal = |config: Config| match adi.start(&config) {
        Err(error) => error.to_string(),
        Ok(_) => panic!("{config:?} was taken"),
    };
    let text = refusal(Config {
        pairs: 2,
        ..config()
    });
    assert_eq!(
        text,
        "the number of queue pairs is 2: this ADI takes at most 1"
    );
    for ring_len in [0, 32, 65, 4112] {
        let text = refusal(Config {
            ring_len,
            ..config()
        });
        assert!(text.contains("64 to 4096 in steps of 16"), "{text}");
    }
    for buffer_len in [0, 100, 16384] {
        let text = refusal(Config {
            buffer_len,
            ..config()
        });
        assert!(text.contains("128 to 16320"), "{text}");
    }
    let driver = refusal(Config {
        memory: MemorySource::Driver,
        ..config()
    });
    assert!(driver.contains("at most 0 bytes"), "{driver}");
}

#[test]
fn queues_that_cannot_be_stopped_keep_their_buffers() {
    let (model, _far) = Model::new(1, false);
    let dead = std::sync::Arc::clone(&model.dead);
    let adi = Adi::new(Box::new(model)).unwrap();
    let mut pairs = adi.start(&config()).unwrap();
    let pool = pairs[0].pool().clone();
    let free = pool.available();
    dead.store(true, Ordering::Relaxed);
    assert!(adi.stats().unwrap_err().is_gone());
    pairs.clear();
    assert_eq!(
        pool.available(),
        free,
        "the device may still write the others"
    );
}

#[test]
fn queues_that_are_stopped_give_their_buffers_back() {
    let (_adi, mut pairs, _far) = start(1, &config());
    let pool = pairs[0].pool().clone();
    pairs.clear();
    assert_eq!(pool.available(), 2 * 64 + 64);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    /// Receives, keeps, drops and sends back frames in any order: no frame is lost or changed, and
    /// no buffer has two owners.
    #[test]
    fn no_buffer_is_lost_or_shared(
        steps in prop::collection::vec((0_u8..4, 1_usize..30), 1..60)
    ) {
        let (_adi, mut pairs, far) = start(1, &config());
        let pair = &mut pairs[0];
        let all = pair.pool().available() + 62;
        let (mut arrived, mut taken, mut returned, mut back) = (0_u32, 0_u32, 0_usize, 0_usize);
        let mut kept: Vec<Buffer> = Vec::new();
        for (step, n) in steps {
            match step {
                0 => for _ in 0..n {
                    far.send(&frame(MAC, PEER, arrived, 60 + n), FrameMeta::default());
                    arrived += 1;
                },
                1 => {
                    let before = kept.len();
                    pair.rx.receive(&mut kept, n).unwrap();
                    for got in &kept[before..] {
                        prop_assert_eq!(&got[14..18], &taken.to_le_bytes()[..]);
                        taken += 1;
                    }
                }
                2 => kept.truncate(kept.len().saturating_sub(n)),
                _ => {
                    let from = kept.len().saturating_sub(n);
                    returned += pair.tx.send(&mut kept.drain(from..)).unwrap();
                }
            }
            let mut starts: Vec<_> = kept.iter().map(|b| b.as_ptr()).collect();
            starts.sort_unstable();
            starts.dedup();
            prop_assert_eq!(starts.len(), kept.len());
            prop_assert!(kept.len() + pair.pool().available() + pair.tx.in_flight() <= all);
        }
        // Frames wait for buffers for at most 20 ms: those not received in time are lost, but in
        // order.
        until("sending back", || {
            back += std::iter::from_fn(|| far.recv()).count();
            pair.tx.reclaim().unwrap();
            back == returned && pair.tx.in_flight() == 0
        });
    }
}
