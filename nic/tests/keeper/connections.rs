// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Connections that are tracked, and reserved ports, over updates and deaths.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use adit_conntrack_rpc::client::{CallError, Client};
use adit_conntrack_rpc::proto;
use adit_p4runtime::client::{connect, Channel};
use rustix::process::Signal;

use super::{Keeper, TIMEOUT};

/// A connection of UDP from a port.
fn connection(port: u16) -> proto::Connection {
    let end = |last: u8, part: u16| {
        Some(proto::Endpoint {
            address: vec![10, 0, 0, last],
            part: part.into(),
        })
    };
    let tuple = |src, dst| {
        Some(proto::Tuple {
            protocol: 17,
            src,
            dst,
        })
    };
    proto::Connection {
        original: tuple(end(1, port), end(2, 53)),
        reply: tuple(end(2, 53), end(1, port)),
        timeout_ns: Some(3_600_000_000_000),
        mark: port.into(),
        ..Default::default()
    }
}

fn client(address: &str) -> Client<Channel> {
    let until = Instant::now() + TIMEOUT;
    loop {
        let connected =
            connect(address, None).map(|(runtime, channel)| Client::new(runtime, channel));
        if let Ok(mut client) = connected {
            if client.count(proto::CountRequest {}).is_ok() {
                return client;
            }
        }
        assert!(Instant::now() < until, "no server");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn create(client: &mut Client<Channel>, port: u16) {
    let connection = Some(connection(port));
    let created = client.create(proto::CreateConnectionRequest { connection });
    created.expect("a place");
}

/// The marks of all connections, and their timeouts in seconds.
fn all(client: &mut Client<Channel>) -> BTreeMap<u32, u64> {
    let mut found = BTreeMap::new();
    let listed = client.list(proto::ListConnectionsRequest::default(), |one| {
        let timeout = one.timeout_ns.unwrap_or(0).div_ceil(1_000_000_000);
        found.insert(one.mark, timeout);
        Ok::<_, CallError>(())
    });
    listed.expect("a list");
    found
}

#[test]
fn connections_and_reserved_ports_outlive_an_update_and_not_a_death() {
    let folder = tempfile::tempdir().unwrap();
    let address = format!("unix:{}", folder.path().join("p4rt.sock").display());
    let words = ["--p4rt", &address, "--reserve-ports", "udp:4789"];
    let mut keeper = Keeper::start(&words);
    let ports = |first, last| proto::PortRange {
        protocol: 6,
        first,
        last,
    };
    let mut control = client(&address);
    create(&mut control, 1);
    create(&mut control, 2);
    for round in 1..4 {
        // What has come since the last update, gone, and stayed.
        create(&mut control, round + 2);
        let gone = proto::Filter {
            mark: Some(proto::Mark {
                value: round.into(),
                mask: None,
            }),
            ..Default::default()
        };
        control
            .delete(gone, |_| Ok::<_, CallError>(()))
            .expect("it is there");
        let reserved = ports(round.into(), 1000);
        let set = proto::SetReservedPortsRequest {
            ports: vec![reserved],
        };
        control.set_reserved_ports(set).expect("a range");
        let before = all(&mut control);
        assert_eq!(
            before.keys().copied().collect::<Vec<_>>(),
            [u32::from(round) + 1, u32::from(round) + 2]
        );

        keeper.update();
        control = client(&address);
        let after = all(&mut control);
        assert!(after.keys().eq(before.keys()), "{after:?} {before:?}");
        for (mark, timeout) in &after {
            assert!(*timeout <= before[mark] && *timeout + 60 > before[mark]);
        }
        let now = control.reserved_ports(proto::GetReservedPortsRequest {});
        assert_eq!(now.expect("ports").ports, [reserved]);
    }
    keeper.signal_worker(Signal::KILL);
    keeper.next_worker();
    control = client(&address);
    assert_eq!(all(&mut control), BTreeMap::new());
    let now = control.reserved_ports(proto::GetReservedPortsRequest {});
    assert_eq!(
        now.expect("ports").ports[0].first,
        4789,
        "those of the options"
    );
    let log = keeper.stop();
    assert_eq!(
        log.matches("updated: clients were paused").count(),
        3,
        "{log}"
    );
}
