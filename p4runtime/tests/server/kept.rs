// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Data that the device keeps for clients without interpreting it.

use adit_p4runtime::proto::v1::{
    self, entity::Entity as E, packet_replication_engine_entry as pre, update::Type,
    write_request::Atomicity,
};
use tonic::Code;

use crate::common::{codes, insert, nic, update, Nic, Peer};

#[allow(deprecated, reason = "the standard still has controller_metadata")]
fn kept(entry: v1::TableEntry, cookie: u64, metadata: &[u8]) -> v1::TableEntry {
    v1::TableEntry {
        controller_metadata: cookie,
        metadata: metadata.to_vec(),
        ..entry
    }
}

fn station(nic: &Nic, dst: u64, cookie: u64, metadata: &[u8]) -> v1::TableEntry {
    kept(nic.station(dst, "drop", &[]), cookie, metadata)
}

#[test]
fn metadata_of_entries_is_read_back() {
    let nic = nic();
    let mut primary = Peer::primary(&nic, "", 1);
    let entries = [
        station(&nic, 1, 0, b"\0blue\xff"),
        station(&nic, 2, 77, b""),
        station(&nic, 3, u64::MAX, &[7; 1000]),
        station(&nic, 4, 0, b""),
    ];
    primary
        .write(entries.iter().cloned().map(insert).collect())
        .expect("entries");
    let sorted = |mut found: Vec<E>| {
        found.sort_by_key(|entry| format!("{entry:?}"));
        found
    };
    let as_found =
        |entries: &[v1::TableEntry]| sorted(entries.iter().cloned().map(E::TableEntry).collect());
    assert_eq!(sorted(primary.entries()), as_found(&entries));

    // Reads can select by it, and by an action.
    let table_id = nic.table("stations");
    let any = v1::TableEntry {
        table_id,
        ..Default::default()
    };
    let mut find = |wanted| sorted(primary.read(E::TableEntry(wanted)));
    assert_eq!(
        find(kept(any.clone(), 0, b"\0blue\xff")),
        as_found(&entries[..1])
    );
    assert_eq!(find(kept(any.clone(), 77, b"")), as_found(&entries[1..2]));
    assert_eq!(find(kept(any.clone(), 77, b"x")), []);
    let action = |name, values: &[&[u8]]| v1::TableEntry {
        action: Some(crate::common::direct(nic.action(name, values))),
        ..any.clone()
    };
    assert_eq!(find(action("drop", &[])).len(), 4);
    assert_eq!(find(action("forward", &[&[1]])), []);
    let mut by_group = any.clone();
    by_group.action = Some(v1::TableAction {
        r#type: Some(v1::table_action::Type::ActionProfileGroupId(1)),
    });
    let error = primary.try_read(E::TableEntry(by_group)).unwrap_err();
    assert_eq!(error.code(), Code::Unimplemented);

    // A modified entry has only the data of its update.
    let modified = [
        station(&nic, 1, 5, b""),
        station(&nic, 2, 0, b"green"),
        station(&nic, 3, 0, b""),
    ];
    let updates = modified.iter().cloned().map(E::TableEntry);
    primary
        .write(updates.map(|e| update(Type::Modify, e)).collect())
        .expect("other metadata");
    let mut expected = modified.to_vec();
    expected.push(entries[3].clone());
    assert_eq!(sorted(primary.entries()), as_found(&expected));

    // An entry in the place of a deleted one has none of its data.
    let gone = update(Type::Delete, E::TableEntry(station(&nic, 2, 9, &[0; 5000])));
    primary
        .write(vec![gone])
        .expect("what it has does not matter");
    expected.remove(1);
    let next: Vec<_> = (5..20).map(|n| station(&nic, n, 0, b"")).collect();
    primary
        .write(next.iter().cloned().map(insert).collect())
        .expect("entries");
    expected.extend(next);
    assert_eq!(sorted(primary.entries()), as_found(&expected));
}

