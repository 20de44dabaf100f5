// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Programs that are set, saved, committed and rejected.

use std::sync::mpsc;
use std::time::Duration;

use adit_p4runtime::proto::v1::{
    self, entity::Entity as E, set_forwarding_pipeline_config_request::Action, update::Type,
};
use tonic::Code;

use crate::common::{insert, nic, nic_of, nic_with, update, Peer, PROGRAM};

#[test]
fn a_saved_program_waits_to_be_committed() {
    let nic = nic_with(None, false);
    let mut primary = Peer::primary(&nic, "", 1);
    let error = primary.try_read(E::TableEntry(v1::TableEntry::default()));
    let error = error.unwrap_err();
    assert_eq!(error.code(), Code::FailedPrecondition);
    assert!(error.message().starts_with("No forwarding pipeline config"));
    let error = primary.configure(Action::Commit, None).unwrap_err();
    assert_eq!(error.code(), Code::NotFound);
    primary
        .configure(Action::Verify, Some(PROGRAM))
        .expect("it is right");
    assert!(nic.path.engine.lock().is_none());
    let error = primary.configure(Action::Commit, None).unwrap_err();
    assert_eq!(error.code(), Code::NotFound);
    assert!(error.message().contains("no config is saved"), "{error}");
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
    // A committed program is no longer saved.
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
    // Only the primary may set a program.
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

    // A program without that table cannot take these entries.
    let other = PROGRAM
        .replace("table stations", "table others")
        .replace("stations.", "others.");
    let error = primary
        .configure(Action::ReconcileAndCommit, Some(&other))
        .unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
    let message = "RECONCILE_AND_COMMIT: an entry of table `I.stations` cannot be kept by the new \
                   program: table ";
    assert!(error.message().starts_with(message), "{error}");
    assert_eq!(everything(&mut primary), before);
    primary
        .configure(Action::VerifyAndCommit, Some(&other))
        .expect("without the entries");
    assert_eq!(primary.entries(), []);
}

/// Returns the test's program with another name for a table.
fn renamed() -> String {
    PROGRAM
        .replace("table stations", "table others")
        .replace("stations.", "others.")
}

#[test]
fn reads_and_writes_refer_to_the_saved_program_until_it_is_committed() {
    let nic = nic();
    let mut primary = Peer::primary(&nic, "", 1);
    let running = nic.engine();
    let old = nic.station(1, "forward", &[&[5]]);
    primary.write(vec![insert(old.clone())]).expect("an entry");
    let probe = crate::common::frame(1, 2);

    let saved = nic_of(&renamed());
    let new = v1::TableEntry {
        table_id: saved.table("others"),
        ..old.clone()
    };
    primary
        .configure(Action::VerifyAndSave, Some(&renamed()))
        .expect("it is right");
    assert_eq!(primary.entries(), []);
    let error = primary.write(vec![insert(old.clone())]).unwrap_err();
    assert!(
        error.message().contains("does not exist; tables: others ("),
        "{error}"
    );
    primary.write(vec![insert(new.clone())]).expect("its own");
    assert_eq!(primary.entries(), [E::TableEntry(new.clone())]);
    let request = v1::GetForwardingPipelineConfigRequest {
        device_id: crate::common::DEVICE,
        response_type: 2,
    };
    let config = primary.grpc.get_forwarding_pipeline_config(request);
    let config = primary.runtime.block_on(config).expect("a config");
    let info = config.into_inner().config.and_then(|config| config.p4info);
    assert_eq!(info, Some(saved.info.clone()));
    // Packets are processed by the old program.
    assert!(std::sync::Arc::ptr_eq(&running, &nic.engine()));
    assert_eq!(nic.process(0, &probe), [(5, probe.clone())]);

    // A program that is only verified, or is invalid, does not replace the saved one.
    primary
        .configure(Action::Verify, Some(PROGRAM))
        .expect("it is right");
    primary
        .configure(Action::VerifyAndSave, Some("wrong"))
        .expect_err("it is wrong");
    assert_eq!(primary.entries(), [E::TableEntry(new.clone())]);
    primary
        .configure(Action::Commit, None)
        .expect("it is saved");
    assert!(!std::sync::Arc::ptr_eq(&running, &nic.engine()));
    assert_eq!(primary.entries(), [E::TableEntry(new)]);
    assert_eq!(nic.process(0, &probe), [(5, probe.clone())]);
    let error = primary.configure(Action::Commit, None).unwrap_err();
    assert_eq!(error.code(), Code::NotFound);
}

