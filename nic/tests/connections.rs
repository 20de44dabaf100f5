// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The connections of a NIC: their lifetime beside programs, and the service on P4Runtime's listener.

use std::path::Path;
use std::time::{Duration, Instant};

use adit_conntrack::{Endpoint, NewConnection, Protocol, Time, Tracker, Tuple};
use adit_conntrack_rpc::client::Client as Connections;
use adit_conntrack_rpc::proto;
use adit_nic::connections::{tracker, DEFAULT_CONNECTIONS};
use adit_nic::control::AdiLimits;
use adit_nic::embedded::Nic;
use adit_nic::p4rt::P4Rt;
use adit_nic::runtime::Setup;
use adit_nic::wire::WireSpec;
use adit_p4runtime::client::{connect, Client, Target};
use adit_p4runtime::program::Package;
use adit_p4runtime::proto::v1;

const PROGRAM: &str = include_str!("p4runtime/clients.p4");

fn insert(tracker: &Tracker, port: u16, timeout: Duration) {
    let end = |last, part| Endpoint {
        address: [10, 0, 0, last].into(),
        part,
    };
    let original = Tuple::new(Protocol::UDP, end(1, port), end(2, 53)).expect("one family");
    let reply = original.invert().expect("it has an answer");
    let new = NewConnection::new(original, reply, timeout);
    // The clock of the NIC has begun just now.
    let created = tracker.create_connection(&new, Time::ZERO);
    created.expect("a place");
}

/// The options of a NIC with a table of 64 connections.
fn setup() -> Setup {
    Setup {
        wires: vec![WireSpec::None],
        mac: "02:ad:17:00:00:01".parse().expect("an address"),
        p4: None,
        p4_options: Default::default(),
        connections: 64,
        reserved_ports: Vec::new(),
        p4rt: None,
        metrics: None,
    }
}

#[test]
fn a_program_tracks_connections_in_the_table_of_the_nic() {
    let mut setup = setup();
    setup.p4 = Some(Path::new(env!("CARGO_MANIFEST_DIR")).join("../p4/conntrack.p4"));
    let refused = Nic::start(&setup, AdiLimits::default()).err();
    let text = format!("{:#}", refused.expect("the table is too small"));
    assert!(
        text.contains("need 16384 connections, the table has 64"),
        "{text}"
    );
    setup.connections = 16_384;
    Nic::start(&setup, AdiLimits::default()).expect("a NIC");
}

#[test]
fn connections_outlast_a_program_and_expire() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("p4rt.sock");
    let address = format!("unix:{}", path.display());
    let mut setup = setup();
    setup.p4rt = Some(P4Rt {
        address: address.parse().expect("an address"),
        device_id: 1,
        certificate: None,
        key: None,
        clients: None,
    });
    let nic = Nic::start(&setup, AdiLimits::default()).expect("a NIC");
    insert(nic.connections(), 1, Duration::from_secs(3600));
    insert(nic.connections(), 2, Duration::from_millis(1));

    // A thread of the NIC removes it: nothing here calls the tracker.
    let begun = Instant::now();
    while nic.connections().len() > 1 {
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "none has expired"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(nic.connections().statistics().expired, 1);
    assert!(nic.metrics().contains("adit_connections 1\n"));

    let mut p4runtime = Client::connect(Target {
        address: address.clone(),
        device_id: 1,
        role: String::new(),
        tls: None,
    })
    .expect("a server");
    let package = Package::source(PROGRAM);
    let config = v1::ForwardingPipelineConfig {
        p4_device_config: package.to_bytes(),
        ..Default::default()
    };
    p4runtime.load(config, false).expect("the program is right");

    let (runtime, channel) = connect(&address, None).expect("a server");
    let mut connections = Connections::new(runtime, channel);
    let count = connections.count(proto::CountRequest {}).expect("a count");
    assert_eq!((count.connections, count.max_connections), (1, 64));

    // Streams of clients do not keep the NIC: the P4Runtime client has one, and so has a watch.
    let _watch = connections
        .watch(proto::WatchRequest {
            destroy: true,
            ..Default::default()
        })
        .expect("a watch");
    let begun = Instant::now();
    nic.stop().expect("no thread has failed");
    assert!(
        begun.elapsed() < Duration::from_secs(60),
        "it waits for clients"
    );
}

#[test]
fn memory_is_that_of_the_documentation() {
    let tracker = tracker(DEFAULT_CONNECTIONS).expect("random numbers");
    assert_eq!(tracker.capacity(), DEFAULT_CONNECTIONS as usize);
    let each = tracker.memory() / tracker.capacity();
    assert!(each <= 256, "{each} bytes a connection");
}
