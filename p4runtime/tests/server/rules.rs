// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Annotations that make rules for entries: restrictions, references and roles.

use adit_p4runtime::proto::v1::{
    self, entity::Entity as E, field_match::FieldMatchType, packet_replication_engine_entry as pre,
    set_forwarding_pipeline_config_request::Action, table_action, update::Type,
    write_request::Atomicity,
};
use tonic::Code;

use crate::common::{codes, direct, exact, insert, lpm, nic_of, update, Nic, Peer};

const PROGRAM: &str = include_str!("rules.p4");

fn entry(
    nic: &Nic,
    table: &str,
    keys: Vec<v1::FieldMatch>,
    action: (&str, &[&[u8]]),
) -> v1::TableEntry {
    v1::TableEntry {
        table_id: nic.table(table),
        r#match: keys,
        action: Some(direct(nic.action(action.0, action.1))),
        ..Default::default()
    }
}

const NONE: (&str, &[&[u8]]) = ("NoAction", &[]);

fn vrf(nic: &Nic, id: u64) -> v1::TableEntry {
    entry(nic, "vrf_table", vec![exact(1, id)], NONE)
}

fn route(nic: &Nic, vrf: u64, dst: u64, length: i32, action: (&str, &[&[u8]])) -> v1::TableEntry {
    let keys = vec![exact(1, vrf), lpm(2, dst, length)];
    entry(nic, "routes", keys, action)
}

fn nexthop(nic: &Nic, id: u64, action: (&str, &[&[u8]])) -> v1::TableEntry {
    entry(nic, "nexthop_table", vec![exact(1, id)], action)
}

fn delete(entry: v1::TableEntry) -> v1::Update {
    update(Type::Delete, E::TableEntry(entry))
}

fn modify(entry: v1::TableEntry) -> v1::Update {
    update(Type::Modify, E::TableEntry(entry))
}

#[track_caller]
fn refused(primary: &mut Peer, update: v1::Update, code: Code, why: &str) {
    let before = primary.entries();
    let error = primary.write(vec![update]).unwrap_err();
    assert_eq!(codes(&error), [code as i32], "{error}");
    assert!(error.message().contains(why), "{error}");
    assert_eq!(primary.entries(), before);
}

#[test]
fn entries_keep_to_the_restrictions_of_tables_and_actions() {
    let nic = nic_of(PROGRAM);
    let mut primary = Peer::primary(&nic, "", 1);
    let violates = |table: &str, clause: &str| {
        format!("the entry violates @entry_restriction of table `I.{table}`: {clause}")
    };
    let invalid = Code::InvalidArgument;
    let why = violates("vrf_table", "vrf_id != 0 (vrf_id is 0x0)");
    refused(&mut primary, insert(vrf(&nic, 0)), invalid, &why);
    let why = violates("vrf_table", "vrf_id < 1000 (vrf_id is 0x3e8)");
    refused(&mut primary, insert(vrf(&nic, 1000)), invalid, &why);
    for id in [1, 2, 999] {
        primary.write(vec![insert(vrf(&nic, id))]).expect("it fits");
    }
    let why = violates(
        "routes",
        "dst::prefix_length > 24 -> vrf_id == 1 (dst::prefix_length is 25, vrf_id is 0x2)",
    );
    refused(
        &mut primary,
        insert(route(&nic, 2, 0, 25, NONE)),
        invalid,
        &why,
    );
    primary
        .write(vec![
            insert(route(&nic, 1, 0, 25, NONE)),
            insert(route(&nic, 2, 0, 24, NONE)),
        ])
        .expect("they fit");

    let acl = |kind: Option<(u8, u8)>, dst: bool, priority| {
        let ternary = |field_id, value: Vec<u8>, mask: Vec<u8>| v1::FieldMatch {
            field_id,
            field_match_type: Some(FieldMatchType::Ternary(v1::field_match::Ternary {
                value,
                mask,
            })),
        };
        let kind = kind.map(|(value, mask)| ternary(1, vec![value, 0], vec![mask, 0xFF]));
        let dst = dst.then(|| ternary(2, vec![1], vec![1]));
        v1::TableEntry {
            priority,
            ..entry(&nic, "acl", kind.into_iter().chain(dst).collect(), NONE)
        }
    };
    for (entry, clause) in [
        (
            acl(Some((0x86, 0xFF)), false, 1),
            "type::mask == 0 || type == 0x0800 (type::mask is 0xffff",
        ),
        (
            acl(Some((0x08, 0x0F)), false, 1),
            "type::mask == 0 || type == 0x0800 (type::mask is 0xfff",
        ),
        (
            acl(None, true, 1),
            "dst::mask != 0 -> type == 0x0800 (dst::mask is 0x1",
        ),
        (
            acl(None, false, 100),
            "::priority < 100 (::priority is 100)",
        ),
    ] {
        refused(
            &mut primary,
            insert(entry),
            invalid,
            &violates("acl", clause),
        );
    }
    let fits = acl(Some((8, 0xFF)), true, 99);
    primary.write(vec![insert(fits)]).expect("it fits");

    let zero = entry(&nic, "acl", vec![], ("set_nexthop", &[&[0]]));
    let zero = v1::TableEntry {
        priority: 3,
        ..zero
    };
    let why = "the params violate @action_restriction of action `I.set_nexthop`: nexthop_id != 0 \
               (nexthop_id is 0x0)";
    refused(&mut primary, insert(zero.clone()), invalid, why);
    let default = v1::TableEntry {
        is_default_action: true,
        priority: 0,
        ..zero
    };
    refused(&mut primary, modify(default), invalid, why);
}

