// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Endpoints that come and go while packets pass.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use adit_conntrack::testing::Flow;
use adit_node::device::Scope;
use adit_node::model::{Conditions, Name, Services};

use crate::common::{add_service, flow, TestNic};

pub(crate) const SYN: u8 = 0x02;
const RST: u8 = 0x04;
pub(crate) const ACK: u8 = 0x10;
pub(crate) const SERVICE: &str = "10.96.0.1:80";

pub(crate) fn service(endpoints: &BTreeMap<u8, Conditions>) -> Services {
    let mut services = Services::default();
    let endpoints = endpoints.iter();
    let endpoints = endpoints.map(|(pod, conditions)| ([10, 244, 0, *pod], *conditions));
    let name = Name::new("default", "web");
    add_service(&mut services, &name, [10, 96, 0, 1], endpoints);
    services
}

/// A sequence of numbers that look random, the same in every run.
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn below(&mut self, most: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % most
    }
}

/// Opens a connection and closes it. Returns the pod that got it.
fn probe(test: &mut TestNic, to: Flow) -> Option<u8> {
    let pod = test.pod(&to.tcp(SYN, 1, 0, &[]))?;
    let back = Flow {
        src: [10, 244, 0, pod].into(),
        src_port: 8080,
        dst: to.src,
        dst_port: to.src_port,
    };
    // A refused connection leaves no state.
    test.pod_sends(pod, &back.tcp(RST | ACK, 0, 2, &[]))
        .expect("an answer");
    Some(pod)
}

#[test]
fn connections_last_and_only_the_share_of_a_changed_endpoint_moves() {
    const PROBES: u16 = 96;
    const CHANGES: usize = 120;
    let mut test = TestNic::start();
    let mut nic = test.client();
    let mut numbers = Numbers(7);
    let ready = Conditions::default();
    let ends = Conditions {
        ready: false,
        serving: true,
        terminating: true,
    };
    let mut endpoints: BTreeMap<u8, Conditions> = (1..=8).map(|pod| (pod, ready)).collect();
    nic.apply(&Scope::All, &service(&endpoints))
        .expect("it is applied");
    let probe_flow = |n: u16| flow(&format!("198.51.100.7:{}", 10_000 + n), SERVICE);
    let mut choices: HashMap<u16, u8> = HashMap::new();
    // Established connections, with the endpoint that each has.
    let mut open: Vec<(Flow, u8)> = Vec::new();
    let (mut moved, mut carried, mut next) = (0, 0, 20_000_u16);
    for change in 0..CHANGES {
        // New connections between two changes.
        for _ in 0..3 {
            let to = flow(&format!("198.51.100.1:{next}"), SERVICE);
            next += 1;
            let pod = test
                .pod(&to.tcp(SYN, 1, 0, &[]))
                .expect("an endpoint is ready");
            assert!(endpoints[&pod].ready, "change {change}: {pod} is not ready");
            let back = flow(
                &format!("10.244.0.{pod}:8080"),
                &format!("198.51.100.1:{}", to.src_port),
            );
            test.pod_sends(pod, &back.tcp(SYN | ACK, 7, 2, &[]))
                .expect("an answer");
            assert_eq!(test.pod(&to.tcp(ACK, 2, 8, &[])), Some(pod));
            open.push((to, pod));
        }
        let before: BTreeSet<u8> = usable(&endpoints);
        let pod = 1 + numbers.below(16) as u8;
        match endpoints.get(&pod).map(|it| it.ready) {
            None => {
                endpoints.insert(pod, ready);
            }
            Some(true) if before.len() > 2 => {
                endpoints.insert(pod, ends);
            }
            Some(true) => {}
            Some(false) => {
                endpoints.remove(&pod);
                // Its connections end with it.
                open.retain(|(_, of)| *of != pod);
            }
        }
        nic.apply(&Scope::All, &service(&endpoints))
            .expect("it is applied");
        let after: BTreeSet<u8> = usable(&endpoints);
        for (to, pod) in &open {
            assert_eq!(
                test.pod(&to.tcp(ACK, 2, 8, &[])),
                Some(*pod),
                "change {change}"
            );
            carried += 1;
        }
        for n in 0..PROBES {
            let chosen = probe(&mut test, probe_flow(n)).expect("an endpoint is ready");
            assert!(
                after.contains(&chosen),
                "change {change}: a new flow goes to {chosen}"
            );
            if let Some(had) = choices.insert(n, chosen) {
                let is_forced = !after.contains(&had);
                let is_share = !before.contains(&chosen);
                assert!(
                    had == chosen || is_forced || is_share,
                    "change {change}: {had} to {chosen}, {before:?} to {after:?}"
                );
                moved += u32::from(had != chosen);
            }
        }
    }
    assert!(
        carried > 5000 && moved > 100,
        "{carried} packets, {moved} moved"
    );
    // With none left, nothing passes, and the connections end.
    nic.apply(&Scope::All, &service(&BTreeMap::new()))
        .expect("it is applied");
    for (to, _) in &open {
        assert_eq!(test.pod(&to.tcp(ACK, 2, 8, &[])), None);
    }
    assert_eq!(probe(&mut test, probe_flow(0)), None);
}

fn usable(endpoints: &BTreeMap<u8, Conditions>) -> BTreeSet<u8> {
    let ready = endpoints.iter().filter(|(_, it)| it.ready);
    ready.map(|(pod, _)| *pod).collect()
}
