// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The service over a listener, with its client.

mod ended;

use std::sync::Arc;
use std::time::Duration;

use adit_conntrack::{
    Counters, Endpoint, NewConnection, Protocol, Seed, Settings, Status, Time, Tracker, Tuple,
};
use adit_conntrack_rpc::client::{CallError, Client};
use adit_conntrack_rpc::{proto, service, Clock, Gate};
use tokio::runtime::{Builder, Runtime};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Channel, Server};
use tonic::Code;

const NOW: Time = Time::from_secs(100);

/// A clock that is stopped.
struct Still;

impl Clock for Still {
    fn now(&self) -> Time {
        NOW
    }

    fn start_date(&self) -> Duration {
        Duration::from_secs(1_700_000_000)
    }
}

struct Served {
    tracker: Arc<Tracker>,
    client: Client<Channel>,
    address: String,
    _server: Runtime,
}

fn runtime() -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime")
}

fn client(address: &str) -> Client<Channel> {
    let runtime = runtime();
    let endpoint = Channel::from_shared(address.to_owned()).expect("an address");
    let channel = runtime.block_on(endpoint.connect()).expect("a connection");
    Client::new(runtime, channel)
}

fn serve(capacity: usize) -> Served {
    let tracker = Tracker::new(capacity, Seed::new([1; 16]), Settings::default());
    let tracker = Arc::new(tracker);
    let server = runtime();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0");
    let listener = server.block_on(listener).expect("the kernel has a port");
    let address = format!("http://{}", listener.local_addr().expect("its address"));
    let connections = service(tracker.clone(), Still, Gate::default());
    server.spawn(
        Server::builder()
            .add_service(connections)
            .serve_with_incoming(TcpListenerStream::new(listener)),
    );
    Served {
        tracker,
        client: client(&address),
        address,
        _server: server,
    }
}

fn connect(tracker: &Tracker, port: u16, protocol: Protocol) {
    let end = |last, part| Endpoint {
        address: [10, 0, 0, last].into(),
        part,
    };
    let original = Tuple::new(protocol, end(1, port), end(2, 80)).expect("one family");
    let reply = original.invert().expect("it has an answer");
    let new = NewConnection::new(original, reply, Duration::from_secs(60));
    tracker.create_connection(&new, NOW).expect("a place");
}

fn list(client: &mut Client<Channel>, request: proto::ListConnectionsRequest) -> Vec<u32> {
    let mut ports = Vec::new();
    let each = |one: proto::Connection| {
        let original = one.original.and_then(|tuple| tuple.src);
        ports.push(original.map_or(0, |src| src.part));
        Ok::<_, CallError>(())
    };
    client.list(request, each).expect("a list");
    ports.sort();
    ports
}

#[test]
fn a_list_has_every_connection_that_passes_once() {
    let mut served = serve(40_000);
    for port in 1..=1000 {
        let protocol = if port % 2 == 0 {
            Protocol::TCP
        } else {
            Protocol::UDP
        };
        connect(&served.tracker, port, protocol);
    }
    let all = list(&mut served.client, proto::ListConnectionsRequest::default());
    assert_eq!(all, (1..=1000).collect::<Vec<_>>());
    let udp = proto::ListConnectionsRequest {
        filter: Some(proto::Filter {
            protocol: Some(17),
            ..Default::default()
        }),
        page_size: 7,
        ..Default::default()
    };
    let all = list(&mut served.client, udp);
    assert_eq!(all, (1..=1000).step_by(2).collect::<Vec<_>>());
}

#[test]
fn a_connection_is_created_changed_found_and_deleted() {
    let mut served = serve(16);
    connect(&served.tracker, 1, Protocol::UDP);
    let mut template = None;
    served
        .client
        .list(proto::ListConnectionsRequest::default(), |one| {
            template = Some(one);
            Ok::<_, CallError>(())
        })
        .expect("a list");
    let template = template.expect("the connection");
    let client = &mut served.client;
    let again = proto::CreateConnectionRequest {
        connection: Some(template.clone()),
    };
    let clash = client.create(again.clone()).expect_err("it is there");
    assert_eq!(clash.code, Code::AlreadyExists);
    client
        .flush(proto::FlushConnectionsRequest {})
        .expect("a flush");
    assert_eq!(served.tracker.len(), 0);
    let created = client.create(again).expect("a place");
    let updated = client
        .update(proto::UpdateConnectionRequest {
            id: created.id,
            mark: Some(proto::Mark {
                value: 7,
                mask: None,
            }),
            status: Some(created.status | Status::ASSURED.bits()),
            ..Default::default()
        })
        .expect("it is there");
    assert_eq!(updated.mark, 7);
    let wanted = proto::GetConnectionRequest {
        tuple: created.reply.clone(),
        zone: None,
    };
    assert_eq!(client.get(wanted.clone()).expect("it is there").mark, 7);
    let mut deleted = Vec::new();
    let filter = proto::Filter {
        mark: Some(proto::Mark {
            value: 7,
            mask: None,
        }),
        ..Default::default()
    };
    client
        .delete(filter, |one| {
            deleted.push(one.id);
            Ok::<_, CallError>(())
        })
        .expect("a deletion");
    assert_eq!(deleted, [created.id]);
    let gone = client.get(wanted).expect_err("it is gone");
    assert_eq!(gone.code, Code::NotFound);
    let bad = client.get(proto::GetConnectionRequest::default());
    let bad = bad.expect_err("no tuple");
    assert_eq!(
        (bad.code, &*bad.message),
        (Code::InvalidArgument, "tuple: absent, but required")
    );
}