#[test]
fn what_is_referred_to_exists_and_stays() {
    let nic = nic_of(PROGRAM);
    let mut primary = Peer::primary(&nic, "", 1);
    let (missing, used) = (Code::NotFound, Code::FailedPrecondition);
    let why = "table `I.vrf_table` (vrf_id) has no entry with 0x01, which is referred to";
    refused(
        &mut primary,
        insert(route(&nic, 1, 0, 8, NONE)),
        missing,
        why,
    );
    primary.write(vec![insert(vrf(&nic, 1))]).expect("a VRF");
    let with = |id: &'static [u8]| route(&nic, 1, 0, 8, ("set_nexthop", &[id]));
    let why = "table `I.nexthop_table` (nexthop_id) has no entry with 0x05";
    refused(&mut primary, insert(with(&[5])), missing, why);
    primary
        .write(vec![
            insert(nexthop(&nic, 5, NONE)),
            insert(nexthop(&nic, 6, NONE)),
        ])
        .expect("next hops");
    primary.write(vec![insert(with(&[5]))]).expect("a route");
    let why = "the entry of table `I.nexthop_table` (nexthop_id) with 0x05 is referred to 1 times";
    refused(&mut primary, delete(nexthop(&nic, 5, NONE)), used, why);
    refused(
        &mut primary,
        delete(vrf(&nic, 1)),
        used,
        "table `I.vrf_table` (vrf_id) with 0x01",
    );
    // The modified entry refers to another one.
    refused(
        &mut primary,
        modify(with(&[7])),
        missing,
        "has no entry with 0x07",
    );
    primary.write(vec![modify(with(&[6]))]).expect("the other");
    primary
        .write(vec![delete(nexthop(&nic, 5, NONE))])
        .expect("it is free");
    refused(
        &mut primary,
        delete(nexthop(&nic, 6, NONE)),
        used,
        "is referred to",
    );
    // An entry whose deletion is undone refers to the same entry as before.
    let batch = vec![
        delete(with(&[6])),
        delete(nexthop(&nic, 6, NONE)),
        insert(vrf(&nic, 0)),
    ];
    primary
        .write_as(batch, Atomicity::RollbackOnError)
        .expect_err("the last one");
    refused(
        &mut primary,
        delete(nexthop(&nic, 6, NONE)),
        used,
        "is referred to 1 times",
    );
    primary
        .write(vec![
            delete(with(&[6])),
            delete(nexthop(&nic, 6, NONE)),
            delete(vrf(&nic, 1)),
        ])
        .expect("in that order");
    assert_eq!(primary.entries(), []);
}

