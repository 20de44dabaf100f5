// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Endpoints that come and go while other threads pass packets.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use adit_conntrack::testing::Flow;
use adit_node::device::Scope;
use adit_node::model::Conditions;
use adit_node_oracle::nic::Lane;
use adit_pipeline::p4::NO_QUEUE;

use crate::churn::{service, Numbers, ACK, SERVICE, SYN};
use crate::common::{flow, pod_of, pod_port, TestNic, WIRE};

const PODS: usize = 8;
const CHANGES: u64 = 1000;
/// Packets that pass between two changes at least.
const PACKETS: u64 = 16;
const LANES: u16 = 2;
/// Connections of a lane that are kept open.
const OPEN: usize = 32;

/// The [`Phase`]s of each pod that the control plane has begun, counted since the beginning.
#[derive(Default)]
struct Pods {
    /// Of being chosen for new connections.
    takes: [Phases; PODS],
    /// Of being an endpoint, ready or terminating.
    exists: [Phases; PODS],
}

/// A number that counts up by one with each change between four phases.
#[derive(Default)]
struct Phases(AtomicU64);

/// The remainder of [`Phases`] by four.
const OUT: u64 = 0;
const IN: u64 = 2;

impl Phases {
    fn look(&self) -> u64 {
        self.0.load(SeqCst)
    }

    /// Goes a step towards a phase: once before the change, and once after it.
    fn step(&self, to: u64) {
        if self.look() % 4 != to {
            self.0.fetch_add(1, SeqCst);
        }
    }
}

/// A connection, its pod, and how often that had come and gone when it was opened.
struct Open {
    to: Flow,
    pod: usize,
    exists: u64,
}

/// Counts of a lane.
#[derive(Debug, Default)]
struct Seen {
    opened: u64,
    carried: u64,
    ended: u64,
    /// Packets while the control plane changed their pod, about which nothing can be said.
    between: u64,
}

/// The pod that a packet from the wire reaches, from 0 on.
fn reaches(lane: &mut Lane, packet: &[u8]) -> Option<usize> {
    let left = lane.pass(WIRE, NO_QUEUE, packet);
    let to = left.iter().find(|it| !it.is_answer)?;
    Some(usize::from(pod_of(to.port)?) - 1)
}

/// Opens a connection.
fn open(lane: &mut Lane, pods: &Pods, to: Flow, seen: &mut Seen) -> Option<Open> {
    let takes = pods.takes.each_ref().map(Phases::look);
    let exists = pods.exists.each_ref().map(Phases::look);
    let pod = reaches(lane, &to.tcp(SYN, 1, 0, &[])).expect("two endpoints are ready at any time");
    assert!(
        takes[pod] % 4 != OUT || pods.takes[pod].look() != takes[pod],
        "{} gets a new connection, and is not in the group",
        pod + 1
    );
    seen.opened += 1;
    let back = flow(
        &format!("10.244.0.{}:8080", pod + 1),
        &format!("{}:{}", to.src, to.src_port),
    );
    lane.pass(
        pod_port(pod as u8 + 1),
        NO_QUEUE,
        &back.tcp(SYN | ACK, 7, 2, &[]),
    );
    let exists = exists[pod];
    let is_stable = exists % 4 == IN && pods.exists[pod].look() == exists;
    is_stable.then_some(Open { to, pod, exists })
}

/// Sends on a connection. Returns whether it lasts.
fn carry(lane: &mut Lane, pods: &Pods, open: &Open, seen: &mut Seen) -> bool {
    let before = pods.exists[open.pod].look();
    let reached = reaches(lane, &open.to.tcp(ACK, 2, 8, &[]));
    let after = pods.exists[open.pod].look();
    if before == open.exists && after == open.exists {
        assert_eq!(reached, Some(open.pod), "an established connection");
        seen.carried += 1;
        return true;
    }
    // It has left for good, even if the same pod is an endpoint again.
    if before >= open.exists + 2 {
        assert_eq!(reached, None, "a connection whose endpoint is gone");
        seen.ended += 1;
    } else {
        seen.between += 1;
    }
    false
}

