// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Endpoint changes beside packets: one core forwards, the other lets an endpoint leave its service
//! and another one come, as a reconciler writes it.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::load::{member, Node, ENDPOINTS};
use super::traffic::{Connections, Forwarder, Kind, Rate};

/// The figures of a measurement.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Churn {
    /// Endpoints that left or came, per second.
    pub(super) changes_per_s: f64,
    /// The packets meanwhile.
    pub(super) beside: Rate,
}

/// Measures for about `time`.
pub(super) fn measure(node: &Node, connections: &Connections, time: Duration) -> Churn {
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let packets = scope.spawn(|| {
            let kind = Kind::Established;
            let mut forwarder = Forwarder::new(node, connections, kind, &[64], 0);
            let rate = forwarder.measure(time / 2, usize::MAX);
            is_over.store(true, Relaxed);
            rate
        });
        let (mut changes, start) = (0u64, Instant::now());
        // Ids that no endpoint has had.
        let mut id = node.services * ENDPOINTS + 1;
        while !is_over.load(Relaxed) {
            replace(node, changes as u32 / 2, id);
            id += 1;
            changes += 2;
        }
        let seconds = start.elapsed().as_secs_f64();
        let beside = packets.join().expect("the forwarding core gave up");
        Churn {
            changes_per_s: changes as f64 / seconds,
            beside,
        }
    })
}

/// One endpoint of a service leaves, and one with a new id takes its address. The connections of the
/// first one are not measured any more, as their packets are refused; so only endpoints that came
/// later leave.
fn replace(node: &Node, n: u32, id: u32) {
    let service = n.wrapping_mul(0x9e37_79b1) % node.services;
    let members = node.members();
    let group = service + 1;
    let old = members.group(group).expect("a service has a group");
    let own = ENDPOINTS * service;
    let (mut staying, leaving): (Vec<_>, Vec<_>) = old
        .into_iter()
        .partition(|m| (own + 1..=own + ENDPOINTS).contains(&m.member));
    members.modify_group(group, &staying).expect("a group");
    for gone in leaving {
        node.remove_endpoint(gone.member);
    }
    node.add_endpoint(id, service, n % ENDPOINTS);
    staying.push(member(id));
    members.modify_group(group, &staying).expect("a group");
}