#[test]
fn references_of_several_fields_are_to_one_entry() {
    let nic = nic_of(PROGRAM);
    let mut primary = Peer::primary(&nic, "", 1);
    let interface = |id| entry(&nic, "interface_table", vec![exact(1, id)], NONE);
    let neighbor = |interface, id| {
        let keys = vec![exact(1, interface), exact(2, id)];
        entry(&nic, "neighbor_table", keys, NONE)
    };
    let all = [interface(1), interface(2), neighbor(1, 3), neighbor(2, 4)];
    primary
        .write(all.into_iter().map(insert).collect())
        .expect("entries");
    let to = |interface: &'static [u8], neighbor: &'static [u8]| {
        let arguments: &[&[u8]] = &[interface, neighbor];
        entry(
            &nic,
            "nexthop_table",
            vec![exact(1, 9)],
            ("set_neighbor", arguments),
        )
    };
    let why = "table `I.neighbor_table` (interface_id, neighbor_id) has no entry with 0x01, 0x04";
    refused(&mut primary, insert(to(&[1], &[4])), Code::NotFound, why);
    let why = "table `I.interface_table` (interface_id) has no entry with 0x03";
    refused(&mut primary, insert(to(&[3], &[3])), Code::NotFound, why);
    primary
        .write(vec![insert(to(&[1], &[3]))])
        .expect("it is there");
    for entry in [interface(1), neighbor(1, 3)] {
        refused(
            &mut primary,
            delete(entry),
            Code::FailedPrecondition,
            "is referred to",
        );
    }
    primary
        .write(vec![delete(neighbor(2, 4)), delete(interface(2))])
        .expect("nobody refers to them");
}

fn group(kind: Type, id: u32, replicas: &[(u8, u32)]) -> v1::Update {
    let replicas = replicas.iter().map(|(port, instance)| v1::Replica {
        instance: *instance,
        port_kind: Some(v1::replica::PortKind::Port(vec![*port])),
        backup_replicas: vec![],
    });
    let group = v1::MulticastGroupEntry {
        multicast_group_id: id,
        replicas: replicas.collect(),
        ..Default::default()
    };
    let entry = v1::PacketReplicationEngineEntry {
        r#type: Some(pre::Type::MulticastGroupEntry(group)),
    };
    update(kind, E::PacketReplicationEngineEntry(entry))
}

#[test]
fn groups_members_and_default_actions_refer_too() {
    let nic = nic_of(PROGRAM);
    let mut primary = Peer::primary(&nic, "", 1);
    let (missing, used) = (Code::NotFound, Code::FailedPrecondition);
    let replica = |port, instance| {
        let keys = vec![exact(1, port), exact(2, instance)];
        entry(&nic, "replicas", keys, NONE)
    };
    let both = vec![insert(vrf(&nic, 1)), insert(replica(4, 2))];
    primary.write(both).expect("entries");
    let to_group = || route(&nic, 1, 0, 8, ("set_group", &[&[7]]));
    refused(
        &mut primary,
        insert(to_group()),
        missing,
        "multicast groups has no entry with 0x07",
    );
    let why = "table `I.replicas` (port, instance) has no entry with 0x04, 0x01";
    refused(
        &mut primary,
        group(Type::Insert, 7, &[(4, 2), (4, 1)]),
        missing,
        why,
    );
    primary
        .write(vec![group(Type::Insert, 7, &[(4, 2)])])
        .expect("a group");
    primary
        .write(vec![insert(to_group())])
        .expect("it is there");
    refused(
        &mut primary,
        group(Type::Delete, 7, &[]),
        used,
        "is referred to",
    );
    refused(&mut primary, delete(replica(4, 2)), used, "is referred to");
    primary
        .write(vec![group(Type::Modify, 7, &[])])
        .expect("an empty one");
    let free = vec![
        delete(replica(4, 2)),
        delete(to_group()),
        group(Type::Delete, 7, &[]),
    ];
    primary.write(free).expect("they are free");

    // Members, sets and default actions.
    primary
        .write((1..=3).map(|id| insert(nexthop(&nic, id, NONE))).collect())
        .expect("next hops");
    let profile = nic.info.action_profiles[0]
        .preamble
        .as_ref()
        .expect("an id")
        .id;
    let member = |to: &[u8]| {
        E::ActionProfileMember(v1::ActionProfileMember {
            action_profile_id: profile,
            member_id: 1,
            action: Some(nic.action("set_nexthop", &[to])),
        })
    };
    refused(
        &mut primary,
        update(Type::Insert, member(&[9])),
        missing,
        "no entry with 0x09",
    );
    primary
        .write(vec![update(Type::Insert, member(&[1]))])
        .expect("a member");
    refused(
        &mut primary,
        delete(nexthop(&nic, 1, NONE)),
        used,
        "is referred to",
    );
    primary
        .write(vec![
            update(Type::Delete, member(&[])),
            delete(nexthop(&nic, 1, NONE)),
        ])
        .expect("it is free");
    let set = v1::TableEntry {
        table_id: nic.table("groups"),
        r#match: vec![exact(1, 1)],
        action: Some(v1::TableAction {
            r#type: Some(table_action::Type::ActionProfileActionSet(
                v1::ActionProfileActionSet {
                    action_profile_actions: vec![v1::ActionProfileAction {
                        action: Some(nic.action("set_nexthop", &[&[2]])),
                        weight: 1,
                        watch_kind: None,
                    }],
                    ..Default::default()
                },
            )),
        }),
        ..Default::default()
    };
    primary.write(vec![insert(set.clone())]).expect("a set");
    refused(
        &mut primary,
        delete(nexthop(&nic, 2, NONE)),
        used,
        "is referred to",
    );
    primary
        .write(vec![delete(set), delete(nexthop(&nic, 2, NONE))])
        .expect("it is free");
    let default = v1::TableEntry {
        is_default_action: true,
        ..entry(&nic, "acl", vec![], ("set_nexthop", &[&[3]]))
    };
    primary
        .write(vec![modify(default.clone())])
        .expect("a default action");
    refused(
        &mut primary,
        delete(nexthop(&nic, 3, NONE)),
        used,
        "is referred to",
    );
    let reset = v1::TableEntry {
        action: None,
        ..default
    };
    primary
        .write(vec![modify(reset), delete(nexthop(&nic, 3, NONE))])
        .expect("it is free");
}

