// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Entries with action sets: one-shot programming of action selectors.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use adit_p4runtime::proto::v1::{
    self, action_profile_action::WatchKind, action_profile_action_set as modes,
    entity::Entity as E, set_forwarding_pipeline_config_request::Action, table_action::Type as Act,
    update::Type, write_request::Atomicity, ActionProfileAction, ActionProfileActionSet,
};
use adit_pipeline::p4::objects::Object;
use adit_pipeline::p4::{Engine, Input, Output};
use tonic::Code;

use crate::common::{codes, frame, insert, lpm, nic, update, Nic, Peer, PROGRAM};
use crate::entities::{group, member, ports, route};

/// Creates actions with these ports and weights; each watches its port.
fn set(nic: &Nic, actions: &[(u8, i32)]) -> ActionProfileActionSet {
    let actions = actions.iter().map(|(port, weight)| ActionProfileAction {
        action: Some(nic.action("forward", &[&[*port]])),
        weight: *weight,
        watch_kind: Some(WatchKind::WatchPort(vec![*port])),
    });
    ActionProfileActionSet {
        action_profile_actions: actions.collect(),
        ..Default::default()
    }
}

pub(crate) fn one_shot(nic: &Nic, actions: &[(u8, i32)]) -> v1::TableEntry {
    route(nic, Act::ActionProfileActionSet(set(nic, actions)))
}

/// Creates the route to one of 256 networks.
fn nth(entry: v1::TableEntry, n: u8) -> v1::TableEntry {
    v1::TableEntry {
        r#match: vec![lpm(1, u64::from(n) << 40, 8)],
        ..entry
    }
}

/// Reads all entities.
fn everything(nic: &Nic, primary: &mut Peer) -> Vec<E> {
    let mut found = primary.entries();
    found.sort_by_key(|entry| format!("{entry:?}"));
    found.extend(primary.read(member(nic, 0, 0)));
    found.extend(primary.read(group(nic, 0, &[])));
    found
}

#[test]
fn a_set_comes_with_its_entry_and_goes_with_it() {
    let nic = nic();
    let mut primary = Peer::primary(&nic, "", 1);
    let first = one_shot(&nic, &[(11, 1), (12, 3), (11, 1)]);
    primary.write(vec![insert(first.clone())]).expect("a set");
    assert_eq!(ports(&nic), [11, 12]);
    // The set as it was written, and nothing else.
    assert_eq!(
        everything(&nic, &mut primary),
        [E::TableEntry(first.clone())]
    );

    let objects = nic.engine();
    let mut objects = objects.objects().iter();
    let profile = objects.find_map(|object| match object {
        Object::Profile(profile, _) => Some(profile),
        _ => None,
    });
    let profile = profile.expect("there is one");
    profile.set_port(12, false);
    assert_eq!(ports(&nic), [11]);
    profile.set_port(12, true);
    assert_eq!(ports(&nic), [11, 12]);

    let mut second = set(&nic, &[(13, 2), (14, 1)]);
    second.action_profile_actions[1].watch_kind = None;
    second.action_selection_mode = modes::ActionSelectionMode::Hash as i32;
    second.size_semantics = modes::SizeSemantics::SumOfWeights as i32;
    let second = E::TableEntry(route(&nic, Act::ActionProfileActionSet(second)));
    let modify = update(Type::Modify, second.clone());
    primary.write(vec![modify]).expect("another set");
    assert_eq!(ports(&nic), [13, 14]);
    assert_eq!(
        everything(&nic, &mut primary),
        std::slice::from_ref(&second)
    );

    primary
        .write(vec![update(Type::Delete, second)])
        .expect("it is there");
    assert_eq!(ports(&nic), []);
    // No set is left that would exclude members.
    primary
        .write(vec![update(Type::Insert, member(&nic, 1, 1))])
        .expect("no sets");
}

