// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Measures the connection tracker at a number of connections, with some threads: inserts, lookups,
//! packets, expiries, and how long a packet takes while all else expires. `cargo xtask bench ct` runs it
//! at several sizes.
//!
//! ```text
//! cargo run --release -p adit-conntrack --example ct_bench -- [--json] [CONNECTIONS [THREADS]]
//! valgrind --tool=callgrind target/release/examples/ct_bench --count OPERATION NUMBER
//! ```
//!
//! `--count` does an operation (insert, insert_burst, track, track_burst, data) that many times and nothing
//! else: two runs with different numbers have the instructions of one as their difference.

mod packets;
mod pauses;

use std::time::{Duration, Instant};

use adit_conntrack::{
    Checksums, Commit, ConnectionRef, Cursor, Input, Seed, Settings, Time, Tracker, Zone, BURST,
};
use rustix::time::{clock_gettime, ClockId};

use packets::{acknowledgement, data, packet, segment, tuple, ACK, DATA, SYN};
use pauses::{expire, Pauses, ALIVE, FIRST_ALIVE};

/// The least number of connections that are inserted: a small table is filled several times.
const INSERTS: u32 = 500_000;
/// Lookups and packets of each thread.
const LOOKUPS: u32 = 2_000_000;

/// Tracks a packet, and commits it.
fn track(tracker: &Tracker, packet: &[u8], now: Time) -> ConnectionRef {
    let input = Input {
        checksums: Checksums::Valid,
        ..Input::new(packet)
    };
    let mut tracked = tracker.track(&input, now);
    let committed = tracker.commit(&mut tracked, &input, &Commit::default(), now);
    committed.expect("the table has place");
    let Some(connection) = tracked.connection() else {
        panic!("{:?}", tracked.invalid_reason());
    };
    connection
}

/// Tracks a packet of each flow in bursts, and commits them if they are new.
fn track_bursts(tracker: &Tracker, mut flows: impl Iterator<Item = u32>, are_new: bool, now: Time) {
    let mut packets = [[0; 28]; BURST];
    loop {
        let mut count = 0;
        for (packet, flow) in packets.iter_mut().zip(&mut flows) {
            *packet = packets::packet(flow);
            count += 1;
        }
        if count == 0 {
            return;
        }
        let inputs = packets.each_ref().map(|packet| Input {
            checksums: Checksums::Valid,
            ..Input::new(packet)
        });
        let mut found = 0;
        tracker.track_burst(&inputs[..count], now, |at, mut tracked| {
            if are_new {
                let committed = tracker.commit(&mut tracked, &inputs[at], &Commit::default(), now);
                committed.expect("the table has place");
            }
            found += usize::from(tracked.connection().is_some());
        });
        assert_eq!(found, count);
    }
}

/// Removes all connections.
fn flush(tracker: &Tracker, now: Time) {
    let mut cursor = Some(Cursor::default());
    while let Some(from) = cursor {
        cursor = tracker.flush(from, now).1;
    }
}

/// Opens a TCP connection.
fn open(tracker: &Tracker, connection: u32, now: Time) {
    for packet in [
        segment::<40>(connection, false, SYN, 0, 0),
        segment(connection, true, SYN | ACK, 0, 1),
        segment(connection, false, ACK, 1, 1),
    ] {
        track(tracker, &packet, now);
    }
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

/// The time of an operation of one thread.
#[derive(Clone, Copy)]
struct Each {
    /// Wall-clock time.
    wall: Duration,
    /// CPU time: on a machine under load, it is the shorter one.
    processor: Duration,
}

/// The CPU time of this thread.
fn on_processor() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Runs `work` in all threads, and returns the time of an operation of a thread.
fn measure(threads: u32, operations: u32, work: impl Fn(u32) + Sync) -> Each {
    let begin = Instant::now();
    let processor: Duration = std::thread::scope(|scope| {
        let threads = (0..threads).map(|thread| {
            let work = &work;
            scope.spawn(move || {
                let begin = on_processor();
                work(thread);
                on_processor().saturating_sub(begin)
            })
        });
        let threads: Vec<_> = threads.collect();
        let times = threads.into_iter().map(|thread| thread.join());
        times.map(|time| time.expect("it does not panic")).sum()
    });
    Each {
        wall: begin.elapsed() / operations.max(1),
        processor: processor / threads / operations.max(1),
    }
}

/// The figures of a run. Times are those of an operation of one thread.
struct Figures {
    connections: u32,
    threads: u32,
    bytes: f64,
    insert: Each,
    insert_burst: Each,
    lookup: Each,
    track: Each,
    track_burst: Each,
    data: Each,
    expire: Each,
    pauses: Pauses,
}

impl Figures {
    fn rows(&self) -> [(&'static str, Each); 7] {
        [
            ("insert", self.insert),
            ("insert_burst", self.insert_burst),
            ("lookup", self.lookup),
            ("track", self.track),
            ("track_burst", self.track_burst),
            ("data", self.data),
            ("expire", self.expire),
        ]
    }

    fn json(&self) -> String {
        let mut text = format!(
            "{{\"connections\":{},\"threads\":{},\"bytes_per_connection\":{:.1}",
            self.connections, self.threads, self.bytes
        );
        for (name, each) in self.rows() {
            let [wall, processor] = [each.wall, each.processor].map(|time| time.as_nanos());
            text += &format!(",\"{name}_ns\":{wall},\"{name}_processor_ns\":{processor}");
        }
        text += &format!(",{}", self.pauses.json());
        text + "}"
    }
}

impl std::fmt::Display for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(
            f,
            "{} connections, {} threads, {:.1} bytes a connection",
            self.connections, self.threads, self.bytes
        )?;
        for (name, each) in self.rows() {
            let [wall, processor] = [each.wall, each.processor].map(|time| time.as_nanos());
            let rate = 1e3 / wall.max(1) as f64;
            writeln!(
                f,
                "{name:12} {wall:>8} ns, CPU time {processor:>8} ns, {rate:>9.3} M/s and thread"
            )?;
        }
        write!(f, "{}", self.pauses)
    }
}

