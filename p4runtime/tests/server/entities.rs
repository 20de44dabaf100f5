// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Action profiles with groups, and meters, in operation.

use std::sync::atomic::Ordering::Relaxed;

use adit_p4runtime::proto::v1::{
    self, action_profile_group::Member, entity::Entity as E, update::Type,
};
use tonic::Code;

use crate::common::{codes, frame, insert, lpm, nic, update, Nic, Peer};

pub(crate) fn profile(nic: &Nic) -> u32 {
    let preamble = nic.info.action_profiles[0].preamble.as_ref();
    preamble.expect("an id").id
}

pub(crate) fn member(nic: &Nic, id: u32, port: u8) -> E {
    E::ActionProfileMember(v1::ActionProfileMember {
        action_profile_id: profile(nic),
        member_id: id,
        action: Some(nic.action("forward", &[&[port]])),
    })
}

pub(crate) fn group(nic: &Nic, id: u32, members: &[(u32, i32)]) -> E {
    let members = members.iter().map(|(member_id, weight)| Member {
        member_id: *member_id,
        weight: *weight,
        watch_kind: None,
    });
    E::ActionProfileGroup(v1::ActionProfileGroup {
        action_profile_id: profile(nic),
        group_id: id,
        members: members.collect(),
        max_size: 0,
    })
}

pub(crate) fn route(nic: &Nic, action: v1::table_action::Type) -> v1::TableEntry {
    v1::TableEntry {
        table_id: nic.table("routes"),
        r#match: vec![lpm(1, 0x0200_0000_0000, 8)],
        action: Some(v1::TableAction {
            r#type: Some(action),
        }),
        ..Default::default()
    }
}