#[test]
fn what_is_wrong_with_a_set_is_said_and_changes_nothing() {
    let nic = nic();
    let mut primary = Peer::primary(&nic, "", 1);
    let good = one_shot(&nic, &[(11, 1), (12, 1)]);
    primary.write(vec![insert(good.clone())]).expect("a set");
    let before = everything(&nic, &mut primary);
    let odd = |change: &dyn Fn(&mut ActionProfileActionSet)| {
        let mut odd = set(&nic, &[(1, 1)]);
        change(&mut odd);
        insert(nth(route(&nic, Act::ActionProfileActionSet(odd)), 9))
    };
    let with = |actions: &[(u8, i32)]| insert(nth(one_shot(&nic, actions), 9));
    let action = |kind| insert(nth(route(&nic, kind), 9));
    let mut elsewhere = nic.station(9, "drop", &[]);
    elsewhere.action.clone_from(&good.action);
    let mut idle = nth(good.clone(), 9);
    idle.idle_timeout_ns = 5;
    let mut default = good.clone();
    default.is_default_action = true;
    default.r#match.clear();
    use modes::{ActionSelectionMode as Mode, SizeSemantics as Size};
    use Code::{
        AlreadyExists, InvalidArgument, NotFound, OutOfRange, ResourceExhausted, Unimplemented,
    };
    let wrong = vec![
        (
            with(&[(1, 1), (2, 0)]),
            InvalidArgument,
            "action 2 of the action set: weight is 0: it is above 0",
        ),
        (
            with(&[(1, -1)]),
            InvalidArgument,
            "action 1 of the action set: weight is -1: it is above 0",
        ),
        (with(&[(1, 257)]), InvalidArgument, "not in 1 to 256"),
        (
            with(&[(1, 1); 257]),
            InvalidArgument,
            "more than 256 actions",
        ),
        (
            with(&[(1, 1); 15]),
            ResourceExhausted,
            "has room for 16 actions",
        ),
        (
            odd(&|s| s.action_profile_actions[0].action = None),
            InvalidArgument,
            "it is missing",
        ),
        (
            odd(&|s| s.action_profile_actions[0].action = Some(nic.action("punt", &[&[1]]))),
            InvalidArgument,
            "action 1 of the action set: action `I.punt` (",
        ),
        (
            odd(&|s| s.action_profile_actions[0].action = Some(nic.action("forward", &[]))),
            InvalidArgument,
            "param `port` of action `I.forward` is missing",
        ),
        (
            odd(&|s| {
                s.action_profile_actions[0].watch_kind = Some(WatchKind::WatchPort(vec![1; 5]))
            }),
            OutOfRange,
            "`watch_port`: the value 0x0101010101 does not fit into 32 bits",
        ),
        (
            odd(&|s| s.group_action = Some(nic.action("drop", &[]))),
            Unimplemented,
            "group_action",
        ),
        (
            odd(&|s| s.action_selection_mode = Mode::Random as i32),
            Unimplemented,
            "RANDOM",
        ),
        (
            odd(&|s| s.action_selection_mode = 7),
            InvalidArgument,
            "action_selection_mode is 7: it takes",
        ),
        (
            odd(&|s| s.size_semantics = Size::SumOfMembers as i32),
            Unimplemented,
            "size_sem",
        ),
        (
            odd(&|s| s.size_semantics = -1),
            InvalidArgument,
            "size_semantics is -1: it takes",
        ),
        (insert(elsewhere), InvalidArgument, "has no action profile"),
        (insert(idle), InvalidArgument, "no idle timeouts"),
        (
            update(Type::Modify, E::TableEntry(default)),
            InvalidArgument,
            "member, group or set",
        ),
        (insert(good.clone()), AlreadyExists, "already"),
        (
            update(Type::Modify, E::TableEntry(nth(good.clone(), 9))),
            NotFound,
            "no such entry",
        ),
        (
            update(Type::Insert, member(&nic, 1, 1)),
            InvalidArgument,
            "has sets of actions",
        ),
        (
            update(Type::Insert, group(&nic, 1, &[])),
            InvalidArgument,
            "has sets of actions",
        ),
        (
            action(Act::ActionProfileMemberId(1)),
            InvalidArgument,
            "has sets of actions",
        ),
        (
            action(Act::ActionProfileGroupId(u32::MAX)),
            InvalidArgument,
            "has sets of actions",
        ),
        (
            update(Type::Modify, group(&nic, u32::MAX, &[])),
            NotFound,
            "no group",
        ),
        (
            update(Type::Delete, group(&nic, u32::MAX, &[])),
            NotFound,
            "no group",
        ),
    ];
    for (update, code, why) in wrong {
        let error = primary.write(vec![update]).unwrap_err();
        assert_eq!(codes(&error), [code as i32], "{error:?}");
        assert!(error.message().contains(why), "{why}: {error:?}");
        assert_eq!(everything(&nic, &mut primary), before, "{why}");
        assert_eq!(ports(&nic), [11, 12]);
    }

    // The reverse holds, too.
    let delete = update(Type::Delete, E::TableEntry(good.clone()));
    let members = update(Type::Insert, member(&nic, 1, 1));
    primary.write(vec![delete, members]).expect("members");
    let error = primary.write(vec![insert(good)]).unwrap_err();
    assert_eq!(codes(&error), [InvalidArgument as i32]);
    assert!(
        error.message().contains("has members or groups"),
        "{error:?}"
    );
}