#[test]
fn a_connection_of_a_number_is_listed_and_its_counters_are_zeroed() {
    let mut served = serve(16);
    for port in [1, 2] {
        let end = |last, part| Endpoint {
            address: [10, 0, 0, last].into(),
            part,
        };
        let original = Tuple::new(Protocol::UDP, end(1, port), end(2, 80)).expect("one family");
        let reply = original.invert().expect("it has an answer");
        let counters = [Counters {
            packets: 3,
            bytes: 90,
        }; 2];
        let new = NewConnection {
            counters,
            ..NewConnection::new(original, reply, Duration::from_secs(60))
        };
        let created = served.tracker.create_connection(&new, NOW);
        created.expect("a place");
    }
    let packets = |client: &mut Client<Channel>, id: Option<u64>, zero_counters: bool| {
        let mut all = Vec::new();
        let request = proto::ListConnectionsRequest {
            filter: Some(proto::Filter {
                id,
                ..Default::default()
            }),
            zero_counters,
            ..Default::default()
        };
        let each = |one: proto::Connection| {
            all.push((one.id, one.counters[0].packets));
            Ok::<_, CallError>(())
        };
        client.list(request, each).expect("a list");
        all
    };
    let all = packets(&mut served.client, None, false);
    let [(first, 3), (second, 3)] = all[..] else {
        panic!("{all:?}")
    };
    assert_eq!(packets(&mut served.client, Some(first), true), [(first, 3)]);
    assert_eq!(
        packets(&mut served.client, Some(first), false),
        [(first, 0)]
    );
    assert_eq!(
        packets(&mut served.client, Some(second), false),
        [(second, 3)]
    );
}

#[test]
fn events_arrive_and_losses_are_reported() {
    let mut served = serve(4096);
    let mut watch = served
        .client
        .watch(proto::WatchRequest {
            new: true,
            queue: 4,
            filter: Some(proto::Filter {
                protocol: Some(6),
                ..Default::default()
            }),
            ..Default::default()
        })
        .expect("a watch");
    connect(&served.tracker, 1, Protocol::UDP);
    connect(&served.tracker, 2, Protocol::TCP);
    let first = served.client.next(&mut watch).expect("events");
    let first = first.expect("the server runs");
    assert_eq!((first.events.len(), first.lost), (1, 0));
    assert_eq!(first.events[0].kind(), proto::EventKind::New);
    for port in 3..1003 {
        connect(&served.tracker, port, Protocol::TCP);
    }
    let (mut seen, mut lost) = (0, 0);
    while seen + lost < 1000 {
        let next = served.client.next(&mut watch).expect("events");
        let next = next.expect("the server runs");
        seen += next.events.len() as u64;
        lost += next.lost;
    }
    // None was counted twice.
    assert_eq!(seen + lost, 1000);
    assert!(lost > 0, "1000 events fit into a queue of 4");
}