#[test]
fn reads_do_not_wait_for_the_commit_of_the_device() {
    let nic = nic();
    let mut primary = Peer::primary(&nic, "", 1);
    primary
        .configure(Action::VerifyAndSave, Some(PROGRAM))
        .expect("a program");
    let mut reader = Peer::connect(&nic);
    // Were they to wait, they would for this time.
    let held = Duration::from_secs(60);
    let (is_locked, locked) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        let commit = &nic.path.commit;
        let lock = scope.spawn(move || {
            let _locked = commit.lock();
            is_locked.send(()).expect("it waits");
            released.recv_timeout(held).is_ok()
        });
        locked.recv().expect("it is locked");
        let committed = scope.spawn(|| primary.configure(Action::Commit, None));
        std::thread::sleep(Duration::from_millis(200));
        reader.entries();
        assert!(!committed.is_finished());
        release.send(()).expect("the lock is still held");
        assert!(lock.join().expect("no panic"), "the reader has waited");
        committed
            .join()
            .expect("no panic")
            .expect("it is committed");
    });
}

#[test]
fn the_last_program_that_is_saved_or_realized_counts() {
    let nic = nic();
    let mut primary = Peer::primary(&nic, "", 1);
    let old = nic.station(1, "forward", &[&[5]]);
    primary.write(vec![insert(old.clone())]).expect("an entry");
    // The second saved program replaces the first, with its entries.
    primary
        .configure(Action::VerifyAndSave, Some(PROGRAM))
        .expect("it is right");
    primary.write(vec![insert(old.clone())]).expect("an entry");
    primary
        .configure(Action::VerifyAndSave, Some(PROGRAM))
        .expect("it is right");
    assert_eq!(primary.entries(), []);
    // A program that is realized at once leaves none to commit, and keeps the active one's entries.
    primary
        .configure(Action::ReconcileAndCommit, Some(PROGRAM))
        .expect("the same program");
    assert_eq!(primary.entries(), [E::TableEntry(old.clone())]);
    let error = primary.configure(Action::Commit, None).unwrap_err();
    assert_eq!(error.code(), Code::NotFound);
    primary
        .configure(Action::VerifyAndSave, Some(&renamed()))
        .expect("it is right");
    primary
        .configure(Action::VerifyAndCommit, Some(PROGRAM))
        .expect("it is right");
    assert_eq!(primary.entries(), []);
    primary.write(vec![insert(old)]).expect("a table of it");
    assert!(primary.configure(Action::Commit, None).is_err());
    // All actions that take a config require one.
    for action in [
        Action::Verify,
        Action::VerifyAndSave,
        Action::VerifyAndCommit,
        Action::ReconcileAndCommit,
    ] {
        let error = primary.configure(action, None).unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument);
        assert!(error.message().contains(action.as_str_name()), "{error}");
    }
}

/// Returns controls each of which instantiates the previous one twice.
fn bomb() -> String {
    let mut text = "control c0(inout bit<9> x) { apply { x = x + 1; } }\n".to_owned();
    for n in 1..=30 {
        let m = n - 1;
        text += &format!(
            "control c{n}(inout bit<9> x) {{ c{m}() a; c{m}() b; apply {{ a.apply(x); b.apply(x); \
             }} }}\n"
        );
    }
    let (head, rest) = PROGRAM.split_once("control V(").expect("a control");
    let rest = rest.replace(
        "    apply {\n",
        "    c30() last;\n    apply { last.apply(s.egress_spec);\n",
    );
    format!("{head}{text}control V({rest}")
}

#[test]
fn a_program_that_would_be_too_large_is_refused_at_once() {
    let nic = nic();
    let mut primary = Peer::primary(&nic, "", 1);
    let begin = std::time::Instant::now();
    let error = primary
        .configure(Action::VerifyAndCommit, Some(&bomb()))
        .unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument, "{error:?}");
    assert!(error.message().contains("too much code"), "{error}");
    assert!(begin.elapsed() < Duration::from_secs(60));
}
