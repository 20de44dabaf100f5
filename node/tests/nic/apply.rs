// SPDX-License-Identifier: Apache-2.0 OR MIT
//! States of services, applied one after another.

use adit_node::device::{Scope, Setup};
use adit_node::model::{Name, Services};
use adit_node::nic::{Nic, NicError, Report};

use crate::common::{example, flow, services, TestNic};

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

/// A service of UDP and TCP at port 53, with endpoints in the states `r`eady, `t`erminating and
/// `u`nready, at pods from 1 on.
fn dns(endpoints: &str) -> Services {
    let endpoints = endpoints.chars().zip(1..).map(|(state, pod)| {
        let [ready, serving, terminating] = match state {
            'r' => [true, true, false],
            't' => [false, true, true],
            'u' => [false, false, false],
            _ => return String::new(),
        };
        format!(
            "- {{addresses: [10.244.0.{pod}], conditions: {{ready: {ready}, serving: {serving}, \
             terminating: {terminating}}}}}\n"
        )
    });
    let endpoints: String = endpoints.collect();
    let endpoints = if endpoints.is_empty() {
        "[]"
    } else {
        &*endpoints
    };
    let service = "kind: Service\napiVersion: v1\nmetadata: {name: dns}\nspec:\n  \
        clusterIP: 10.96.0.53\n  ports:\n  - {name: udp, port: 53, protocol: UDP}\n  \
        - {name: tcp, port: 53}\n";
    let slice = format!(
        "kind: EndpointSlice\napiVersion: discovery.k8s.io/v1\naddressType: IPv4\n\
         metadata: {{name: dns-1, labels: {{kubernetes.io/service-name: dns}}}}\n\
         ports:\n- {{name: udp, port: 5353, protocol: UDP}}\n- {{name: tcp, port: 5353}}\n\
         endpoints:\n{endpoints}"
    );
    services(&[service, &slice])
}

fn all(nic: &mut Nic, services: &Services) -> Report {
    nic.apply(&Scope::All, services).expect("it is applied")
}

#[test]
fn the_examples_are_applied_once_and_removed() {
    let test = TestNic::start();
    let services = services(&[&example("web.yaml"), &example("dns.yaml")]);
    let mut nic = test.client();
    let report = all(&mut nic, &services);
    assert!(report.skipped.is_empty(), "{:?}", report.skipped);
    assert!(
        report.inserted > 20 && report.modified + report.deleted == 0,
        "{report:?}"
    );
    assert!(all(&mut nic, &services).is_empty());
    // So does one that has to read it.
    drop(nic);
    let mut nic = test.client();
    assert!(all(&mut nic, &services).is_empty());
    let ports = nic.device().ports();
    let shown: Vec<_> = ports
        .iter()
        .map(|port| {
            let used = port.endpoints.iter().filter(|it| it.is_used).count();
            let (frontends, endpoints) = (port.frontends.len(), port.endpoints.len());
            format!("{} {} {frontends} {used}/{endpoints}", port.name, port.port)
        })
        .collect();
    assert_eq!(
        shown,
        ["web http 1 2/3", "dns dns 3 3/3", "dns dns-tcp 3 3/3"]
    );
    assert!(nic.is_current().expect("it answers"));

    let only = Scope::Only([Name::new("default", "web")].into());
    let report = nic
        .apply(&only, &Services::default())
        .expect("it is applied");
    assert!(report.deleted > 8 && report.inserted == 0, "{report:?}");
    assert_eq!(nic.device().ports().len(), 2);
    all(&mut nic, &Services::default());
    assert!(nic.device().ports().is_empty());
    drop(nic);
    assert_eq!(
        test.client().device().state().len(),
        1,
        "numbers of endpoints stay claimed"
    );
}

#[test]
fn connections_of_a_removed_endpoint_end_and_others_stay() {
    let mut test = TestNic::start();
    let mut nic = test.client();
    all(&mut nic, &dns("rr"));
    let mut pods = std::collections::HashMap::new();
    for port in 2000..2032 {
        let client = format!("198.51.100.1:{port}");
        let to = flow(&client, "10.96.0.53:53");
        pods.insert(port, test.pod(&to.udp(b"query")).expect("an endpoint"));
    }
    let on_first = pods.values().filter(|pod| **pod == 1).count() as u64;
    assert!(on_first > 0 && on_first < 32, "both have some: {on_first}");
    // The first terminates: it keeps its connections and gets no new one.
    let report = all(&mut nic, &dns("tr"));
    assert_eq!(report.connections, 0, "{report:?}");
    for (port, pod) in &pods {
        let to = flow(&format!("198.51.100.1:{port}"), "10.96.0.53:53");
        assert_eq!(test.pod(&to.udp(b"query")), Some(*pod));
    }
    for port in 3000..3032 {
        let to = flow(&format!("198.51.100.1:{port}"), "10.96.0.53:53");
        assert_eq!(test.pod(&to.udp(b"query")), Some(2));
    }
    // Then it is gone: its connections are deleted, their clients get the other.
    let report = all(&mut nic, &dns("-r"));
    assert_eq!(report.connections, on_first, "{report:?}");
    assert_eq!(test.tracker.len() as u64, 64 - on_first);
    for port in pods.keys() {
        let to = flow(&format!("198.51.100.1:{port}"), "10.96.0.53:53");
        assert_eq!(test.pod(&to.udp(b"query")), Some(2));
    }
    // So is the service; its connections go with it.
    let report = all(&mut nic, &Services::default());
    assert_eq!(report.connections, 64, "{report:?}");
    assert_eq!(test.tracker.len(), 0);
}

