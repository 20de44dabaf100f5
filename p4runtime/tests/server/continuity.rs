// SPDX-License-Identifier: Apache-2.0 OR MIT
//! State that packets and clients of one process or program have come to rely on, and find in the next one: the
//! members of their flows, the levels of meters, the order of entries, the places of primaries.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use adit_p4runtime::proto::v1::{
    self, entity::Entity as E, set_forwarding_pipeline_config_request::Action,
    table_action::Type as Act, update::Type,
};
use tonic::Code;

use crate::common::{claim, direct, frame, insert, nic, update, Nic, Peer, PROGRAM};
use crate::entities::{group, member, route, SLOW};
use crate::one_shot::one_shot;

/// The port of each of many flows.
fn flows(nic: &Nic) -> Vec<u32> {
    let sent = |src| nic.process(0, &frame(0x0200_0000_0009, src));
    let ports = (0..1000).flat_map(sent);
    ports.map(|(port, _)| port).collect()
}

/// A match of one address.
fn ternary(field_id: u32, value: u64) -> v1::FieldMatch {
    let ternary = v1::field_match::Ternary {
        value: vec![value as u8],
        mask: vec![0xFF; 6],
    };
    v1::FieldMatch {
        field_id,
        field_match_type: Some(v1::field_match::FieldMatchType::Ternary(ternary)),
    }
}

/// A device that takes over the state of another one: at once, or what there is now in advance, and the rest
/// after a client has gone on.
fn successor(old: &Nic, meanwhile: Option<&mut dyn FnMut()>) -> Nic {
    let next = nic();
    next.path.clock.store(old.path.clock.load(Relaxed), Relaxed);
    let has_copy = meanwhile.is_some();
    if let Some(meanwhile) = meanwhile {
        let copy = old.server.copy_state(Duration::from_secs(9));
        let copy = copy.expect("a state").expect("nobody writes");
        next.server.load_copy(&copy).expect("it fits");
        meanwhile();
    }
    let state = old.server.save_state(has_copy).expect("a state");
    next.server
        .restore_state(&state, has_copy)
        .expect("it fits");
    next
}

/// The states of a group or set, each with a change that moves some flows.
const STEPS: [&[(u8, i32)]; 4] = [
    &[(11, 1), (12, 1), (13, 1)],
    &[(11, 1), (12, 1), (13, 1), (14, 1), (15, 2)],
    &[(12, 1), (13, 3), (15, 2)],
    &[(11, 2), (13, 3), (14, 2), (15, 2)],
];

/// Has a client write a group or set with members of these ports and weights.
type Write<'a> = &'a dyn Fn(&Nic, &mut Peer, Type, &[(u8, i32)]);

/// Checks that flows stay with their members in a successor and in another program.
fn stay(write: Write<'_>) {
    let [first, changes @ ..] = STEPS;
    let [.., last] = STEPS;
    let fresh = nic();
    write(
        &fresh,
        &mut Peer::primary(&fresh, "", 1),
        Type::Insert,
        last,
    );

    let old = nic();
    let mut primary = Peer::primary(&old, "", 1);
    write(&old, &mut primary, Type::Insert, first);
    let unchanged = successor(&old, None);
    assert_eq!(flows(&unchanged), flows(&old));
    let [second, third, _] = changes;
    write(&old, &mut primary, Type::Modify, second);
    assert_eq!(flows(&successor(&old, None)), flows(&old));
    let mut meanwhile = || {
        for change in [third, last] {
            write(&old, &mut primary, Type::Modify, change);
        }
    };
    let next = successor(&old, Some(&mut meanwhile));
    assert_eq!(flows(&next), flows(&old));
    assert_ne!(flows(&fresh), flows(&old), "the changes matter");

    // The flows go on from there.
    let mut again = Peer::primary(&next, "", 1);
    for (nic, primary) in [(&old, &mut primary), (&next, &mut again)] {
        write(nic, primary, Type::Modify, second);
    }
    assert_eq!(flows(&next), flows(&old));

    let before = flows(&old);
    let committed = primary.configure(Action::ReconcileAndCommit, Some(PROGRAM));
    committed.expect("the same program");
    assert_eq!(flows(&old), before);
}