#[test]
fn sets_that_do_not_come_to_be_leave_nothing() {
    let nic = nic();
    let mut primary = Peer::primary(&nic, "", 1);
    // The table has space for 64 entries, the profile for 16 actions.
    let full = (0..66).map(|n| insert(nth(one_shot(&nic, &[]), n)));
    let error = primary.write(full.collect()).unwrap_err();
    let exhausted = Code::ResourceExhausted as i32;
    assert_eq!(codes(&error)[64..], [exhausted, exhausted]);
    let empty = (0..64).map(|n| update(Type::Delete, E::TableEntry(nth(one_shot(&nic, &[]), n))));
    primary.write(empty.collect()).expect("they are there");
    let members = (1..17).map(|n| update(Type::Insert, member(&nic, n, 1)));
    primary.write(members.collect()).expect("room for 16");
}

#[test]
fn batches_with_sets_are_taken_back() {
    let nic = nic();
    let mut primary = Peer::primary(&nic, "", 1);
    let sets: Vec<_> = (0..4)
        .map(|n| insert(nth(one_shot(&nic, &[(n, 1), (n + 1, 2), (n + 2, 1)]), n)))
        .collect();
    primary.write(sets).expect("four sets");
    let before = everything(&nic, &mut primary);
    let modify =
        |n, actions: &[_]| update(Type::Modify, E::TableEntry(nth(one_shot(&nic, actions), n)));
    let batch = vec![
        modify(0, &[(9, 1)]),
        update(Type::Delete, E::TableEntry(nth(one_shot(&nic, &[]), 1))),
        modify(2, &[(7, 1), (8, 1), (9, 1), (10, 1), (11, 1)]),
        insert(nth(one_shot(&nic, &[(1, 1), (2, 1)]), 8)),
        update(Type::Insert, member(&nic, 1, 1)),
    ];
    let error = primary
        .write_as(batch, Atomicity::RollbackOnError)
        .unwrap_err();
    assert_eq!(codes(&error).last(), Some(&(Code::InvalidArgument as i32)));
    assert_eq!(everything(&nic, &mut primary), before);
}

#[test]
fn any_order_of_changes_leaves_what_it_should() {
    let nic = nic();
    let mut primary = Peer::primary(&nic, "", 1);
    let mut model: BTreeMap<u8, v1::TableEntry> = BTreeMap::new();
    let mut seed = 1u64;
    let mut below = |n: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) % n
    };
    for step in 0..600 {
        let at = below(6) as u8;
        let actions: Vec<_> = (0..below(7))
            .map(|_| (below(5) as u8, 1 + below(4) as i32))
            .collect();
        let entry = nth(one_shot(&nic, &actions), at);
        let kind = [Type::Insert, Type::Modify, Type::Delete][below(3) as usize];
        let length = |entry: &v1::TableEntry| match &entry.action.as_ref().unwrap().r#type {
            Some(Act::ActionProfileActionSet(set)) => set.action_profile_actions.len(),
            _ => 0,
        };
        let others = model
            .iter()
            .filter(|(n, _)| **n != at)
            .map(|(_, e)| length(e));
        let fits = kind == Type::Delete || others.sum::<usize>() + actions.len() <= 16;
        let possible = model.contains_key(&at) != (kind == Type::Insert) && fits;
        let done = primary.write(vec![update(kind, E::TableEntry(entry.clone()))]);
        assert_eq!(done.is_ok(), possible, "{step}: {done:?}");
        match (possible, kind) {
            (false, _) => {}
            (_, Type::Delete) => drop(model.remove(&at)),
            _ => drop(model.insert(at, entry)),
        }
        let mut expected: Vec<_> = model.values().cloned().map(E::TableEntry).collect();
        expected.sort_by_key(|entry| format!("{entry:?}"));
        assert_eq!(everything(&nic, &mut primary), expected, "{step}");
    }
    assert!(!model.is_empty());
}