/// Passes packets until the changes are done.
fn traffic(
    mut lane: Lane,
    number: u16,
    pods: &Pods,
    packets: &AtomicU64,
    done: &AtomicBool,
) -> Seen {
    let mut seen = Seen::default();
    let mut all: Vec<Open> = Vec::new();
    let mut numbers = Numbers(u64::from(number) + 1);
    let mut next = 0_u32;
    while !done.load(SeqCst) {
        if all.len() < OPEN {
            // No tuple is used twice while it is remembered.
            let client = format!("198.51.{}.{}", 100 + number, 1 + next / 60_000 % 250);
            let to = flow(&format!("{client}:{}", 1024 + next % 60_000), SERVICE);
            next += 1;
            all.extend(open(&mut lane, pods, to, &mut seen));
        } else {
            let at = numbers.below(all.len());
            if !carry(&mut lane, pods, &all[at], &mut seen) {
                all.swap_remove(at);
            }
        }
        packets.fetch_add(1, SeqCst);
    }
    seen
}

#[test]
fn a_thousand_changes_beside_traffic_break_no_connection() {
    let test = TestNic::start();
    let mut nic = test.client();
    let ready = Conditions::default();
    let ends = Conditions {
        ready: false,
        serving: true,
        terminating: true,
    };
    let pods = Pods::default();
    let mut endpoints: BTreeMap<u8, Conditions> = (1..=4).map(|pod| (pod, ready)).collect();
    for phases in pods.takes[..4].iter().chain(&pods.exists[..4]) {
        phases.step(IN);
        phases.step(IN);
    }
    nic.apply(&Scope::All, &service(&endpoints))
        .expect("it is applied");
    let (packets, done) = (AtomicU64::new(0), AtomicBool::new(false));
    let mut numbers = Numbers(7);
    let mut changes = 0;
    let seen: Vec<Seen> = std::thread::scope(|scope| {
        // The lanes end, also if this thread fails.
        let ends_lanes = Ends(&done);
        let lanes: Vec<_> = (0..LANES)
            .map(|number| {
                let lane = test.lane();
                let (pods, packets, done) = (&pods, &packets, &done);
                scope.spawn(move || traffic(lane, number, pods, packets, done))
            })
            .collect();
        while changes < CHANGES {
            let pod = 1 + numbers.below(PODS) as u8;
            let at = usize::from(pod) - 1;
            let count = endpoints.values().filter(|it| it.ready).count();
            match endpoints.get(&pod).map(|it| it.ready) {
                None => endpoints.insert(pod, ready),
                Some(true) if count > 2 => endpoints.insert(pod, ends),
                Some(true) => continue,
                Some(false) => endpoints.remove(&pod),
            };
            let now = endpoints.get(&pod);
            let phase = |is| if is { IN } else { OUT };
            let takes = (&pods.takes[at], phase(now.is_some_and(|it| it.ready)));
            let exists = (&pods.exists[at], phase(now.is_some()));
            let both = [takes, exists];
            both.iter().for_each(|(phases, to)| phases.step(*to));
            nic.apply(&Scope::All, &service(&endpoints))
                .expect("it is applied");
            both.iter().for_each(|(phases, to)| phases.step(*to));
            changes += 1;
            let wanted = packets.load(SeqCst) + PACKETS;
            while packets.load(SeqCst) < wanted && lanes.iter().any(|it| !it.is_finished()) {
                std::thread::yield_now();
            }
        }
        drop(ends_lanes);
        lanes
            .into_iter()
            .map(|lane| {
                lane.join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
            .collect()
    });
    let sum = |of: fn(&Seen) -> u64| seen.iter().map(of).sum::<u64>();
    let all = sum(|it| it.opened + it.carried + it.ended + it.between);
    assert!(all >= CHANGES * PACKETS, "{seen:?}");
    // Most packets are beside the change of another pod; and connections of those that went have ended.
    assert!(sum(|it| it.carried) > all / 2, "{seen:?}");
    assert!(sum(|it| it.opened) > CHANGES / 4, "{seen:?}");
    assert!(sum(|it| it.ended) > CHANGES / 10, "{seen:?}");
}

/// Ends the lanes.
struct Ends<'s>(&'s AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}
