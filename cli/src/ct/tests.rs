// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tests of the command line and of the formats.

use adit_conntrack::Status;
use adit_conntrack_rpc::proto::{self, connection::State, Connection, EventKind};

use super::error::Failure;
use super::options::{Command, Table};
use super::parse::{parse, Output, Request};
use super::text::{Occasion, Text};
use super::xml::Xml;
use super::{load, save};

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

fn read(line: &str) -> Request {
    parse(&words(line)).unwrap_or_else(|failure| panic!("{line}: {failure:?}"))
}

/// The text of a command line's failure, and its exit code.
fn refusal(line: &str) -> (u8, String) {
    match parse(&words(line)) {
        Err(Failure::Usage(text)) => (2, text),
        Err(Failure::Operation(text)) => (1, text),
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn a_command_has_a_table_and_values() {
    let request = read("-L expect -f ipv6");
    assert_eq!(request.command, Some(Command::List));
    assert_eq!((request.table, request.is_v6), (Table::Expect, Some(true)));
    let request = read("-s 10.0.0.0/8 -p tcp --sport 80 -L -u ASSURED -m 1/3");
    assert_eq!(request.mark, Some((1, Some(3))));
    assert_eq!(request.status, Some((Status::ASSURED, Status::NONE)));
    let filter = request.filter(false).unwrap();
    let src = filter.original.unwrap().src.unwrap();
    assert_eq!(
        (src.address, src.mask),
        (vec![10, 0, 0, 0], vec![255, 0, 0, 0])
    );
    assert_eq!(read("").command, None);
}

#[test]
fn what_does_not_fit_is_refused() {
    for (line, text) in [
        ("-L -D", "Invalid commands combination"),
        ("-L -t 5", "Illegal option `--timeout' with this command"),
        (
            "-I -p udp",
            "You need to supply the `--timeout' option for this command",
        ),
        ("-I -p udp -t 5", "you have to specify `--src' and `--dst'"),
        (
            "-L -n -j",
            "cannot specify `--src-nat' or `--dst-nat' with `--any-nat'",
        ),
        (
            "-L -r 1.1.1.0/24",
            "CIDR notation unavailable for `--reply-src'",
        ),
        ("-L -s 1.1.1.1 -d fd00::1", "mismatched address family"),
        ("-L -p udp --state X", "unknown option `--state'"),
        (
            "-D dying",
            "Can't do that command with tables `dying' and `unconfirmed'",
        ),
    ] {
        assert_eq!(refusal(line), (2, text.to_owned()), "{line}");
    }
    let save = "cannot combine save output with any other output type, use -o save only";
    assert_eq!(refusal("-L -o save,id"), (1, save.to_owned()));
    assert_eq!(refusal("-L -o json,id").0, 1);
}

#[test]
fn a_reply_follows_from_the_original_and_the_translation() {
    let ends = |line: &str| {
        let connection = read(line).new_connection().unwrap();
        let reply = connection.reply.unwrap();
        let end = |end: Option<proto::Endpoint>| {
            let end = end.unwrap();
            (end.address[3], end.part)
        };
        (end(reply.src), end(reply.dst))
    };
    let create = "-I -p udp -t 5 -s 10.0.0.1 -d 10.0.0.2 --sport 1 --dport 2";
    assert_eq!(ends(create), ((2, 2), (1, 1)));
    assert_eq!(ends(&format!("{create} -n 10.0.0.5:9")), ((2, 2), (5, 9)));
    assert_eq!(ends(&format!("{create} -g 10.0.0.6")), ((6, 2), (1, 1)));
    let saved = "-r 10.0.0.2 -n 10.0.0.5 --reply-port-src 2 --reply-port-dst 7";
    assert_eq!(ends(&format!("{create} {saved}")), ((2, 2), (5, 7)));
    let half = read(&format!("{create} -r 10.0.0.2")).new_connection();
    assert!(matches!(half, Err(Failure::Operation(_))), "{half:?}");
}

#[test]
fn a_mark_is_changed_by_mask_and_value() {
    let one = Connection {
        mark: 0b1100,
        ..Default::default()
    };
    let mark = |line: &str| {
        read(line)
            .update(&one)
            .unwrap()
            .unwrap()
            .mark
            .unwrap()
            .value
    };
    assert_eq!(mark("-U -m 1"), 1);
    assert_eq!(mark("-U -m 1/4"), 0b1001);
    assert_eq!(mark("-U -m 8/0"), 0b0100);
}

#[test]
fn files_have_commands_that_change() {
    let good =
        "# comment\n\n \t \n-D -p tcp\n-I -p udp -t 5 -s 1.1.1.1 -d 1.1.1.2 --sport 1 --dport 2\n";
    assert_eq!(load::commands(good).unwrap().len(), 2);
    let bad = load::commands("-D\n-L\n");
    let text = "Cannot use command `-L' with --load-file";
    assert!(matches!(bad, Err(Failure::Usage(found)) if found == text));
    let none = load::commands("udp");
    let text = "Cannot use command `unknown' with --load-file";
    assert!(matches!(none, Err(Failure::Usage(found)) if found == text));
}

/// A connection of TCP that is translated.
fn connection() -> Connection {
    let end = |last, part| {
        Some(proto::Endpoint {
            address: vec![10, 0, 0, last],
            part,
        })
    };
    Connection {
        id: 77,
        original: Some(proto::Tuple {
            src: end(1, 1000),
            dst: end(2, 80),
            protocol: 6,
        }),
        reply: Some(proto::Tuple {
            src: end(2, 80),
            dst: end(5, 2000),
            protocol: 6,
        }),
        zone: Some(proto::Zone {
            id: 3,
            direction: proto::Direction::Original.into(),
        }),
        status: (Status::ASSURED | Status::SEEN_REPLY | Status::SRC_NAT).bits(),
        timeout_ns: Some(99_900_000_000),
        mark: 5,
        state: Some(State::Tcp(proto::Tcp {
            state: 3,
            ..Default::default()
        })),
        counters: vec![
            proto::Counters {
                packets: 1,
                bytes: 60,
            },
            proto::Counters {
                packets: 2,
                bytes: 120,
            },
        ],
        start_ns: 1_700_000_000_000_000_000,
        stop_ns: 1_700_000_007_000_000_000,
        ..Default::default()
    }
}

#[test]
fn lines_show_a_connection() {
    let text = Text {
        output: Output {
            extended: true,
            id: true,
            ..Output::default()
        },
        labels: None,
    };
    assert_eq!(
        text.connection(&connection(), Occasion::Listed),
        "ipv4     2 tcp      6 99 ESTABLISHED src=10.0.0.1 dst=10.0.0.2 sport=1000 dport=80 \
         zone-orig=3 packets=1 bytes=60 src=10.0.0.2 dst=10.0.0.5 sport=80 dport=2000 packets=2 \
         bytes=120 [ASSURED] mark=5 delta-time=7 use=1 id=77"
    );
    let new = text.connection(&connection(), Occasion::Event(EventKind::New, 1));
    assert!(new.ends_with("dport=2000 [ASSURED] mark=5 id=77"), "{new}");
}

#[test]
fn events_show_what_they_are_about() {
    let text = Text {
        output: Output::default(),
        labels: None,
    };
    let one = Connection {
        mark: 0,
        helper: "ftp".to_owned(),
        timeout_ns: Some(0),
        ..connection()
    };
    let line = |kind, values| text.connection(&one, Occasion::Event(kind, values));
    let update = line(EventKind::Update, 1 << 7);
    assert!(update.starts_with("tcp      6 0 src=10.0.0.1 "), "{update}");
    assert!(update.ends_with(" [ASSURED] mark=0 helper=ftp"), "{update}");
    let end = line(EventKind::Destroy, 1 << 2);
    assert!(end.starts_with("tcp      6 ESTABLISHED src="), "{end}");
    assert!(end.ends_with(" [ASSURED] delta-time=7"), "{end}");
    let removed = save::connection(&one, Occasion::Event(EventKind::Destroy, 0));
    assert!(
        removed.starts_with("-D -u SEEN_REPLY,ASSURED "),
        "{removed}"
    );
}

#[test]
fn labels_change_as_the_kernel_changes_them() {
    let bits = |number: u32| {
        Some(super::labels::Bits {
            bits: 1 << number,
            has_others: false,
        })
    };
    let change = |label: u128, add, delete| {
        let mut request = Request::default();
        (request.label_add, request.label_del) = (add, delete);
        let one = Connection {
            label: label.to_le_bytes().to_vec(),
            ..Default::default()
        };
        let change = request.update(&one).ok()?;
        let number = |octets: Vec<u8>| u128::from_le_bytes(octets.try_into().unwrap());
        Some(change.map(|change| (number(change.label), number(change.label_mask))))
    };
    assert_eq!(change(1, bits(3), None), Some(Some((8, 8))));
    assert_eq!(change(8, bits(3), None), Some(Some((8, 8))));
    assert_eq!(change(8, None, Some(bits(1))), Some(Some((0, 2))));
    assert_eq!(change(8, None, Some(None)), Some(Some((0, u128::MAX))));
    assert_eq!(change(0, None, Some(None)), Some(None));
    let others = Some(super::labels::Bits {
        bits: 0,
        has_others: true,
    });
    assert_eq!(change(0, others, None), None);
    assert_eq!(change(8, others, None), Some(Some((0, 0))));
}

#[test]
fn xml_shows_a_connection() {
    let xml = Xml {
        output: Output::default(),
        labels: None,
    };
    assert_eq!(
        xml.connection(&connection(), Occasion::Event(EventKind::Destroy, 4)),
        "<flow type=\"destroy\"><meta direction=\"original\"><layer3 protonum=\"2\" \
         protoname=\"ipv4\"><src>10.0.0.1</src><dst>10.0.0.2</dst></layer3><layer4 \
         protonum=\"6\" protoname=\"tcp\"><sport>1000</sport><dport>80</dport></layer4><zone>3</zone>\
         <counters><packets>1</packets><bytes>60</bytes></counters></meta><meta \
         direction=\"reply\"><layer3 protonum=\"2\" protoname=\"ipv4\"><src>10.0.0.2</src>\
         <dst>10.0.0.5</dst></layer3><layer4 protonum=\"6\" protoname=\"tcp\"><sport>80</sport>\
         <dport>2000</dport></layer4><counters><packets>2</packets><bytes>120</bytes></counters>\
         </meta><meta direction=\"independent\"><state>ESTABLISHED</state><timeout>99</timeout>\
         <mark>5</mark><id>77</id><assured/><deltatime>7</deltatime></meta></flow>"
    );
}

#[test]
fn a_saved_connection_is_a_command() {
    let line = save::connection(&connection(), Occasion::Listed);
    assert_eq!(
        line,
        "-A -t 99 -u SEEN_REPLY,ASSURED --orig-zone 3 -s 10.0.0.1 -d 10.0.0.2 -r 10.0.0.2 \
         -n 10.0.0.5 -p tcp --sport 1000 --dport 80 --reply-port-src 80 --reply-port-dst 2000 \
         --state ESTABLISHED"
    );
    let again = read(&line).new_connection().unwrap();
    assert_eq!(again.reply, connection().reply);
    assert_eq!(again.zone, connection().zone);
}