#[test]
fn tables_are_written_by_their_role() {
    let nic = nic_of(PROGRAM);
    let mut other = Peer::primary(&nic, "other", 1);
    let why = "role \"other\" may not write table `I.vrf_table`: its @p4runtime_role is \
               \"sdn_controller\"";
    refused(
        &mut other,
        insert(vrf(&nic, 1)),
        Code::PermissionDenied,
        why,
    );
    other
        .write(vec![insert(nexthop(&nic, 1, NONE))])
        .expect("a table of no role");
    let mut controller = Peer::primary(&nic, "sdn_controller", 1);
    controller
        .write(vec![insert(vrf(&nic, 1))])
        .expect("its table");
    let mut default = Peer::primary(&nic, "", 1);
    default
        .write(vec![insert(vrf(&nic, 2))])
        .expect("it may write all");
    refused(
        &mut other,
        delete(vrf(&nic, 2)),
        Code::PermissionDenied,
        why,
    );
}

#[test]
fn programs_whose_rules_make_no_sense_are_refused_with_their_place() {
    let nic = nic_of(PROGRAM);
    let mut primary = Peer::primary(&nic, "", 1);
    for (from, to, why) in [
        (
            "type::mask == 0 || type == 0x0800;",
            "type::prefix_length == 0;",
            "table `I.acl`: @entry_restriction: line 2, column 9: ternary key `type` has no \
             `::prefix_length`",
        ),
        (
            "nexthop_id != 0;\n",
            "nexthop != 0;\n",
            "action `I.set_nexthop`: @action_restriction: line 3, column 9: key `nexthop` does not \
             exist; keys: nexthop_id",
        ),
        (
            "@entry_restriction(\"vrf_id != 0;\" \"vrf_id < 1000\")",
            "@entry_restriction(forgot)",
            "table `I.vrf_table`: @entry_restriction takes a string literal",
        ),
        (
            "@refers_to(nexthop_table, nexthop_id)",
            "@refers_to(nexthops, nexthop_id)",
            "action `I.set_nexthop`: `nexthop_id`: @refers_to: table `nexthops` does not exist",
        ),
        (
            "@refers_to(vrf_table, vrf_id)",
            "@refers_to(vrf_table, id)",
            "table `I.routes`: `vrf_id`: @refers_to: match field `id` of table `I.vrf_table` does \
             not exist; match fields: vrf_id",
        ),
        (
            "replica.port)",
            "replica.weight)",
            "table `I.replicas`: `port`: @referenced_by: builtin::multicast_group_table has \
             replica.port and replica.instance, not replica.weight",
        ),
        (
            "const default_action = NoAction;\n",
            "const entries = { 5: NoAction(); 1000: NoAction(); }\n",
            "an entry of the program in `I.vrf_table`: the entry violates @entry_restriction of \
             table `I.vrf_table`: vrf_id < 1000 (vrf_id is 0x3e8)",
        ),
        (
            "actions = { set_nexthop; set_group; NoAction; }\n",
            "actions = { set_nexthop; set_group; NoAction; }\n entries = { (1, _): \
             set_nexthop(0); }\n",
            "an entry of the program in `I.routes`: the params violate @action_restriction of action \
             `I.set_nexthop`",
        ),
        (
            "actions = { set_nexthop; set_group; NoAction; }\n",
            "actions = { set_nexthop; set_group; NoAction; }\n entries = { (5, _): NoAction(); }\n",
            "an entry of the program: table `I.vrf_table` (vrf_id) has no entry with 0x05, which \
             is referred to (@refers_to)",
        ),
    ] {
        let program = PROGRAM.replace(from, to);
        assert_ne!(program, PROGRAM, "{from}");
        let error = primary
            .configure(Action::Verify, Some(&program))
            .unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument);
        assert!(error.message().starts_with(why), "{error}");
    }
}

