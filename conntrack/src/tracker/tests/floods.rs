// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Floods: of SYNs from ever new sources, and of halves of datagrams.

use std::net::Ipv4Addr;

use super::*;
use crate::fragments::{FragmentLimits, Fragments, Reassembly};
use crate::testing::split;
use crate::Event;

/// The bytes of a segment of data.
const DATA: &[u8] = b"data";
/// Packets of the flood between two of established connections.
const FLOOD_PER_PACKET: u32 = 8;
/// The time between two packets of the flood: 100,000 arrive in a second.
const INTERVAL: Duration = Duration::from_micros(10);
/// Events that wait for their listener; it reads them after each packet.
const EVENTS: usize = 64;

/// Established connections that send data while a flood arrives.
struct Established {
    tracker: Tracker,
    now: Time,
    /// The segments that each connection has sent.
    sent: Vec<u32>,
    next: usize,
}

impl Established {
    fn open(capacity: usize, count: u32) -> Self {
        let mut this = Established {
            tracker: Tracker::new(capacity, Seed::new([4; 16]), Settings::default()),
            now: Time::from_secs(1000),
            sent: vec![0; count as usize],
            next: 0,
        };
        for number in 0..count {
            this.handshake(client(number));
        }
        assert_eq!(this.tracker.len(), count as usize);
        this
    }

    /// Tracks and commits a packet. Returns its state, or the refusal.
    fn pass(&self, packet: &[u8]) -> Result<CtState, CommitError> {
        let input = Input::new(packet);
        let mut tracked = self.tracker.track(&input, self.now);
        let commit = Commit::default();
        self.tracker
            .commit(&mut tracked, &input, &commit, self.now)?;
        Ok(tracked.state().without(CtState::TRACKED))
    }

    fn handshake(&mut self, flow: Flow) {
        let reply = flow.reverse();
        assert_eq!(self.pass(&flow.tcp(SYN, 100, 0, &[])), Ok(NEW));
        assert_eq!(self.pass(&reply.tcp(SYN | ACK, 500, 101, &[])), Ok(RPL));
        assert_eq!(self.pass(&flow.tcp(ACK, 101, 501, &[])), Ok(EST));
    }

    /// Passes data of the next connection, and its acknowledgement.
    fn send_data(&mut self) {
        let flow = client(self.next as u32);
        let seq = 101 + self.sent[self.next] * DATA.len() as u32;
        self.sent[self.next] += 1;
        self.next = (self.next + 1) % self.sent.len();
        let acknowledged = seq + DATA.len() as u32;
        assert_eq!(self.pass(&flow.tcp(ACK, seq, 501, DATA)), Ok(EST));
        let reply = flow.reverse().tcp(ACK, 501, acknowledged, &[]);
        assert_eq!(self.pass(&reply), Ok(RPL));
    }
}

fn client(number: u32) -> Flow {
    Flow {
        src: Ipv4Addr::from(0x0a00_0000 | number).into(),
        ..V4
    }
}

fn attacker(number: u32) -> Flow {
    Flow {
        src: Ipv4Addr::from(0x6400_0000 + number).into(),
        ..V4
    }
}

/// The resident memory of this process, in bytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().next());
    kibibytes.unwrap().parse::<usize>().unwrap() * 1024
}