/// Fills the table with `fill`, which inserts the connections with these numbers, again and again until
/// enough were inserted. The time of emptying it is not counted.
fn inserts(
    tracker: &Tracker,
    share: u32,
    threads: u32,
    now: Time,
    fill: impl Fn(std::ops::Range<u32>) + Sync,
) -> Each {
    let rounds = INSERTS.div_ceil(share * threads);
    let mut sum = Each {
        wall: Duration::ZERO,
        processor: Duration::ZERO,
    };
    for _ in 0..rounds {
        flush(tracker, now);
        let each = measure(threads, share, |thread| {
            fill(thread * share..(thread + 1) * share);
        });
        sum.wall += each.wall;
        sum.processor += each.processor;
    }
    Each {
        wall: sum.wall / rounds,
        processor: sum.processor / rounds,
    }
}

/// Measures at a number of connections, with some threads.
fn run(connections: u32, threads: u32) -> Figures {
    let now = Time::from_secs(1);
    let tracker = Tracker::new(
        (connections + ALIVE) as usize,
        Seed::new([42; 16]),
        Settings::default(),
    );
    let share = connections / threads;
    let insert = inserts(&tracker, share, threads, now, |flows| {
        for flow in flows {
            track(&tracker, &packet(flow), now);
        }
    });
    let insert_burst = inserts(&tracker, share, threads, now, |flows| {
        track_bursts(&tracker, flows, true, now);
    });
    let lookup = measure(threads, LOOKUPS, |thread| {
        let mut found = 0;
        for flow in shuffled(share * threads, thread).take(LOOKUPS as usize) {
            found += u32::from(tracker.lookup(&tuple(flow), Zone::DEFAULT, now).is_some());
        }
        assert_eq!(found, LOOKUPS);
    });
    let tracked = measure(threads, LOOKUPS, |thread| {
        for flow in shuffled(share * threads, thread).take(LOOKUPS as usize) {
            let packet = packet(flow);
            let input = Input {
                checksums: Checksums::Valid,
                ..Input::new(&packet)
            };
            assert!(tracker.track(&input, now).connection().is_some());
        }
    });
    let track_burst = measure(threads, LOOKUPS, |thread| {
        let flows = shuffled(share * threads, thread).take(LOOKUPS as usize);
        track_bursts(&tracker, flows, false, now);
    });
    let bulk = Tracker::new(1024, Seed::new([42; 16]), Settings::default());
    for thread in 0..threads {
        open(&bulk, thread, now);
    }
    let data = measure(threads, LOOKUPS, |thread| {
        transfer(&bulk, thread, LOOKUPS, now);
    });
    let later = Time::from_secs(3600);
    for number in 0..ALIVE {
        track(&tracker, &packet(FIRST_ALIVE + number), later);
    }
    let (expire, pauses) = expire(&tracker, threads, later);
    Figures {
        connections,
        threads,
        bytes: tracker.memory() as f64 / tracker.capacity() as f64,
        insert,
        insert_burst,
        lookup,
        track: tracked,
        track_burst,
        data,
        expire,
        pauses,
    }
}

/// Connections of [`count`] with packets.
const COUNTED: u32 = 1024;

/// Does an operation a number of times, and measures nothing.
fn count(operation: &str, number: u32) {
    let now = Time::from_secs(1);
    let tracker = Tracker::new(10_000, Seed::new([42; 16]), Settings::default());
    let flows = |count: u32| (0..count).map(|number| number % COUNTED);
    if operation.starts_with("track") {
        track_bursts(&tracker, flows(COUNTED), true, now);
    }
    match operation {
        "insert" => (0..number).for_each(|flow| {
            track(&tracker, &packet(flow), now);
        }),
        "insert_burst" => track_bursts(&tracker, 0..number, true, now),
        "track" => flows(number).for_each(|flow| {
            track(&tracker, &packet(flow), now);
        }),
        "track_burst" => track_bursts(&tracker, flows(number), false, now),
        "data" => {
            open(&tracker, 0, now);
            transfer(&tracker, 0, number, now);
        }
        other => panic!("--count has no operation {other}"),
    }
}

/// Passes segments of a connection in both directions in turn. Data makes the timeout short, its
/// acknowledgement long again.
fn transfer(tracker: &Tracker, connection: u32, segments: u32, now: Time) {
    for number in 0..segments / 2 {
        let seq = number.wrapping_mul(DATA as u32);
        let then = now + Duration::from_millis(number.into());
        track(tracker, &data(connection, seq), then);
        let acknowledgement = acknowledgement(connection, seq.wrapping_add(DATA as u32));
        track(tracker, &acknowledgement, then);
    }
}

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    if let [flag, operation, number] = &arguments[..] {
        if flag == "--count" {
            return count(operation, number.parse().expect("a number"));
        }
    }
    let is_json = arguments.iter().any(|argument| argument == "--json");
    let mut numbers = arguments.iter().filter(|argument| *argument != "--json");
    let mut next = |default| {
        let text = numbers.next();
        text.map_or(default, |text| text.parse().expect("a number"))
    };
    let connections = next(1_000_000);
    let threads = next(1).max(1);
    let figures = run(connections, threads);
    if is_json {
        println!("{}", figures.json());
    } else {
        print!("{figures}");
    }
}
