// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Values that are strings to clients (`sdn_string`).

use adit_p4runtime::proto::v1::{
    self,
    entity::Entity as E,
    field_match::{Exact, FieldMatchType, Optional, Ternary},
    p4_data::Data,
    set_forwarding_pipeline_config_request::Action,
    stream_message_request::Update as Said,
    stream_message_response::Update as Heard,
    update::Type,
    write_request::Atomicity,
};
use tonic::Code;

use crate::common::{codes, direct, frame, insert, nic_of, update, Nic, Peer, PROGRAM};

/// Returns the test's program with hops and ports that are strings.
fn program() -> String {
    let changes = [
        (
            "@controller_header(\"packet_in\")\nheader packet_in_t { bit<9> port;",
            "@p4runtime_translation(\"\", string) type bit<16> hop_t;\n\
             @p4runtime_translation(\"adit/ports\", string) type bit<9> port_t;\n\
             @p4runtime_translation(\"adit/ports\", string) type bit<16> wide_port_t;\n\
             @controller_header(\"packet_in\")\nheader packet_in_t { port_t port;",
        ),
        ("header packet_out_t { bit<9> port;", "header packet_out_t { port_t port;"),
        ("{ bit<48> address; bit<9> port; }", "{ bit<48> address; port_t port; }"),
        ("{ bit<32> color; }", "{ bit<32> color; hop_t hop; }"),
        ("value_set<bit<16>>(4) known", "value_set<hop_t>(4) known"),
        ("select(h.ethernet.type)", "select((hop_t)h.ethernet.type)"),
        (
            "    action drop() {",
            "    action to_hop(hop_t hop) { m.hop = hop; }\n\
             \x20   action to_port(wide_port_t port) { s.egress_spec = (bit<9>)(bit<16>)port; }\n\
             \x20   action drop() {",
        ),
        ("h.ethernet.src, s.ingress_port", "h.ethernet.src, (port_t)s.ingress_port"),
        ("h.to_control.port = s", "h.to_control.port = (port_t)s"),
        ("s.egress_spec = h.from", "s.egress_spec = (bit<9>)h.from"),
        ("actions = { forward; drop; punt; }", "actions = { forward; drop; punt; to_hop; }"),
        (
            "    table rules {",
            "    table hops {\n\
             \x20       key = { m.hop: exact; }\n\
             \x20       actions = { to_port; drop; }\n\
             \x20       const default_action = drop();\n\
             \x20   }\n\
             \x20   table late {\n\
             \x20       key = { m.hop: ternary; h.ethernet.type: optional; }\n\
             \x20       actions = { NoAction; }\n\
             \x20   }\n\
             \x20   table rules {",
        ),
        ("s.ingress_port: optional;", "m.hop: optional;"),
        (
            "            stations.apply();",
            "            switch (stations.apply().action_run) { to_hop: { hops.apply(); late.apply(); } }",
        ),
    ];
    changes.iter().fold(PROGRAM.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.replacen(from, to, 1)
    })
}

fn field(field_id: u32, is: FieldMatchType) -> v1::FieldMatch {
    v1::FieldMatch {
        field_id,
        field_match_type: Some(is),
    }
}

fn hop(nic: &Nic, name: &str, port: &str) -> v1::TableEntry {
    let value = name.as_bytes().to_vec();
    v1::TableEntry {
        table_id: nic.table("hops"),
        r#match: vec![field(1, FieldMatchType::Exact(Exact { value }))],
        action: Some(direct(nic.action("to_port", &[port.as_bytes()]))),
        ..Default::default()
    }
}

fn hops(nic: &Nic, primary: &mut Peer) -> Vec<E> {
    primary.read(E::TableEntry(v1::TableEntry {
        table_id: nic.table("hops"),
        ..Default::default()
    }))
}