#[test]
fn watches_are_limited_and_end_with_their_client() {
    let served = serve(16);
    let watch = |client: &mut Client<Channel>| {
        client.watch(proto::WatchRequest {
            destroy: true,
            ..Default::default()
        })
    };
    // More are left for other peers.
    let mut clients: Vec<_> = (0..12).map(|_| client(&served.address)).collect();
    let watches: Vec<_> = clients.iter_mut().map(watch).collect();
    assert!(watches.iter().all(Result::is_ok));
    let mut late = client(&served.address);
    let refused = watch(&mut late).err().expect("there is no place");
    assert_eq!(refused.code, Code::ResourceExhausted);
    let text = "12 watches of 127.0.0.1 are under way, the limit for one peer: try again";
    assert_eq!(refused.message, text);
    drop(watches);
    drop(clients);
    let begun = std::time::Instant::now();
    while watch(&mut late).is_err() {
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "no place is freed"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_list_that_nobody_reads_delays_nothing() {
    let mut served = serve(40_000);
    for port in 1..=20_000 {
        connect(&served.tracker, port, Protocol::UDP);
    }
    // This client takes no page from its stream.
    let idle = runtime();
    let endpoint = Channel::from_shared(served.address.clone()).expect("an address");
    let channel = idle.block_on(endpoint.connect()).expect("a connection");
    let mut grpc = proto::conntrack_client::ConntrackClient::new(channel);
    let request = proto::ListConnectionsRequest::default();
    let _pages = idle
        .block_on(grpc.list_connections(request))
        .expect("a list");
    let deleted = served.client.flush(proto::FlushConnectionsRequest {});
    assert_eq!(deleted.expect("a flush").deleted, 20_000);
}

#[test]
fn ports_are_reserved() {
    let mut served = serve(16);
    let ports = |ranges: &[[u32; 3]]| proto::SetReservedPortsRequest {
        ports: ranges
            .iter()
            .map(|&[protocol, first, last]| proto::PortRange {
                protocol,
                first,
                last,
            })
            .collect(),
    };
    let set = ports(&[[6, 30_000, 32_767], [17, 4789, 4789]]);
    let reply = served.client.set_reserved_ports(set.clone()).unwrap();
    assert_eq!(reply.ports, set.ports);
    let reserved = served.tracker.reserved_ports();
    assert!(reserved.contains(Protocol::TCP, 30_080) && reserved.contains(Protocol::UDP, 4789));
    for (wrong, text) in [
        ([1, 1, 2], "ports: protocol 1 has no ports"),
        ([6, 9, 8], "ports: reserved ports 9 to 8"),
        ([6, 9, 65_536], "ports.last: 65536 has more than 16 bits"),
        ([262, 9, 9], "ports.protocol: 262 has more than 8 bits"),
    ] {
        let error = served
            .client
            .set_reserved_ports(ports(&[wrong]))
            .unwrap_err();
        assert_eq!(error.code, Code::InvalidArgument);
        assert!(error.message.starts_with(text), "{}", error.message);
    }
    let reply = served
        .client
        .reserved_ports(proto::GetReservedPortsRequest {});
    assert_eq!(reply.unwrap().ports, set.ports);
    let statistics = served.client.statistics(proto::GetStatisticsRequest {});
    assert_eq!(statistics.unwrap().nat_exhausted, []);
}

#[test]
fn a_connection_is_found_in_its_zone() {
    let mut served = serve(16);
    let tuple = |src: u32, dst: u32| {
        let end = |last: u32, part| proto::Endpoint {
            address: vec![10, 0, 0, last as u8],
            part,
        };
        Some(proto::Tuple {
            src: Some(end(src, src)),
            dst: Some(end(dst, dst)),
            protocol: 17,
        })
    };
    let zone = |id| {
        Some(proto::Zone {
            id,
            direction: proto::Direction::Unspecified.into(),
        })
    };
    for id in [0, 5] {
        let connection = proto::Connection {
            original: tuple(1, 2),
            reply: tuple(2, 1),
            zone: zone(id),
            timeout_ns: Some(60_000_000_000),
            mark: id,
            ..Default::default()
        };
        let mut request = proto::CreateConnectionRequest {
            connection: Some(connection),
        };
        served.client.create(request.clone()).expect("a place");
        // A connection without a timeout would be gone at once.
        if let Some(connection) = &mut request.connection {
            connection.timeout_ns = None;
        }
        let error = served.client.create(request).expect_err("no timeout");
        assert_eq!(error.message, "connection.timeout_ns: absent, but required");
    }
    let mut get = |zone| {
        let request = proto::GetConnectionRequest {
            tuple: tuple(2, 1),
            zone,
        };
        served.client.get(request).map(|found| found.mark)
    };
    assert_eq!(get(None), Ok(0));
    assert_eq!(get(zone(5)), Ok(5));
}

/// As with ctnetlink: a connection without a timeout is not created.
#[test]
fn a_new_connection_needs_a_timeout() {
    let mut served = serve(64);
    let end = |last, part| {
        Some(proto::Endpoint {
            address: vec![10, 0, 0, last],
            part,
        })
    };
    let tuple = |src, dst| {
        Some(proto::Tuple {
            src,
            dst,
            protocol: 17,
        })
    };
    let mut connection = proto::Connection {
        original: tuple(end(1, 5), end(2, 6)),
        reply: tuple(end(2, 6), end(1, 5)),
        ..Default::default()
    };
    let mut create = |connection: &proto::Connection| {
        let connection = Some(connection.clone());
        let request = proto::CreateConnectionRequest { connection };
        served.client.create(request)
    };
    let refused = create(&connection).expect_err("it has no timeout");
    assert_eq!(refused.code, Code::InvalidArgument);
    let text = "connection.timeout_ns: absent, but required";
    assert_eq!(refused.message, text);
    connection.timeout_ns = Some(5_000_000_000);
    create(&connection).expect("a place");
}