pub(crate) fn ports(nic: &Nic) -> Vec<u32> {
    let flows = 0..200;
    let mut ports: Vec<u32> = flows
        .flat_map(|src| nic.process(0, &frame(0x0200_0000_0009, src)))
        .map(|(port, _)| port)
        .collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

#[test]
fn flows_are_spread_over_a_groups_members() {
    let nic = nic();
    let mut primary = Peer::primary(&nic, "", 1);
    let by_group = route(&nic, v1::table_action::Type::ActionProfileGroupId(9));
    let all = vec![
        update(Type::Insert, member(&nic, 1, 11)),
        update(Type::Insert, member(&nic, 2, 12)),
        update(Type::Insert, group(&nic, 9, &[(1, 1), (2, 3)])),
        insert(by_group.clone()),
    ];
    primary.write(all).expect("a group at work");
    assert_eq!(ports(&nic), [11, 12]);
    let found = primary.read(group(&nic, 9, &[]));
    assert_eq!(found, [group(&nic, 9, &[(1, 1), (2, 3)])]);
    let changed = update(Type::Modify, group(&nic, 9, &[(2, 1)]));
    primary.write(vec![changed]).expect("another group");
    assert_eq!(ports(&nic), [12]);
    let changed = update(Type::Modify, member(&nic, 2, 13));
    primary.write(vec![changed]).expect("another member");
    assert_eq!(ports(&nic), [13]);

    let not_found = Code::NotFound as i32;
    let in_use = Code::FailedPrecondition as i32;
    let exists = Code::AlreadyExists as i32;
    let invalid = Code::InvalidArgument as i32;
    let direct = v1::table_action::Type::Action(nic.action("drop", &[]));
    let before = (primary.entries(), primary.read(group(&nic, 0, &[])));
    let wrong = vec![
        (update(Type::Delete, member(&nic, 2, 0)), in_use),
        (update(Type::Delete, group(&nic, 9, &[])), in_use),
        (update(Type::Insert, group(&nic, 9, &[])), exists),
        (update(Type::Insert, member(&nic, 1, 1)), exists),
        (update(Type::Modify, member(&nic, 7, 1)), not_found),
        (update(Type::Modify, group(&nic, 9, &[(7, 1)])), not_found),
        (update(Type::Modify, group(&nic, 9, &[(1, 0)])), invalid),
        (update(Type::Modify, group(&nic, 9, &[(1, -1)])), invalid),
        (update(Type::Insert, member(&nic, 0, 1)), invalid),
        (update(Type::Insert, group(&nic, 0, &[(1, 1)])), invalid),
        (insert(route(&nic, direct)), invalid),
        (
            update(
                Type::Modify,
                E::TableEntry(route(
                    &nic,
                    v1::table_action::Type::ActionProfileMemberId(5),
                )),
            ),
            not_found,
        ),
    ];
    let (updates, expected): (Vec<_>, Vec<_>) = wrong.into_iter().unzip();
    let error = primary.write(updates).unwrap_err();
    assert_eq!(codes(&error), expected, "{error:?}");
    assert_eq!(
        (primary.entries(), primary.read(group(&nic, 0, &[]))),
        before
    );

    let end = vec![
        update(Type::Delete, E::TableEntry(by_group)),
        update(Type::Delete, group(&nic, 9, &[])),
        update(Type::Delete, member(&nic, 1, 0)),
        update(Type::Delete, member(&nic, 2, 0)),
    ];
    primary.write(end).expect("nothing is used any more");
    assert_eq!(ports(&nic), []);
}

pub(crate) const SLOW: v1::MeterConfig = v1::MeterConfig {
    cir: 1,
    cburst: 2,
    pir: 1,
    pburst: 2,
    eburst: 0,
};

#[test]
fn meters_are_set_and_mark() {
    let nic = nic();
    let mut primary = Peer::primary(&nic, "", 1);
    let id = nic.info.meters[0].preamble.as_ref().expect("an id").id;
    let meter = |index, config| {
        E::MeterEntry(v1::MeterEntry {
            meter_id: id,
            index: Some(v1::Index { index }),
            config,
            counter_data: None,
        })
    };
    primary
        .write(vec![update(Type::Modify, meter(2, Some(SLOW)))])
        .expect("rates");
    let all = primary.read(E::MeterEntry(v1::MeterEntry::default()));
    assert_eq!(all.len(), 4);
    assert_eq!(all[2], meter(2, Some(SLOW)));
    assert_eq!(all[1], meter(1, None));
    for (wrong, code, why) in [
        (meter(4, Some(SLOW)), Code::OutOfRange, "index 4 is beyond"),
        (
            meter(-1, Some(SLOW)),
            Code::InvalidArgument,
            "the index is -1, below 0",
        ),
        (
            meter(1, Some(v1::MeterConfig { cir: -1, ..SLOW })),
            Code::InvalidArgument,
            "cir is -1, below 0",
        ),
    ] {
        let error = primary
            .write(vec![update(Type::Modify, wrong)])
            .unwrap_err();
        assert_eq!(codes(&error), [code as i32]);
        assert!(error.message().contains(why), "{error}");
    }

    // An entry's direct meter passes two packets a second.
    let entry = v1::TableEntry {
        table_id: nic.table("rules"),
        priority: 1,
        action: Some(crate::common::direct(nic.action("limit", &[&[6]]))),
        meter_config: Some(SLOW),
        ..Default::default()
    };
    primary
        .write(vec![insert(entry.clone())])
        .expect("an entry with a meter");
    nic.path.clock.store(5_000_000_000, Relaxed);
    let through = |count| {
        (0..count)
            .map(|_| nic.process(0, &frame(1, 1)).len())
            .sum::<usize>()
    };
    assert_eq!(through(10), 2);
    let direct = |config| {
        E::DirectMeterEntry(v1::DirectMeterEntry {
            table_entry: Some(v1::TableEntry {
                table_id: entry.table_id,
                priority: 1,
                ..Default::default()
            }),
            config,
            counter_data: None,
        })
    };
    assert_eq!(primary.read(direct(None)), [direct(Some(SLOW))]);
    primary
        .write(vec![update(Type::Modify, direct(None))])
        .expect("no rates");
    assert_eq!(through(10), 10);
}
