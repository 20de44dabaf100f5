// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Traces of packets (`adit.v1.Trace`) on P4Runtime's listener: of live packets of a UNIX wire, and of
//! injected ones, through `p4/conntrack.p4`.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;

use adit_nic::control::AdiLimits;
use adit_nic::embedded::Nic;
use adit_nic::p4rt::P4Rt;
use adit_nic::runtime::Setup;
use adit_p4runtime::client::{connect, Channel, Code};
use adit_trace::client::Client;
use adit_trace::proto::{
    fate, step, ConnectionStep, Filter, InjectRequest, Packet, Prefix, TableStep, WatchRequest,
};

/// The host's side, and that of its client, of the connections below.
const HOST_PORT: u32 = 0x1000;
/// The EtherType, and a SYN from 10.0.0.1 port 1024 to 192.0.2.1 port 80 (`p4/conntrack.stf`).
const SYN: &str = "02aa000000010200000000010800450000280000400040066ece0a000001c0000201\
                   04000050000003e8000000005002ffffdba80000";
/// The wire opens a connection: refused.
const REFUSED: &str = "02aa000000010200000000010800450000280000400040066ecec00002010a000001\
                       0050040100001b58000000005002ffffc4370000";
/// A datagram from the wire with a wrong checksum.
const INVALID: &str = "02aa0000000102000000000108004500001d0000400040116ecec00002010a000001\
                       003500360009f46f3f";
const SERVICES: &str =
    "SERVICE_ENTRIES=(_, 0xc0000201 &&& 0xffffffff, _, PROTO_TCP, _, 80 .. 80): allow();";
const TRANSLATIONS: &str =
    "TRANSLATION_ENTRIES=(_, _, 0x0a000001 &&& 0xffffffff, _, PROTO_TCP, 80 .. 80): \
                            masquerade(0xc0000263, 0xc0000263);";

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(pair).collect()
}

struct Setting {
    nic: Nic,
    address: String,
    far: UnixDatagram,
    local: std::path::PathBuf,
    _folder: tempfile::TempDir,
}

fn start(program: Option<&str>) -> Setting {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let address = format!("unix:{}", path("p4rt.sock").display());
    let wire = format!("unix:{},{}", path("near").display(), path("far").display());
    let far = UnixDatagram::bind(path("far")).expect("a socket");
    let mut options = adit_p4_frontend::Options::default();
    for define in [SERVICES, TRANSLATIONS] {
        let (name, value) = define.split_once('=').expect("a value");
        options.defines.push((name.to_owned(), value.to_owned()));
    }
    let setup = Setup {
        wires: vec![wire.parse().expect("a wire")],
        mac: "02:ad:17:00:00:01".parse().expect("an address"),
        p4: program.map(|name| {
            Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("../p4")
                .join(name)
        }),
        p4_options: options,
        connections: 16_384,
        reserved_ports: Vec::new(),
        p4rt: Some(P4Rt {
            address: address.parse().expect("an address"),
            device_id: 1,
            certificate: None,
            key: None,
            clients: None,
        }),
        metrics: None,
    };
    let nic = Nic::start(&setup, AdiLimits::default()).expect("a NIC");
    Setting {
        nic,
        address,
        far,
        local: path("near"),
        _folder: folder,
    }
}

impl Setting {
    fn client(&self) -> Client<Channel> {
        let (runtime, channel) = connect(&self.address, None).expect("a server");
        Client::new(runtime, channel)
    }

    /// Sends a frame on the wire.
    fn send(&self, frame: &str) {
        let frame = bytes(frame);
        let sent = self
            .far
            .send_to(&frame, &self.local)
            .expect("the NIC's end");
        assert_eq!(sent, frame.len());
    }
}

fn inject(client: &mut Client<Channel>, port: u32, frame: &str) -> Packet {
    let request = InjectRequest {
        port,
        data: bytes(frame),
        queue: 3,
    };
    client.inject(request).expect("a trace")
}

