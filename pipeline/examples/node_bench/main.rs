// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The time that packets take in the node's program (`p4/k8s_node.p4`), by kind, and endpoint changes
//! beside them. `cargo xtask bench node` runs it.
//!
//! ```sh
//! cargo run --release -p adit-pipeline --example node_bench -- [--quick] [--only KIND] [SERVICES CONNECTIONS]
//! valgrind --tool=callgrind target/release/examples/node_bench [--only KIND] [SERVICES CONNECTIONS] --batches COUNT
//! ```
//!
//! `--only` measures the kinds of packets whose names contain KIND; `--only changes` the changes.
//! `--batches` processes that many batches of each kind and nothing else: two runs with different
//! numbers have the instructions of a packet as their difference.
//!
//! The last line is a report in JSON.

mod churn;
mod load;
mod traffic;

use std::time::Duration;

use churn::Churn;
use load::Node;
use traffic::{Connections, Forwarder, Kind, Rate};

/// The simple Internet mix (IMIX): seven packets of 64 bytes, four of 570, one of 1518.
const IMIX: [usize; 12] = [64, 570, 64, 64, 570, 64, 1518, 64, 570, 64, 64, 570];
/// New connections in each half of a measurement.
const OPENED: usize = 100_000;

/// The kinds of packets and their sizes.
const ROWS: [(Kind, &str, &[usize]); 7] = [
    (Kind::Martian, "64", &[64]),
    (Kind::Switched, "64", &[64]),
    (Kind::Denied, "64", &[64]),
    (Kind::ToEndpoint, "64", &[64]),
    (Kind::Established, "64", &[64]),
    (Kind::Established, "imix", &IMIX),
    (Kind::Opening, "64", &[64]),
];

fn main() {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let place = arguments
        .iter()
        .position(|argument| argument == "--batches");
    let batches = place.map(|at| {
        let count = arguments
            .drain(at..)
            .nth(1)
            .and_then(|count| count.parse().ok());
        count.expect("--batches needs a number, as the last argument")
    });
    let is_quick = arguments.iter().any(|argument| argument == "--quick");
    let only = arguments.iter().skip_while(|a| *a != "--only").nth(1);
    let is_wanted = |name: &str| only.is_none_or(|only| name.contains(only.as_str()));
    let numbers: Vec<u32> = arguments.iter().filter_map(|n| n.parse().ok()).collect();
    let (services, count) = match numbers[..] {
        [services, count] => (services, count),
        _ => (10_000, 1_000_000),
    };
    let time = Duration::from_millis(if is_quick { 200 } else { 1000 });
    let node = Node::new(services, 2 * count + 4 * OPENED as u32);
    let connections = Connections::open(&node, count);
    if let Some(batches) = batches {
        return forward(&node, &connections, batches, is_wanted);
    }
    println!("{services} services, {count} connections, one core:");
    println!(
        "{:38} {:>5} | {:>6} {:>7} | {:>6} {:>6} {:>6} | {:>5}",
        "packets", "bytes", "Mpps", "ns", "p50", "p99", "p99.9", "sent%"
    );
    let mut next = count;
    let mut rows = Vec::new();
    for (kind, size, sizes) in ROWS.into_iter().filter(|row| is_wanted(row.0.name())) {
        let mut forwarder = Forwarder::new(&node, &connections, kind, sizes, next);
        let is_opening = kind == Kind::Opening;
        let limit = if is_opening { OPENED } else { usize::MAX };
        let rate = forwarder.measure(time, limit);
        next = forwarder.next();
        println!(
            "{:38} {:>5} | {:>6.2} {:>7.1} | {:>6} {:>6} {:>6} | {:>5.1}",
            kind.name(),
            size,
            rate.mpps,
            rate.batch_ns,
            rate.p50_ns,
            rate.p99_ns,
            rate.p99_9_ns,
            rate.sent_percent
        );
        let kind = kind.name();
        rows.push(format!(
            r#"{{"packets":"{kind}","bytes":"{size}",{}}}"#,
            json(&rate)
        ));
    }
    let churn = match is_wanted("changes") {
        true => churn::measure(&node, &connections, 2 * time),
        false => Churn::default(),
    };
    let (changes, beside) = (churn.changes_per_s, churn.beside);
    println!(
        "{changes:.0} endpoint changes/s, beside {:.2} Mpps (p99 {} ns)",
        beside.mpps, beside.p99_ns
    );
    println!(
        r#"{{"services":{services},"connections":{count},"rows":[{}],"changes_per_s":{changes},"beside":{{{}}}}}"#,
        rows.join(","),
        json(&beside)
    );
}

/// Processes that many batches of each kind, and measures nothing.
fn forward(
    node: &Node,
    connections: &Connections,
    batches: usize,
    is_wanted: impl Fn(&str) -> bool,
) {
    let mut next = connections.count();
    for (kind, _, sizes) in ROWS.into_iter().filter(|row| is_wanted(row.0.name())) {
        let mut forwarder = Forwarder::new(node, connections, kind, sizes, next);
        for _ in 0..batches {
            forwarder.batch();
        }
        next = forwarder.next();
    }
}

/// The members of a JSON object.
fn json(rate: &Rate) -> String {
    let Rate {
        mpps,
        batch_ns,
        p50_ns,
        p99_ns,
        p99_9_ns,
        sent_percent,
    } = rate;
    format!(
        r#""mpps":{mpps},"batch_ns":{batch_ns},"p50_ns":{p50_ns},"p99_ns":{p99_ns},"p99_9_ns":{p99_9_ns},"sent_percent":{sent_percent}"#
    )
}