/// Floods a table of `capacity` connections, of which `established` are established, with SYNs from
/// `sources` hosts. Returns the growth of the resident memory in the flood's last three quarters.
fn flood_with_syns(capacity: usize, established: u32, sources: u32) -> usize {
    let mut bench = Established::open(capacity, established);
    let memory = bench.tracker.memory();
    let events = EventMask {
        destroy: true,
        ..EventMask::NONE
    };
    let removals = bench.tracker.listen(events, EVENTS).unwrap();
    let mut refused = 0;
    let mut opened = 0;
    let mut before = 0;
    for number in 0..sources {
        bench.now = bench.now + INTERVAL;
        match bench.pass(&attacker(number).tcp(SYN, 7, 0, &[])) {
            Ok(state) => assert_eq!(state, NEW),
            Err(error) => {
                assert_eq!(error, CommitError::TableFull);
                refused += 1;
            }
        }
        if number % FLOOD_PER_PACKET == 0 {
            bench.send_data();
        }
        if number % 1024 == 0 {
            bench.tracker.expire(bench.now, 64);
            // New connections are let in as well.
            bench.handshake(client(established + opened));
            opened += 1;
        }
        while let Some(event) = removals.next() {
            let Event::Destroy(gone) = event else {
                panic!("{event:?}");
            };
            assert!(!gone.status.contains(Status::ASSURED), "{gone:?}");
        }
        assert!(bench.tracker.len() <= capacity);
        if number == sources / 4 {
            before = resident();
        }
    }
    assert_eq!(removals.lost(), 0);
    assert_eq!(bench.tracker.memory(), memory);
    assert!(bench.sent.iter().all(|&sent| sent > 0));
    let statistics = bench.tracker.statistics();
    assert_eq!(statistics.drop, refused);
    assert!(refused <= u64::from(sources) / 1000, "{refused}");
    let opened_before = u64::from(established + opened);
    let inserted = u64::from(sources) - refused + opened_before;
    assert_eq!(statistics.insert, inserted);
    let remaining = bench.tracker.len() as u64;
    assert_eq!(
        statistics.early_drop + statistics.expired + remaining,
        inserted
    );
    let grown = resident().saturating_sub(before);
    println!(
        "{sources} SYNs, {established} of {capacity} connections established: {refused} refused, \
         {} early drops, {} expired, {memory} bytes of table, resident memory grew by {grown}",
        statistics.early_drop, statistics.expired
    );
    grown
}

#[test]
fn a_flood_of_syns_spares_established_connections() {
    flood_with_syns(4096, 1600, 60_000);
}

/// `cargo test --release -p adit-conntrack --lib -- --ignored --nocapture floods`, about 256 MB.
#[test]
#[ignore = "takes a minute and 256 MB"]
fn ten_million_syns_spare_established_connections() {
    let grown = flood_with_syns(1_000_000, 400_000, 10_000_000);
    assert!(grown < 16 << 20, "{grown}");
}

/// Fragments of a flow, whose halves are apart by many of the flood, all become datagrams.
#[test]
fn a_flood_of_halves_does_not_stop_a_flow() {
    const BETWEEN: u32 = 1000;
    let limits = FragmentLimits::default();
    let mut fragments = Fragments::new(limits);
    let bench = Established::open(64, 0);
    let zone = crate::Zone::DEFAULT;
    let payload = [0x55; 1400];
    let mut number = 0;
    let mut flood = |fragments: &mut Fragments, count: u32| {
        for _ in 0..count {
            // First and last halves, of ever new hosts.
            let half = (number % 2) as usize;
            let packet = &split(&attacker(number).udp(&payload), 704)[half];
            let kept = fragments.insert(packet, zone, bench.now).unwrap();
            assert!(matches!(kept, Reassembly::Kept));
            number += 1;
            assert!(fragments.len() <= limits.datagrams && fragments.bytes() <= limits.bytes);
        }
    };
    for round in 0..20 {
        let datagram = client(round).udp(&payload);
        let halves = split(&datagram, 704);
        let order = if round % 2 == 0 { [0, 1] } else { [1, 0] };
        let first = fragments.insert(&halves[order[0]], zone, bench.now);
        assert!(matches!(first, Ok(Reassembly::Kept)));
        flood(&mut fragments, BETWEEN);
        match fragments.insert(&halves[order[1]], zone, bench.now) {
            Ok(Reassembly::Complete(complete)) => {
                assert_eq!(bench.pass(complete.packet()), Ok(NEW));
            }
            other => panic!("round {round}: {other:?}"),
        }
    }
    let statistics = fragments.statistics();
    assert_eq!(statistics.complete, 20);
    // The flood is more than is kept; the oldest of its halves went.
    let evicted = [
        statistics.evicted,
        statistics.evicted_of_port,
        statistics.evicted_of_source,
    ];
    assert!(evicted.iter().sum::<u64>() >= u64::from(number) - limits.datagrams as u64);
}