#[test]
fn flows_stay_with_the_members_of_a_group() {
    stay(&|nic, primary, kind, members| {
        let ids: Vec<_> = members
            .iter()
            .map(|(port, weight)| (u32::from(*port), *weight))
            .collect();
        let mut updates = vec![update(kind, group(nic, 9, &ids))];
        if kind == Type::Insert {
            let all = (11..16).map(|port| update(kind, member(nic, port.into(), port)));
            updates.splice(0..0, all);
            updates.push(insert(route(nic, Act::ActionProfileGroupId(9))));
        }
        primary.write(updates).expect("a group");
    });
}

#[test]
fn flows_stay_with_the_actions_of_a_set() {
    stay(&|nic, primary, kind, actions| {
        let entry = E::TableEntry(one_shot(nic, actions));
        primary.write(vec![update(kind, entry)]).expect("a set");
    });
}

#[test]
fn of_entries_that_match_the_same_one_wins() {
    let old = nic();
    let mut primary = Peer::primary(&old, "", 1);
    let rule = |src: Option<u64>, port: u8| v1::TableEntry {
        table_id: old.table("rules"),
        r#match: src.into_iter().map(|src| ternary(1, src)).collect(),
        priority: 1,
        action: Some(direct(old.action("limit", &[&[port]]))),
        ..Default::default()
    };
    let other = rule(Some(9), 9);
    let updates = vec![
        insert(other.clone()),
        insert(rule(None, 6)),
        update(Type::Delete, E::TableEntry(other)),
        // It takes the place of the one that was deleted, and is younger than the second.
        insert(rule(Some(1), 7)),
    ];
    primary.write(updates).expect("rules");
    let ports = |nic: &Nic| -> Vec<u32> {
        let sent = nic.process(0, &frame(1, 1)).into_iter();
        sent.map(|(port, _)| port).collect()
    };
    for nic in [
        &old,
        &successor(&old, None),
        &successor(&old, Some(&mut || ())),
    ] {
        assert_eq!(ports(nic), [6]);
    }
}

#[test]
fn meters_do_not_begin_with_another_burst() {
    let old = nic();
    let mut primary = Peer::primary(&old, "", 1);
    let entry = v1::TableEntry {
        table_id: old.table("rules"),
        priority: 1,
        action: Some(direct(old.action("limit", &[&[6]]))),
        meter_config: Some(SLOW),
        ..Default::default()
    };
    primary.write(vec![insert(entry)]).expect("a meter");
    let through = |nic: &Nic, at: u64| {
        nic.path.clock.store(at, Relaxed);
        let sent = (0..10).flat_map(|_| nic.process(0, &frame(1, 1)));
        sent.count()
    };
    const SECOND: u64 = 1_000_000_000;
    assert_eq!(through(&old, 5 * SECOND), 2);
    for next in [successor(&old, None), successor(&old, Some(&mut || ()))] {
        assert_eq!(through(&next, 5 * SECOND), 0);
        assert_eq!(through(&next, 6 * SECOND), 1);
    }
}

#[test]
fn a_former_primary_is_none_in_the_next_process() {
    let old = nic();
    let _both = [10, 11].map(|election| Peer::primary(&old, "", election));
    let next = successor(&old, None);
    // It connects sooner, with the id that it had.
    let mut former = Peer::connect(&next);
    former.election = 10;
    former.open().expect("a stream");
    former.say(claim("", Some(10)));
    assert_eq!(former.arbitrated(), (Code::NotFound as i32, Some(11)));
    assert!(former.write(vec![]).is_err());
    let mut primary = Peer::primary(&next, "", 11);
    primary.write(vec![]).expect("it is the primary");
}
