// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Clients that hold resources that others require: connections, streams, requests and reads.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use adit_p4runtime::client::{Client, Target};
use adit_p4runtime::proto::v1;
use adit_p4runtime::server::{Address, Limits};
use tokio_stream::StreamExt;
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

use crate::common::{claim, insert, large_read, nic, nic_at, Nic, Peer, DEVICE, PROGRAM};

fn short_timeouts() -> Limits {
    Limits {
        first_request: Duration::from_secs(2),
        ..Limits::default()
    }
}

/// The time in which must happen what a correct server does soon, on any machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for a condition.
#[track_caller]
fn eventually(condition: impl Fn() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn loopback() -> Address {
    "127.0.0.1:0".parse().expect("an address")
}

/// Runs a complete client session.
fn works(nic: &Nic, election: u64) {
    let mut primary = Peer::primary(nic, "works", election);
    let entry = nic.station(election, "drop", &[]);
    primary.write(vec![insert(entry)]).expect("it may");
    assert!(!primary.entries().is_empty());
}

/// Returns whether the peer closes the connection, before the timeout of its reads.
fn closes(mut connection: impl Read) -> bool {
    let mut bytes = [0; 1024];
    loop {
        match connection.read(&mut bytes) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() != std::io::ErrorKind::WouldBlock,
        }
    }
}

#[test]
fn idle_connections_keep_nobody_out_and_are_closed() {
    let nic = nic_at(&loopback(), None, short_timeouts());
    let connect = |_| TcpStream::connect(&nic.listening.address).expect("a connection");
    let mut idle: Vec<TcpStream> = (0..140).map(connect).collect();
    works(&nic, 1);
    let last = idle.pop().expect("a connection");
    last.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    assert!(closes(last));
    eventually(|| nic.listening.counters().counts().closed_idle >= 100);
    assert_eq!(nic.listening.counters().counts().refused, 0);
}

/// The kernel's timers of the connections to a port of loopback: the number, 2 for keepalive probes, and the
/// hundredths of a second until it expires.
fn timers(port: u16) -> Vec<(u32, u32)> {
    let table = std::fs::read_to_string("/proc/self/net/tcp").expect("a table");
    let to = format!("0100007F:{port:04X}");
    let timers = table.lines().skip(1).filter_map(|line| {
        let mut fields = line.split_whitespace().skip(2);
        let (remote, timer) = (fields.next()?, fields.nth(2)?);
        let (number, left) = timer.split_once(':')?;
        let value = |digits| u32::from_str_radix(digits, 16).expect("a number");
        (remote == to).then(|| (value(number), value(left)))
    });
    timers.collect()
}