#[test]
fn a_new_program_keeps_entries_whatever_their_order_is() {
    let nic = nic_of(PROGRAM);
    let mut primary = Peer::primary(&nic, "", 1);
    let to_nexthop = || route(&nic, 1, 0, 8, ("set_nexthop", &[&[5]]));
    let to_group = || route(&nic, 1, 0, 16, ("set_group", &[&[7]]));
    primary
        .write(vec![
            insert(vrf(&nic, 1)),
            insert(nexthop(&nic, 5, NONE)),
            group(Type::Insert, 7, &[]),
            insert(to_nexthop()),
            insert(to_group()),
        ])
        .expect("entries");
    let before = primary.entries();
    // The tables of routes come before those that they refer to, groups come last.
    primary
        .configure(Action::ReconcileAndCommit, Some(PROGRAM))
        .expect("the same program");
    assert_eq!(primary.entries(), before);
    let used = Code::FailedPrecondition;
    refused(
        &mut primary,
        delete(nexthop(&nic, 5, NONE)),
        used,
        "is referred to 1 times",
    );
    refused(
        &mut primary,
        group(Type::Delete, 7, &[]),
        used,
        "is referred to 1 times",
    );
    // A program whose rules the entries violate cannot take them over.
    for (from, to, why) in [
        (
            "vrf_id < 1000",
            "vrf_id > 1",
            "RECONCILE_AND_COMMIT: an entry of table `I.vrf_table` cannot be kept by the new \
             program: the entry violates @entry_restriction",
        ),
        (
            "h.ethernet.dst: lpm @name(\"dst\")",
            "h.ethernet.dst: lpm @name(\"dst\") @refers_to(acl, dst)",
            "RECONCILE_AND_COMMIT: table `I.acl` (dst) has no entry with ",
        ),
    ] {
        let error = primary
            .configure(Action::ReconcileAndCommit, Some(&PROGRAM.replace(from, to)))
            .unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument);
        assert!(error.message().starts_with(why), "{error}");
        assert_eq!(primary.entries(), before);
    }
}

#[test]
fn references_are_bounded() {
    let nic = nic_of(PROGRAM);
    let mut primary = Peer::primary(&nic, "", 1);
    let with = |references: usize, repeated: usize| {
        let one = "@refers_to(vrf_table, vrf_id) ".repeat(repeated);
        let parameters: Vec<String> = (0..references)
            .map(|n| format!("{one}bit<10> p{n}"))
            .collect();
        let action = format!("action many({}) {{}}", parameters.join(", "));
        let program = PROGRAM
            .replace("action send(", &format!("{action} action send("))
            .replace("set_group; NoAction;", "set_group; many; NoAction;");
        assert!(program.contains("many; NoAction"));
        program
    };
    // Those of one item that are equal are one.
    primary
        .configure(Action::Verify, Some(&with(2, 5000)))
        .expect("few references");
    let error = primary
        .configure(Action::Verify, Some(&with(4097, 1)))
        .unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
    assert!(
        error.message().contains("more than 4096 references"),
        "{error}"
    );
}