#[test]
fn a_sender_whose_service_comes_later_gets_it() {
    let mut test = TestNic::start();
    let mut nic = test.client();
    all(&mut nic, &dns("u"));
    let to = flow("198.51.100.1:2000", "10.96.0.53:53");
    assert_eq!(test.pod(&to.udp(b"query")), None, "no endpoint is ready");
    all(&mut nic, &dns("r"));
    assert_eq!(test.pod(&to.udp(b"query")), Some(1));
    // An unready endpoint ends the connections of UDP, as it does in kube-proxy.
    assert_eq!(all(&mut nic, &dns("u")).connections, 1);
    assert_eq!(test.tracker.len(), 0);
}

#[test]
fn the_last_endpoint_serves_while_it_terminates() {
    let mut test = TestNic::start();
    let mut nic = test.client();
    all(&mut nic, &dns("t"));
    let to = |port: u16| flow(&format!("198.51.100.1:{port}"), "10.96.0.53:53");
    assert_eq!(test.pod(&to(2000).tcp(SYN, 1, 0, &[])), Some(1));
    all(&mut nic, &dns("tr"));
    assert_eq!(test.pod(&to(2001).tcp(SYN, 1, 0, &[])), Some(2));
    let back = flow("10.244.0.1:5353", "198.51.100.1:2000");
    let answer = test
        .pod_sends(1, &back.tcp(SYN | ACK, 7, 2, &[]))
        .expect("an answer");
    assert_eq!(
        answer[12..16],
        [10, 96, 0, 53],
        "from the service's address"
    );
    assert_eq!(test.pod(&to(2000).tcp(ACK, 2, 8, &[])), Some(1));
}

#[test]
fn clients_stay_with_their_endpoint_until_it_goes() {
    let mut test = TestNic::start();
    let mut nic = test.client();
    let text = example("web.yaml");
    all(&mut nic, &services(&[&text]));
    let to = |client: u8, port: u16| {
        flow(&format!("198.51.100.{client}:{port}"), "10.3.241.122:80").tcp(SYN, 1, 0, &[])
    };
    let pods: Vec<_> = (1..=16)
        .map(|client| test.pod(&to(client, 2000)).expect("one"))
        .collect();
    assert!(pods.contains(&1) && pods.contains(&2) && !pods.contains(&3));
    for (client, pod) in (1..).zip(&pods) {
        for port in 2001..2009 {
            assert_eq!(test.pod(&to(client, port)), Some(*pod));
        }
    }
    // The first terminates.
    let end = "[10.244.0.1]\n  nodeName: node-1\n  conditions: {ready: true, serving: true, terminating: false}";
    assert!(text.contains(end));
    let ended = end
        .replace("ready: true", "ready: false")
        .replace("terminating: false", "terminating: true");
    let report = all(&mut nic, &services(&[&text.replace(end, &ended)]));
    let on_first = pods.iter().filter(|pod| **pod == 1).count() as u64;
    assert_eq!(report.clients, on_first, "{report:?}");
    for client in 1..=16 {
        assert_eq!(test.pod(&to(client, 3000)), Some(2));
    }
    // Its connections go on.
    let first = (1..)
        .zip(&pods)
        .find(|(_, pod)| **pod == 1)
        .expect("a client")
        .0;
    assert_eq!(test.pod(&to(first, 2000)), Some(1));
}

#[test]
fn counts_are_those_of_packets() {
    let mut test = TestNic::start();
    let mut nic = test.client();
    all(&mut nic, &dns("r"));
    for port in 2000..2003 {
        let to = flow(&format!("198.51.100.1:{port}"), "10.96.0.53:53");
        test.pod(&to.udp(b"query")).expect("an endpoint");
        test.pod(&to.udp(b"query")).expect("an endpoint");
    }
    let back = flow("10.244.0.1:5353", "198.51.100.1:2000");
    test.pod_sends(1, &back.udp(b"answer")).expect("an answer");
    let port = nic
        .device()
        .ports()
        .into_iter()
        .find(|it| it.port == "udp")
        .expect("a port");
    let opened = nic.opened().expect("counters");
    assert_eq!(opened[&port.frontends[0].key], 3);
    let counts = nic.counted(&[port.service]).expect("counters")[&port.service];
    assert_eq!(
        [counts[0].packets, counts[1].packets, counts[2].packets],
        [6, 1, 0]
    );
    let connections = nic.connections().expect("a tracker").expect("a tracker");
    assert_eq!(connections[&port.endpoints[0].id], 3);
    // One that is made anew has no old counts.
    all(&mut nic, &Services::default());
    all(&mut nic, &dns("r"));
    let counts = nic.counted(&[port.service]).expect("counters")[&port.service];
    assert_eq!(counts[0].packets, 0);
}

#[test]
fn a_reader_needs_no_role_and_a_server_that_is_gone_is_told() {
    let test = TestNic::start();
    let mut nic = test.client();
    all(&mut nic, &dns("r"));
    // A reader needs no role.
    let mut reader = Nic::connect(test.target(), Setup::default()).expect("it is there");
    reader.read().expect("it can be read");
    assert_eq!(reader.device().ports().len(), 2);
    let gone = test.target();
    drop((nic, reader, test));
    let error = Nic::connect(gone, Setup::default())
        .err()
        .expect("the server is gone");
    assert!(matches!(error, NicError::Client(_)), "{error}");
}
