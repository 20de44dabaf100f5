// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Endpoint changes a second over gRPC: services of eight endpoints each on a server with the node's
//! program, in this process; an endpoint of one service after the other terminates and is ready again.
//!
//! ```text
//! cargo run --release -p adit-node --example endpoint_changes [SERVICES [CHANGES]]
//! ```
#![allow(clippy::print_stdout, reason = "a measurement prints its result")]

#[allow(dead_code, reason = "packets are sent by tests")]
#[path = "../tests/nic/common.rs"]
mod common;

use std::collections::BTreeSet;
use std::time::Instant;

use adit_node::device::Scope;
use adit_node::model::{Conditions, Name, Services};

const ENDPOINTS: u16 = 8;

fn name(n: usize) -> Name {
    Name::new("default", format!("s{n}"))
}

fn services(count: usize) -> Services {
    let mut services = Services::default();
    for n in 0..count {
        let [high, low] = (n as u16).to_be_bytes();
        let endpoints =
            (0..ENDPOINTS).map(|it| ([10, 100 + it as u8, high, low], Conditions::default()));
        common::add_service(&mut services, &name(n), [10, 96, high, low], endpoints);
    }
    services
}

/// Lets an endpoint terminate, or be ready again.
fn toggle(services: &mut Services, n: usize, endpoint: usize) {
    let of = common::port_of(&name(n));
    let all = services.endpoints.get_mut(&of).expect("endpoints");
    let conditions = &mut all[endpoint].conditions;
    conditions.ready = !conditions.ready;
    conditions.terminating = !conditions.ready;
}

fn main() {
    let mut arguments = std::env::args()
        .skip(1)
        .map(|it| it.parse().expect("a number"));
    let count = arguments.next().unwrap_or(1000).clamp(1, 65_000);
    let changes = arguments.next().unwrap_or(2000);
    let test = common::TestNic::start();
    let mut nic = test.client();
    let mut services = services(count);
    let start = Instant::now();
    let report = nic.apply(&Scope::All, &services).expect("it is applied");
    println!(
        "{count} services of {ENDPOINTS} endpoints: {} entries in {:.2} s",
        report.inserted,
        start.elapsed().as_secs_f64()
    );
    let start = Instant::now();
    let report = nic.apply(&Scope::All, &services).expect("it is applied");
    assert!(report.is_empty());
    println!("compared again in {:.2} s", start.elapsed().as_secs_f64());
    for size in [1, 100] {
        let (mut done, mut updates) = (0, 0);
        let start = Instant::now();
        while done < changes {
            let mut names = BTreeSet::new();
            for _ in 0..size {
                toggle(
                    &mut services,
                    done % count,
                    done / count % usize::from(ENDPOINTS),
                );
                names.insert(name(done % count));
                done += 1;
            }
            let report = nic
                .apply(&Scope::Only(names), &services)
                .expect("it is applied");
            updates += report.inserted + report.modified + report.deleted;
        }
        println!(
            "{size} endpoints a change: {:.0} endpoints/s, {:.1} updates each",
            done as f64 / start.elapsed().as_secs_f64(),
            updates as f64 / done as f64
        );
    }
}