#[test]
fn too_much_metadata_changes_nothing() {
    let nic = nic();
    let mut primary = Peer::primary(&nic, "", 1);
    let there = station(&nic, 1, 1, b"red");
    primary
        .write(vec![insert(there.clone())])
        .expect("an entry");
    let long = |kind, dst| update(kind, E::TableEntry(station(&nic, dst, 0, &[1; 1001])));
    let error = primary
        .write(vec![long(Type::Insert, 2), long(Type::Modify, 1)])
        .unwrap_err();
    assert_eq!(codes(&error), [Code::ResourceExhausted as i32; 2]);
    assert!(error.message().contains("1000 are kept"), "{error:?}");
    assert_eq!(primary.entries(), [E::TableEntry(there.clone())]);
    let batch = vec![
        update(Type::Modify, E::TableEntry(station(&nic, 1, 2, b"new"))),
        update(Type::Delete, E::TableEntry(there.clone())),
        long(Type::Insert, 2),
    ];
    primary
        .write_as(batch, Atomicity::RollbackOnError)
        .expect_err("too long");
    assert_eq!(primary.entries(), [E::TableEntry(there)]);
}

#[test]
fn default_actions_and_groups_have_metadata() {
    let nic = nic();
    let mut primary = Peer::primary(&nic, "", 1);
    let default = v1::TableEntry {
        is_default_action: true,
        r#match: vec![],
        ..nic.station(0, "forward", &[&[1]])
    };
    let set = kept(default.clone(), 3, b"default");
    let modify = |entry: v1::TableEntry| vec![update(Type::Modify, E::TableEntry(entry))];
    let wanted = E::TableEntry(v1::TableEntry {
        table_id: default.table_id,
        is_default_action: true,
        ..Default::default()
    });
    primary
        .write(modify(set.clone()))
        .expect("a default action");
    assert_eq!(primary.read(wanted.clone()), [E::TableEntry(set)]);
    let reset = v1::TableEntry {
        action: None,
        ..kept(default, 4, b"")
    };
    primary.write(modify(reset)).expect("the program's own");
    let found = primary.read(wanted);
    let [E::TableEntry(found)] = &found[..] else {
        panic!("{found:?}");
    };
    assert_eq!(*found, kept(found.clone(), 0, b""));

    let group = |metadata: &[u8]| {
        let group = v1::MulticastGroupEntry {
            multicast_group_id: 5,
            replicas: vec![],
            metadata: metadata.to_vec(),
        };
        E::PacketReplicationEngineEntry(v1::PacketReplicationEngineEntry {
            r#type: Some(pre::Type::MulticastGroupEntry(group)),
        })
    };
    for (kind, metadata) in [
        (Type::Insert, &b"a"[..]),
        (Type::Modify, b"b"),
        (Type::Modify, b""),
    ] {
        primary
            .write(vec![update(kind, group(metadata))])
            .expect("a group");
        assert_eq!(primary.read(group(b"")), [group(metadata)]);
    }
    let error = primary
        .write(vec![update(Type::Modify, group(&[0; 1001]))])
        .unwrap_err();
    assert_eq!(codes(&error), [Code::ResourceExhausted as i32]);
    let again = vec![
        update(Type::Modify, group(b"c")),
        update(Type::Delete, group(&[0; 1001])),
        update(Type::Insert, group(b"")),
    ];
    primary.write(again).expect("a group without metadata");
    assert_eq!(primary.read(group(b"")), [group(b"")]);
}

#[test]
fn what_is_not_kept_is_refused() {
    let nic = nic();
    let mut primary = Peer::primary(&nic, "", 1);
    let session = |class_of_service| {
        let session = v1::CloneSessionEntry {
            session_id: 4,
            replicas: vec![],
            class_of_service,
            packet_length_bytes: 0,
        };
        let entry = v1::PacketReplicationEngineEntry {
            r#type: Some(pre::Type::CloneSessionEntry(session)),
        };
        update(Type::Insert, E::PacketReplicationEngineEntry(entry))
    };
    let error = primary.write(vec![session(1)]).unwrap_err();
    assert_eq!(codes(&error), [Code::Unimplemented as i32]);
    primary.write(vec![session(0)]).expect("a session");
}