#[test]
fn a_client_probes_a_connection_on_which_nothing_comes() {
    let nic = nic();
    let address: SocketAddr = nic.listening.address.parse().expect("one of TCP");
    let mut client = Client::connect(Target {
        address: nic.listening.address.clone(),
        device_id: DEVICE,
        role: String::new(),
        tls: None,
    })
    .expect("a server");
    client.p4info().expect("a program");
    let until = Instant::now() + PATIENCE;
    loop {
        let found = timers(address.port());
        if matches!(found[..], [(2, left)] if left <= 200) {
            break;
        }
        assert!(Instant::now() < until, "{found:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn idle_connections_on_a_unix_socket_are_closed() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("p4rt.sock");
    let nic = nic_at(&Address::Unix(path.clone()), None, short_timeouts());
    let connect = |_| UnixStream::connect(&path).expect("a connection");
    let mut idle: Vec<UnixStream> = (0..140).map(connect).collect();
    let mut last = idle.pop().expect("a connection");
    last.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    // Half a preface is not a request.
    last.write_all(b"PRI * HTTP/2.0\r\n\r\nS").expect("bytes");
    assert!(closes(last));
    eventually(|| nic.listening.counters().counts().closed_idle >= 100);
}

#[test]
fn what_is_begun_is_finished_in_time() {
    // A preface with settings, pings and half a frame; a TLS handshake that does not finish.
    let preface: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let tls = crate::tls::server_certificates();
    for (tls, begun) in [
        (None, preface.to_vec()),
        (
            None,
            [preface, &[0, 0, 50, 1, 4, 0, 0, 0, 1, 0x82]].concat(),
        ),
        (
            None,
            [
                preface,
                &[0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8],
            ]
            .concat(),
        ),
        (
            Some(tls),
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        ),
    ] {
        let nic = nic_at(&loopback(), tls, short_timeouts());
        let mut connection = TcpStream::connect(&nic.listening.address).expect("a connection");
        connection
            .set_read_timeout(Some(PATIENCE))
            .expect("a timeout");
        connection.write_all(&begun).expect("bytes");
        assert!(closes(connection), "{begun:?}");
        eventually(|| nic.listening.counters().counts().closed_idle == 1);
    }
}

#[test]
fn a_stream_without_a_role_ends() {
    let nic = nic_at(&loopback(), None, short_timeouts());
    let mut silent: Vec<Peer> = Vec::new();
    for _ in 0..48 {
        let mut peer = Peer::connect(&nic);
        peer.open().expect("a stream");
        silent.push(peer);
    }
    let error = silent[0].heard().unwrap_err();
    assert_eq!(error.code(), Code::DeadlineExceeded, "{error:?}");
    assert!(
        error.message().contains("MasterArbitrationUpdate"),
        "{error}"
    );
    for peer in &mut silent[1..] {
        assert!(peer.heard().is_err());
    }
    works(&nic, 1);
    // A stream with a role stays open.
    let mut backup = Peer::connect(&nic);
    backup.open().expect("a stream");
    backup.say(claim("", None));
    backup.arbitrated();
    std::thread::sleep(short_timeouts().first_request + Duration::from_millis(500));
    backup.say(claim("", Some(7)));
    assert_eq!(backup.arbitrated(), (0, Some(7)));
}

/// Calls Write without ever sending the message.
async fn half_sent(address: String) -> Result<(), Status> {
    let channel = tonic::transport::Channel::from_shared(address);
    let channel = channel.expect("an address").connect().await;
    let mut grpc = tonic::client::Grpc::new(channel.expect("the server listens"));
    grpc.ready().await.expect("a connection");
    let never = tokio_stream::pending::<v1::WriteRequest>();
    let path = "/p4.v1.P4Runtime/Write".parse().expect("a path");
    let codec = ProstCodec::<v1::WriteRequest, v1::WriteResponse>::default();
    let answer = grpc.client_streaming(Request::new(never), path, codec);
    answer.await.map(drop)
}

#[test]
fn requests_that_are_half_sent_keep_nobody_waiting() {
    // Long enough for what is to be done meanwhile.
    let limits = Limits {
        first_request: Duration::from_secs(10),
        ..Limits::default()
    };
    let nic = nic_at(&loopback(), None, limits);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let address = format!("http://{}", nic.listening.address);
    let calls: Vec<_> = (0..40)
        .map(|_| runtime.spawn(half_sent(address.clone())))
        .collect();
    std::thread::sleep(Duration::from_millis(300));
    works(&nic, 1);
    assert!(calls.iter().all(|call| !call.is_finished()));
    for call in calls {
        let error = runtime.block_on(call).expect("it ends").unwrap_err();
        assert_eq!(error.code(), Code::DeadlineExceeded, "{error:?}");
        assert!(
            error.message().contains("did not arrive in time"),
            "{error}"
        );
    }
}

#[test]
fn reads_that_are_not_taken_make_room_for_others_and_do_not_look_complete() {
    let nic = nic();
    let (mut primary, mut reader, request) = large_read(&nic);
    let mut stalled = Vec::new();
    for _ in 0..8 {
        let call = reader.grpc.read(request.clone());
        let replies = reader.runtime.block_on(call).expect("it begins");
        stalled.push(replies.into_inner());
    }
    let begin = Instant::now();
    assert_eq!(primary.entries().len(), 4000);
    assert!(begin.elapsed() < PATIENCE, "{:?}", begin.elapsed());
    // All at once, since they share the connection's window.
    let drains: Vec<_> = stalled
        .into_iter()
        .map(|replies| {
            let errors = replies.filter_map(Result::err).collect::<Vec<Status>>();
            reader.runtime.spawn(errors)
        })
        .collect();
    let mut errors = Vec::new();
    for drain in drains {
        errors.extend(reader.runtime.block_on(drain).expect("it ends"));
    }
    assert!(!errors.is_empty());
    for error in errors {
        assert_eq!(error.code(), Code::DeadlineExceeded, "{error:?}");
        assert!(error.message().contains("a reply was not taken"), "{error}");
    }
}

#[test]
fn a_message_on_a_stream_is_bounded() {
    let nic = nic();
    let mut primary = Peer::primary(&nic, "", 1);
    let packet = v1::PacketOut {
        payload: vec![0; 1 << 20],
        metadata: vec![],
    };
    primary.say(v1::stream_message_request::Update::Packet(packet));
    let error = primary.heard().unwrap_err();
    assert_eq!(error.code(), Code::ResourceExhausted, "{error:?}");
}

#[test]
fn a_connection_whose_answers_are_not_taken_is_closed() {
    let limits = Limits {
        stalled: Duration::from_secs(1),
        ..Limits::default()
    };
    let nic = nic_at(&loopback(), None, limits);
    let (mut primary, mut reader, request) = large_read(&nic);
    let call = reader.grpc.read(request);
    let stalled = reader.runtime.block_on(call).expect("it begins");
    let begin = Instant::now();
    let closed = || nic.listening.counters().counts().closed_stalled;
    while closed() == 0 {
        assert!(begin.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(50));
    }
    drop(stalled);
    // A stream without messages is not stalled.
    assert_eq!(closed(), 1);
    primary.say(claim("", Some(2)));
    assert_eq!(primary.arbitrated(), (0, Some(2)));
}

#[test]
fn programs_that_are_not_taken_are_bounded() {
    use v1::get_forwarding_pipeline_config_request::ResponseType;
    use v1::set_forwarding_pipeline_config_request::Action;
    let nic = nic();
    let mut primary = Peer::primary(&nic, "", 1);
    let program = format!("{PROGRAM}\n// {}\n", "x".repeat(4 << 20));
    primary
        .configure(Action::VerifyAndCommit, Some(&program))
        .expect("a program");
    let request = |kind: ResponseType| v1::GetForwardingPipelineConfigRequest {
        device_id: DEVICE,
        response_type: kind as i32,
    };
    let address = format!("http://{}", nic.listening.address);
    let channel = tonic::transport::Channel::from_shared(address).expect("an address");
    let channel = primary.runtime.block_on(channel.connect());
    let mut grpc = tonic::client::Grpc::new(channel.expect("the server listens"));
    let untaken: Vec<_> = (0..4)
        .map(|_| {
            let codec = ProstCodec::<_, v1::GetForwardingPipelineConfigResponse>::default();
            let path = "/p4.v1.P4Runtime/GetForwardingPipelineConfig".parse();
            let request = Request::new(request(ResponseType::All));
            primary.runtime.block_on(async {
                grpc.ready().await.expect("a connection");
                let call = grpc.server_streaming(request, path.expect("a path"), codec);
                call.await.expect("it begins")
            })
        })
        .collect();
    let get = |primary: &mut Peer, kind| {
        let call = primary.grpc.get_forwarding_pipeline_config(request(kind));
        primary.runtime.block_on(call).map(drop)
    };
    get(&mut primary, ResponseType::CookieOnly).expect("it is small");
    let error = get(&mut primary, ResponseType::All).unwrap_err();
    assert_eq!(error.code(), Code::ResourceExhausted, "{error:?}");
    drop(untaken);
    get(&mut primary, ResponseType::All).expect("there is room");
}