fn tables(packet: &Packet) -> Vec<&TableStep> {
    let steps = packet.steps.iter().filter_map(|step| step.step.as_ref());
    let tables = steps.filter_map(|step| match step {
        step::Step::Table(table) => Some(table),
        _ => None,
    });
    tables.collect()
}

fn connections(packet: &Packet) -> Vec<&ConnectionStep> {
    let steps = packet.steps.iter().filter_map(|step| step.step.as_ref());
    let connections = steps.filter_map(|step| match step {
        step::Step::Connection(connection) => Some(connection),
        _ => None,
    });
    connections.collect()
}

#[test]
fn an_injected_packet_is_followed_through_tables_tracker_and_translation() {
    let setting = start(Some("conntrack.p4"));
    let mut client = setting.client();
    let packet = inject(&mut client, HOST_PORT, SYN);
    assert_eq!(
        (packet.port, packet.queue, packet.length),
        (HOST_PORT, Some(3), 54)
    );
    let [ports, services, translations] = tables(&packet)[..] else {
        panic!("{packet:?}");
    };
    assert_eq!((ports.name.as_str(), ports.hit), ("ports", false));
    assert_eq!(ports.action, "by_side");
    assert_eq!((services.name.as_str(), services.hit), ("services", true));
    assert_eq!(
        (translations.name.as_str(), translations.hit),
        ("translations", true)
    );
    let entry = translations.entry.as_ref().expect("the entry is there");
    assert_eq!(entry.table_id, translations.table_id);
    assert_eq!(translations.action, "masquerade");
    assert_eq!(translations.arguments[0].value, [192, 0, 2, 99]);
    let [track, commit] = connections(&packet)[..] else {
        panic!("{packet:?}");
    };
    assert_eq!((track.state, track.status.as_str()), (0x21, ""));
    assert_eq!(commit.status, "COMMITTED");
    let translated = commit.translated.as_ref().expect("a translation");
    assert_eq!(translated.source, [192, 0, 2, 99]);
    let original = commit.original.as_ref().expect("it is kept");
    assert_eq!(
        (&original.source[..], original.destination_part),
        (&[10, 0, 0, 1][..], 80)
    );
    assert_eq!(commit.protocol_state, "SYN_SENT");
    let [output] = &packet.outputs[..] else {
        panic!("{packet:?}");
    };
    assert_eq!(output.data[26..30], [192, 0, 2, 99]);
    let fate = output.fate.as_ref().and_then(|f| f.fate.as_ref());
    assert_eq!(fate, Some(&fate::Fate::Sent(0)));
    assert!(packet.drop.is_none());
    // It is a packet like any other: the wire gets it.
    setting
        .far
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    let mut frame = [0; 100];
    let length = setting.far.recv(&mut frame).expect("the frame");
    assert_eq!(frame[..length], output.data[..]);
    assert_eq!(setting.nic.connections().len(), 1);
}

#[test]
fn live_packets_are_followed_and_what_drops_them_is_named() {
    let setting = start(Some("conntrack.p4"));
    let mut client = setting.client();
    let mut watch = client
        .watch(WatchRequest {
            filter: Some(Filter {
                source: Some(Prefix {
                    address: vec![192, 0, 2, 1],
                    length: 32,
                }),
                ..Filter::default()
            }),
            count: 2,
            ..WatchRequest::default()
        })
        .expect("a watch");
    // The filter does not pass the host's.
    setting.send(SYN);
    setting.send(REFUSED);
    setting.send(INVALID);
    let mut packets = Vec::new();
    while let Some(response) = client.next(&mut watch).expect("the stream") {
        packets.extend(response.packet);
    }
    let [refused, invalid] = &packets[..] else {
        panic!("{packets:?}");
    };
    assert_eq!((refused.number, refused.port, refused.queue), (1, 0, None));
    let drop = refused.drop.as_ref().expect("it is refused");
    assert_eq!(drop.reason, "program");
    let blamed = refused.steps[drop.step.expect("a step") as usize]
        .step
        .as_ref();
    assert_eq!(blamed, Some(&step::Step::Action("refuse".to_owned())));
    assert_eq!(drop.text, "drop_packet in the action `refuse`");
    let services = tables(refused)
        .into_iter()
        .find(|t| t.name == "services")
        .expect("a table");
    assert!(!services.hit);
    let drop = invalid.drop.as_ref().expect("it is dropped");
    assert!(
        drop.text.contains("the connection tracker found: "),
        "{drop:?}"
    );
    assert!(
        connections(invalid)[0].invalid.contains("checksum"),
        "{invalid:?}"
    );
}