#[test]
fn sets_keep_to_the_size_that_the_program_says() {
    let nic = nic();
    let mut primary = Peer::primary(&nic, "", 1);
    let configure = |primary: &mut Peer, annotations: &str| {
        let selector = format!("{annotations} action_selector(");
        let text = PROGRAM.replace("action_selector(", &selector);
        primary
            .configure(Action::VerifyAndCommit, Some(&text))
            .expect("a program");
    };
    let refusal = |primary: &mut Peer, entry: v1::TableEntry| {
        let error = primary.write(vec![insert(entry)]).unwrap_err();
        assert_eq!(codes(&error), [Code::InvalidArgument as i32]);
        error.message().to_owned()
    };
    configure(&mut primary, "@max_group_size(4)");
    let why = refusal(&mut primary, one_shot(&nic, &[(1, 3), (2, 2)]));
    assert!(
        why.contains("the sum of weights, is 5: max_group_size is 4"),
        "{why}"
    );
    primary
        .write(vec![insert(one_shot(&nic, &[(1, 3), (2, 1)]))])
        .expect("4 in all");

    let annotations = "@selector_size_semantics(\"sum_of_members\") @max_member_weight(5) \
                       @max_group_size(2)";
    configure(&mut primary, annotations);
    let why = refusal(&mut primary, one_shot(&nic, &[(1, 1), (2, 1), (3, 1)]));
    assert!(
        why.contains("the number of members, is 3: max_group_size is 2"),
        "{why}"
    );
    let why = refusal(&mut primary, one_shot(&nic, &[(1, 6), (2, 1)]));
    assert!(why.contains("weight is 6: max_member_weight is 5"), "{why}");
    primary
        .write(vec![insert(one_shot(&nic, &[(1, 5), (2, 5)]))])
        .expect("two of 5");
    // Another program takes them over.
    let before = primary.entries();
    primary
        .configure(Action::ReconcileAndCommit, Some(PROGRAM))
        .expect("a program");
    assert_eq!(primary.entries(), before);
    assert_eq!(ports(&nic), [1, 2]);
}

#[test]
fn packets_meet_a_set_before_or_after_its_change() {
    let nic = nic();
    let mut primary = Peer::primary(&nic, "", 1);
    let write = |primary: &mut Peer, kind, port| {
        let entry = E::TableEntry(one_shot(&nic, &[(port, 1), (port, 2)]));
        primary.write(vec![update(kind, entry)]).expect("a set");
    };
    write(&mut primary, Type::Insert, 21);
    let engine = nic.engine();
    let (started, ended) = (AtomicBool::new(false), AtomicBool::new(false));
    let met = std::thread::scope(|scope| {
        let packets = scope.spawn(|| {
            let mut worker = Engine::worker(&engine);
            let mut met = [0u64; 32];
            for src in 0u64.. {
                let frame = frame(0x0200_0000_0009, src % 1000);
                worker.process(0, &[Input::new(0, &frame)], &mut |_, output| match output {
                    Output::Sent(sent) => met[sent.port as usize] += 1,
                    other => panic!("{other:?}"),
                });
                started.store(true, Relaxed);
                if ended.load(Relaxed) {
                    break;
                }
            }
            met
        });
        while !started.load(Relaxed) {
            std::thread::yield_now();
        }
        for n in (0..2u8).cycle().take(2000) {
            write(&mut primary, Type::Modify, 21 + n);
        }
        ended.store(true, Relaxed);
        packets.join().expect("all packets left")
    });
    assert!(met[21] > 0 && met[22] > 0, "{met:?}");
    assert_eq!(met[21] + met[22], met.iter().sum());
}