#[test]
fn texts_stand_for_the_same_wherever_they_are_written() {
    let nic = nic_of(&program());
    let mut primary = Peer::primary(&nic, "", 1);
    let mut entries = vec![
        nic.station(1, "to_hop", &[b"blue"]),
        nic.station(2, "to_hop", &[b"green"]),
        nic.station(3, "to_hop", &[b"7"]),
        hop(&nic, "7", "5"),
        hop(&nic, "blue", "3"),
        hop(&nic, "green", "4"),
    ];
    primary
        .write(entries.iter().cloned().map(insert).collect())
        .expect("texts");
    for (dst, port) in [(1, 3), (2, 4), (3, 5)] {
        assert_eq!(nic.process(0, &frame(dst, 9)), [(port, frame(dst, 9))]);
    }
    let mut read = primary.entries();
    let key = |entry: &E| format!("{entry:?}");
    read.sort_by_key(key);
    let mut written: Vec<_> = entries.drain(..).map(E::TableEntry).collect();
    written.sort_by_key(key);
    assert_eq!(read, written);

    // One of them by its string; a string that no client has written selects nothing, and gets no
    // number.
    let blue = hop(&nic, "blue", "3");
    assert_eq!(
        primary.read(E::TableEntry(blue.clone())),
        [E::TableEntry(blue)]
    );
    assert_eq!(primary.read(E::TableEntry(hop(&nic, "red", "3"))), []);
    let gone = |entry| update(Type::Delete, E::TableEntry(entry));
    let error = primary
        .write(vec![gone(hop(&nic, "red", "3"))])
        .unwrap_err();
    assert_eq!(codes(&error), [Code::NotFound as i32]);
    assert!(
        error.message().contains("the value `red` does not exist"),
        "{error}"
    );
    primary
        .write(vec![insert(hop(&nic, "65533", "3"))])
        .expect("it is no other text's number");
    let error = primary
        .write(vec![insert(hop(&nic, "65535", "3"))])
        .unwrap_err();
    assert!(
        error.message().contains("65535 stands for the text `blue`"),
        "{error}"
    );

    // Two updates of which the second is invalid: the first is undone.
    let mut other = hop(&nic, "blue", "6");
    let before = hops(&nic, &mut primary);
    let updates = vec![
        update(Type::Modify, E::TableEntry(other.clone())),
        insert(other.clone()),
    ];
    primary
        .write_as(updates, Atomicity::RollbackOnError)
        .unwrap_err();
    assert_eq!(hops(&nic, &mut primary), before);
    assert_eq!(nic.process(0, &frame(1, 9)), [(3, frame(1, 9))]);

    // The same program again keeps entries and the numbers of their strings.
    primary
        .configure(Action::ReconcileAndCommit, Some(&program()))
        .expect("the same program");
    assert_eq!(hops(&nic, &mut primary), before);
    other.r#match[0] = hop(&nic, "65534", "1").r#match[0].clone();
    let error = primary.write(vec![insert(other)]).unwrap_err();
    assert!(
        error
            .message()
            .contains("65534 stands for the text `green`"),
        "{error}"
    );
}

#[test]
fn texts_are_matched_exact_or_optional() {
    let nic = nic_of(&program());
    let mut primary = Peer::primary(&nic, "", 1);
    let text = |text: &str| text.as_bytes().to_vec();
    let rule = |is| v1::TableEntry {
        table_id: nic.table("rules"),
        r#match: vec![field(3, is)],
        action: Some(direct(nic.action("NoAction", &[]))),
        priority: 1,
        ..Default::default()
    };
    let optional = rule(FieldMatchType::Optional(Optional {
        value: text("blue"),
    }));
    primary
        .write(vec![insert(optional.clone())])
        .expect("a text");
    assert_eq!(primary.entries(), [E::TableEntry(optional)]);
    let late = |fields| v1::TableEntry {
        table_id: nic.table("late"),
        r#match: fields,
        ..rule(FieldMatchType::Exact(Exact { value: vec![] }))
    };
    let masked = FieldMatchType::Ternary(Ternary {
        value: text("blue"),
        mask: vec![0xFF, 0xFF],
    });
    for (entry, code, why) in [
        (
            late(vec![field(1, masked)]),
            Code::Unimplemented,
            "match field `m.hop` is an sdn_string",
        ),
        (
            hop(&nic, "", "1"),
            Code::InvalidArgument,
            "`m.hop`: the value has 0 bytes: an sdn_string is 1 to 128 bytes",
        ),
        (
            hop(&nic, &"x".repeat(129), "1"),
            Code::InvalidArgument,
            "`m.hop`: the value has 129 bytes: an sdn_string is 1 to 128 bytes",
        ),
        (
            hop(&nic, "blue", "512"),
            Code::OutOfRange,
            "`port`: the value `512` does not fit into 9 bits",
        ),
    ] {
        let error = primary.write(vec![insert(entry)]).unwrap_err();
        assert_eq!(codes(&error), [code as i32], "{error}");
        assert!(error.message().contains(why), "{error}");
    }
    primary
        .write(vec![insert(late(vec![]))])
        .expect("it matches anything");
}