#[test]
fn a_watch_is_bounded_and_losses_are_reported() {
    let setting = start(None);
    let mut client = setting.client();
    let watch = |client: &mut Client<Channel>| {
        client.watch(WatchRequest {
            count: 3,
            rate: 1,
            ..WatchRequest::default()
        })
    };
    let mut stream = watch(&mut client).expect("a watch");
    let (mut packets, mut lost) = (0, 0);
    for _ in 0..20 {
        setting.send(REFUSED);
    }
    while packets + lost < 20 {
        let response = client.next(&mut stream).expect("the stream").expect("more");
        packets += u64::from(response.packet.is_some());
        lost += response.lost;
    }
    // At most in two different seconds.
    assert!((1..=2).contains(&packets), "{packets} packets, {lost} lost");
    // Eight clients, and no more; a place is free again when a client has gone.
    let mut others: Vec<_> = (0..7).map(|_| setting.client()).collect();
    let mut streams: Vec<_> = others
        .iter_mut()
        .map(|c| watch(c).expect("a watch"))
        .collect();
    let refused = watch(&mut setting.client()).err().expect("too many");
    assert_eq!(refused.code, Code::ResourceExhausted);
    drop((streams.pop(), others.pop()));
    let begun = std::time::Instant::now();
    while watch(&mut setting.client()).is_err() {
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "no place becomes free"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn the_layer_2_stage_is_followed_without_a_program() {
    let setting = start(None);
    let mut client = setting.client();
    let packet = inject(&mut client, 0, REFUSED);
    let [output] = &packet.outputs[..] else {
        panic!("{packet:?}");
    };
    assert_eq!(output.port, 0xfff0);
    // No driver has enabled the virtual port.
    let drop = packet.drop.as_ref().expect("it is dropped");
    assert_eq!(drop.reason, "port_disabled");
    let fate = output.fate.as_ref().and_then(|f| f.fate.clone());
    assert_eq!(fate, Some(fate::Fate::Dropped("port_disabled".to_owned())));
}

#[test]
fn what_cannot_be_injected_or_watched_is_refused_by_name() {
    let setting = start(None);
    let mut client = setting.client();
    for (port, data, text) in [
        (
            1,
            bytes(SYN),
            "port 0x1 is neither a wire nor a virtual port",
        ),
        (0x2000, bytes(SYN), "port 0x2000 is neither"),
        (
            0,
            vec![0; 13],
            "the packet has 13 bytes: a frame has 14 to ",
        ),
    ] {
        let refused = client.inject(InjectRequest {
            port,
            data,
            queue: 0,
        });
        let refused = refused.expect_err("it is wrong");
        assert_eq!(refused.code, Code::InvalidArgument);
        assert!(refused.message.starts_with(text), "{refused}");
    }
    let refused = client.watch(WatchRequest {
        rate: 1001,
        ..WatchRequest::default()
    });
    let refused = refused.err().expect("it is wrong");
    assert_eq!(refused.message, "`rate` is 1001, the largest is 1000");
    let refused = client.watch(WatchRequest {
        further: vec![Filter::default(); 32],
        ..WatchRequest::default()
    });
    let refused = refused.err().expect("it is wrong");
    assert_eq!(refused.message, "`further` has 32 filters, the most are 31");
}
