// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Measures the connection tracker: inserts, lookups and expiries a second at a number of
//! connections, with some threads.
//!
//! ```text
//! cargo run --release -p adit-conntrack --example ct_bench -- [CONNECTIONS [THREADS]]
//! ```

use std::time::{Duration, Instant};

use adit_conntrack::{
    Checksums, Commit, Endpoint, Input, Protocol, Seed, Settings, Time, Tracker, Tuple, Zone,
};

/// Steps of the timer wheels in a call of `expire`: what a packet may have to wait for.
const EXPIRE_BUDGET: usize = 64;
/// The offset of the UDP header in a packet.
const UDP: usize = 20;

/// A UDP packet of a flow. Its checksums are not filled in.
fn packet(flow: u32) -> [u8; 28] {
    let mut packet = [0; 28];
    packet[..12].copy_from_slice(&[0x45, 0, 0, 28, 0, 1, 0, 0, 64, 17, 0, 0]);
    packet[12..16].copy_from_slice(&(0x0a00_0000 | flow >> 8).to_be_bytes());
    packet[16..20].copy_from_slice(&[192, 0, 2, 1]);
    packet[UDP..UDP + 2].copy_from_slice(&(1024 + (flow as u16 & 0xff)).to_be_bytes());
    packet[UDP + 2..UDP + 6].copy_from_slice(&[0, 53, 0, 8]);
    packet
}

fn tuple(flow: u32) -> Tuple {
    let src = std::net::Ipv4Addr::from(0x0a00_0000 | flow >> 8).into();
    Tuple::new(
        Protocol::UDP,
        Endpoint {
            address: src,
            part: 1024 + (flow as u16 & 0xff),
        },
        Endpoint {
            address: std::net::IpAddr::from([192, 0, 2, 1]),
            part: 53,
        },
    )
}

/// The numbers of flows in an order that caches cannot foresee (xorshift).
fn shuffled(count: u32, salt: u32) -> impl Iterator<Item = u32> {
    let mut state = 0x9e37_79b9 ^ (salt + 1).wrapping_mul(0x85eb_ca6b);
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        ((u64::from(state) * u64::from(count)) >> 32) as u32
    })
}

/// Runs `work` in all threads, and returns how long an operation of a thread takes.
fn measure(threads: u32, operations: u32, work: impl Fn(u32) + Sync) -> Duration {
    let begin = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let work = &work;
            scope.spawn(move || work(thread));
        }
    });
    begin.elapsed() / operations.max(1)
}

fn report(what: &str, threads: u32, each: Duration) {
    let rate = f64::from(threads) * 1e3 / each.as_nanos().max(1) as f64;
    println!("{what:<34} {:>8} ns {rate:>9.3} M/s", each.as_nanos());
}

fn main() {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<u32>());
    let mut next = |default| {
        arguments
            .next()
            .map_or(default, |number| number.expect("a number"))
    };
    let connections = next(1_000_000);
    let threads = next(1).max(1);
    let now = Time::from_secs(1);
    let begin = Instant::now();
    let tracker = Tracker::new(
        connections as usize,
        Seed::new([42; 16]),
        Settings::default(),
    );
    println!(
        "{connections} connections, {threads} threads, {:.1} octets a connection, made in {:?}",
        tracker.memory() as f64 / f64::from(connections),
        begin.elapsed(),
    );

    let share = connections / threads;
    let each = measure(threads, share, |thread| {
        for flow in thread * share..(thread + 1) * share {
            let packet = packet(flow);
            let input = Input {
                checksums: Checksums::Valid,
                ..Input::new(&packet)
            };
            let mut tracked = tracker.track(&input, now);
            let committed = tracker.commit(&mut tracked, &input, &Commit::default(), now);
            committed.expect("the table has place");
        }
    });
    report("insert (track and commit)", threads, each);

    let lookups = 2_000_000;
    let each = measure(threads, lookups, |thread| {
        let mut found = 0;
        for flow in shuffled(share * threads, thread).take(lookups as usize) {
            found += u32::from(tracker.lookup(&tuple(flow), Zone::DEFAULT, now).is_some());
        }
        assert_eq!(found, lookups);
    });
    report("lookup of a random tuple", threads, each);

    let each = measure(threads, lookups, |thread| {
        for flow in shuffled(share * threads, thread).take(lookups as usize) {
            let packet = packet(flow);
            let input = Input {
                checksums: Checksums::Valid,
                ..Input::new(&packet)
            };
            assert!(tracker.track(&input, now).connection().is_some());
        }
    });
    report("track a packet of a random flow", threads, each);

    // All timeouts pass at once; each call of the first thread is what a packet would wait for.
    let later = Time::from_secs(3600);
    let expired = tracker.len() as u32;
    let mut longest = Duration::ZERO;
    let begin = Instant::now();
    let mut before = begin;
    while tracker.expire(later, EXPIRE_BUDGET) {
        let after = Instant::now();
        longest = longest.max(after - before);
        before = after;
    }
    report("expire", 1, begin.elapsed() / expired.max(1));
    println!(
        "longest call of expire: {longest:?}; {} connections left",
        tracker.len()
    );
}