#[test]
fn a_value_sets_members_are_texts() {
    let nic = nic_of(&program());
    let mut primary = Peer::primary(&nic, "", 1);
    let set = v1::ValueSetEntry {
        value_set_id: nic.info.value_sets[0].preamble.as_ref().expect("an id").id,
        members: vec![v1::ValueSetMember {
            r#match: vec![field(
                nic.info.value_sets[0].r#match[0].id,
                FieldMatchType::Exact(Exact {
                    value: b"blue".to_vec(),
                }),
            )],
        }],
    };
    primary
        .write(vec![update(Type::Modify, E::ValueSetEntry(set.clone()))])
        .expect("a text");
    assert_eq!(
        primary.read(E::ValueSetEntry(v1::ValueSetEntry::default())),
        [E::ValueSetEntry(set)]
    );
}

#[test]
fn packets_and_digests_have_texts() {
    let nic = nic_of(&program());
    let mut primary = Peer::primary(&nic, "", 1);
    let learn = v1::TableEntry {
        table_id: nic.table("rules"),
        action: Some(direct(nic.action("learn", &[]))),
        priority: 1,
        ..Default::default()
    };
    let digest = v1::DigestEntry {
        digest_id: nic.info.digests[0].preamble.as_ref().expect("an id").id,
        config: Some(v1::digest_entry::Config::default()),
    };
    primary
        .write(vec![
            insert(nic.station(9, "punt", &[&[0x55]])),
            insert(nic.station(1, "to_hop", &[b"blue"])),
            insert(hop(&nic, "blue", "uplink")),
            insert(learn),
            update(Type::Insert, E::DigestEntry(digest)),
        ])
        .expect("entries");
    // The number of the first string that is not a number.
    const UPLINK: u32 = 511;
    assert_eq!(nic.process(UPLINK, &frame(9, 2)), []);
    let mut packet = None;
    let mut list = None;
    while packet.is_none() || list.is_none() {
        match primary.hear() {
            Heard::Packet(told) => packet = Some(told),
            Heard::Digest(told) => list = Some(told),
            other => panic!("{other:?}"),
        }
    }
    let packet = packet.expect("it came");
    assert_eq!(packet.metadata[0].value, b"uplink");
    match list.and_then(|list| list.data.into_iter().next()?.data) {
        Some(Data::Struct(learnt)) => {
            let port = learnt.members[1].data.clone();
            assert_eq!(port, Some(Data::Bitstring(b"uplink".to_vec())));
        }
        other => panic!("{other:?}"),
    }

    let out = |port: &[u8]| v1::PacketOut {
        payload: frame(1, 2),
        metadata: nic
            .info
            .controller_packet_metadata
            .iter()
            .flat_map(|h| {
                let is_out = h.preamble.as_ref().is_some_and(|p| p.name == "packet_out");
                let fields = h.metadata.iter().filter(move |_| is_out).zip([port, &[0]]);
                let fields = fields.map(|(field, value)| v1::PacketMetadata {
                    metadata_id: field.id,
                    value: value.to_vec(),
                });
                fields.collect::<Vec<_>>()
            })
            .collect(),
    };
    primary.say(Said::Packet(out(b"downlink")));
    match primary.hear() {
        Heard::Error(error) => {
            assert!(error
                .message
                .contains("`port`: the value `downlink` does not exist"));
        }
        other => panic!("{other:?}"),
    }
    primary.say(Said::Packet(out(b"uplink")));
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    let sent = loop {
        match nic.engine().packets_out().take() {
            Some(sent) => break sent,
            None => assert!(std::time::Instant::now() < deadline),
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    };
    // 9 bits of ones, 7 unused bits.
    assert_eq!(sent.data[..2], [0xFF, 0x80]);
}
