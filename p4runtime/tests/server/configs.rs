// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Programs that are set, saved, committed and refused.

use adit_p4runtime::proto::v1::{
    self, entity::Entity as E, set_forwarding_pipeline_config_request::Action, update::Type,
};
use tonic::Code;

use crate::common::{insert, nic, nic_with, update, Peer, PROGRAM};

#[test]
fn a_saved_program_waits_to_be_committed() {
    let nic = nic_with(None, false);
    let mut primary = Peer::primary(&nic, "", 1);
    let error = primary.try_read(E::TableEntry(v1::TableEntry::default()));
    let error = error.unwrap_err();
    assert_eq!(error.code(), Code::FailedPrecondition);
    assert!(error.message().starts_with("No forwarding pipeline config"));
    let error = primary.configure(Action::Commit, None).unwrap_err();
    assert_eq!(error.code(), Code::FailedPrecondition);
    primary
        .configure(Action::Verify, Some(PROGRAM))
        .expect("it is right");
    assert!(nic.path.engine.lock().is_none());
    let error = primary.configure(Action::Commit, None).unwrap_err();
    assert_eq!(error.message(), "no config has been saved");
    primary
        .configure(Action::VerifyAndSave, Some(PROGRAM))
        .expect("it is right");
    assert!(nic.path.engine.lock().is_none());
    let error = primary
        .configure(Action::Commit, Some(PROGRAM))
        .unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
    primary
        .configure(Action::Commit, None)
        .expect("it was saved");
    primary
        .write(vec![insert(nic.station(1, "drop", &[]))])
        .expect("it is at work");
    assert_eq!(nic.engine().table("I.stations").expect("a table").len(), 1);
    // What was committed is saved no more.
    assert!(primary.configure(Action::Commit, None).is_err());
    assert_eq!(primary.entries().len(), 1);
}

#[test]
fn a_program_with_mistakes_changes_nothing() {
    let nic = nic();
    let mut primary = Peer::primary(&nic, "", 1);
    primary
        .write(vec![insert(nic.station(1, "drop", &[]))])
        .expect("an entry");
    for (text, why) in [
        ("control C() { apply { x = 1; } }", "p4_device_config:1"),
        ("", "p4_device_config is empty"),
        ("\u{0}\u{1}", "error"),
        ("ADIT-P4\u{9}", "version 9"),
        ("header h { bit<8> x; }", "no `main`"),
    ] {
        for action in [
            Action::Verify,
            Action::VerifyAndCommit,
            Action::ReconcileAndCommit,
        ] {
            let error = primary.configure(action, Some(text)).unwrap_err();
            assert_eq!(error.code(), Code::InvalidArgument, "{text}: {error:?}");
            assert!(error.message().contains(why), "{text}: {error:?}");
        }
    }
    let error = primary.configure(Action::Unspecified, Some(PROGRAM));
    assert_eq!(error.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(primary.entries().len(), 1);
    // Only the primary may.
    primary.election = 0;
    let error = primary.configure(Action::VerifyAndCommit, Some(PROGRAM));
    assert_eq!(error.unwrap_err().code(), Code::PermissionDenied);
}

#[test]
fn a_new_program_takes_over_what_the_old_one_holds() {
    let nic = nic();
    let mut primary = Peer::primary(&nic, "", 1);
    let profile = nic.info.action_profiles[0]
        .preamble
        .as_ref()
        .expect("an id")
        .id;
    let member = v1::ActionProfileMember {
        action_profile_id: profile,
        member_id: 4,
        action: Some(nic.action("forward", &[&[2]])),
    };
    let group = v1::ActionProfileGroup {
        action_profile_id: profile,
        group_id: 5,
        members: vec![v1::action_profile_group::Member {
            member_id: 4,
            weight: 1,
            watch_kind: None,
        }],
        max_size: 0,
    };
    let route = v1::TableEntry {
        table_id: nic.table("routes"),
        r#match: vec![crate::common::lpm(1, 0x0200_0000_0000, 8)],
        action: Some(v1::TableAction {
            r#type: Some(v1::table_action::Type::ActionProfileGroupId(5)),
        }),
        ..Default::default()
    };
    let default = v1::TableEntry {
        is_default_action: true,
        r#match: vec![],
        ..nic.station(0, "forward", &[&[3]])
    };
    let register = v1::RegisterEntry {
        register_id: nic.info.registers[0].preamble.as_ref().expect("an id").id,
        index: Some(v1::Index { index: 2 }),
        data: Some(v1::P4Data {
            data: Some(v1::p4_data::Data::Bitstring(vec![0xAB])),
        }),
    };
    let updates = vec![
        update(Type::Insert, E::ActionProfileMember(member)),
        update(Type::Insert, E::ActionProfileGroup(group)),
        insert(route),
        insert(nic.station(1, "drop", &[])),
        update(Type::Modify, E::TableEntry(default)),
        update(Type::Modify, E::RegisterEntry(register)),
    ];
    primary.write(updates).expect("entities of each kind");
    let engine = nic.engine();
    let probe = crate::common::frame(0x0200_0000_0001, 1);
    let everything = |primary: &mut Peer| {
        let mut found = primary.entries();
        found.extend(primary.read(E::TableEntry(v1::TableEntry {
            table_id: nic.table("stations"),
            is_default_action: true,
            ..Default::default()
        })));
        found.extend(primary.read(E::ActionProfileGroup(v1::ActionProfileGroup::default())));
        found.extend(primary.read(E::RegisterEntry(v1::RegisterEntry::default())));
        found
    };
    let before = everything(&mut primary);
    assert_eq!(nic.process(0, &probe)[0].0, 2);
    primary
        .configure(Action::ReconcileAndCommit, Some(PROGRAM))
        .expect("the same program");
    assert!(!std::sync::Arc::ptr_eq(&engine, &nic.engine()));
    assert_eq!(everything(&mut primary), before);
    assert_eq!(nic.process(0, &probe)[0].0, 2);

    // A program that has no such table is not for these entries.
    let other = PROGRAM
        .replace("table stations", "table others")
        .replace("stations.", "others.");
    let error = primary
        .configure(Action::ReconcileAndCommit, Some(&other))
        .unwrap_err();
    assert_eq!(error.code(), Code::FailedPrecondition);
    assert!(error
        .message()
        .contains("what is there does not fit: there is no table"));
    assert_eq!(everything(&mut primary), before);
    primary
        .configure(Action::VerifyAndCommit, Some(&other))
        .expect("without the entries");
    assert_eq!(primary.entries(), []);
}
