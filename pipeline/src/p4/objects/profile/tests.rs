// SPDX-License-Identifier: Apache-2.0 OR MIT

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;

use adit_p4_frontend::ir::ActionParameter;
use proptest::prelude::*;

use super::buckets::BUCKETS;
use super::*;

/// A profile, and a worker that reads it.
struct Tested {
    profile: Profile,
    epochs: Arc<Epochs>,
    worker: usize,
}

impl std::ops::Deref for Tested {
    type Target = Profile;

    fn deref(&self) -> &Profile {
        &self.profile
    }
}

impl Tested {
    fn new(size: u64, selects: bool, actions: &[TableAction]) -> Tested {
        let epochs = Arc::new(Epochs::new());
        Tested {
            profile: Profile::new("I.p", size, selects, actions, &epochs),
            worker: epochs.join().unwrap(),
            epochs,
        }
    }

    /// The argument of the action selected for a flow of a group.
    fn flow(&self, group: u32, hash: u64) -> Option<u64> {
        let pin = self.epochs.pin(self.worker);
        let chosen = self.selected(group, hash, &pin)?;
        Some(chosen.arguments[0])
    }
}

fn profile(selects: bool, size: u64) -> Tested {
    let action = TableAction {
        name: "set".to_owned(),
        parameters: vec![ActionParameter {
            name: "port".to_owned(),
            slot: 0,
            width: 9,
        }],
        function: 0,
        default_only: false,
        table_only: false,
    };
    Tested::new(size, selects, &[action])
}

fn set(port: u64) -> Chosen {
    Chosen {
        action: 0,
        arguments: vec![vec![port]],
    }
}

fn member(member: u32, weight: u32) -> GroupMember {
    GroupMember {
        member,
        weight,
        watch_port: Some(member + 100),
    }
}

/// The member of each of many flows: members' actions are their ids.
fn flows(profile: &Tested) -> Vec<Option<u64>> {
    let flow = |hash| profile.flow(1, hash);
    (0..BUCKETS as u64).map(flow).collect()
}

fn moved(before: &[Option<u64>], after: &[Option<u64>]) -> usize {
    before.iter().zip(after).filter(|(a, b)| a != b).count()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Members are added, removed, change weights and lose their ports. Flows of remaining members
    /// whose share has not fallen do not move; shares follow the weights.
    #[test]
    fn flows_of_unchanged_members_stay(
        steps in prop::collection::vec((0u32..24, 0u32..6, 0u8..4), 1..40)
    ) {
        let profile = profile(true, 0);
        for id in 0..24 {
            profile.insert_member(id, set(id.into())).unwrap();
        }
        profile.insert_group(1, &[]).unwrap();
        let (mut members, mut down): (Vec<GroupMember>, HashSet<u32>) = Default::default();
        let mut before = flows(&profile);
        prop_assert!(before.iter().all(Option::is_none));
        for (id, weight, kind) in steps {
            let alive = |members: &[GroupMember], down: &HashSet<u32>| -> HashMap<u64, u32> {
                members
                    .iter()
                    .filter(|m| !down.contains(&(m.member + 100)))
                    .map(|m| (m.member.into(), m.weight))
                    .collect()
            };
            let old = alive(&members, &down);
            if kind == 0 {
                let is_up = down.contains(&(id + 100));
                if is_up { down.remove(&(id + 100)); } else { down.insert(id + 100); }
                profile.set_port(id + 100, is_up);
            } else {
                members.retain(|m| m.member != id);
                if weight > 0 {
                    members.push(member(id, weight));
                }
                profile.modify_group(1, &members).unwrap();
            }
            let after = flows(&profile);
            let new = alive(&members, &down);
            let (was, is): (u32, u32) = (old.values().sum(), new.values().sum());
            for (a, b) in before.iter().zip(&after) {
                prop_assert_eq!(b.is_none(), is == 0);
                let (Some(a), Some(b)) = (a, b) else { continue };
                prop_assert!(new.contains_key(b), "{} has no share", b);
                let Some(weight) = new.get(a) else { continue };
                // Its share is not smaller than before: no flow moves away.
                if u64::from(*weight) * u64::from(was) >= u64::from(old[a]) * u64::from(is) {
                    prop_assert_eq!(a, b);
                }
            }
            for (id, weight) in &new {
                let has = after.iter().filter(|f| **f == Some(*id)).count() as f64;
                let due = f64::from(*weight) * BUCKETS as f64 / f64::from(is);
                prop_assert!((has - due).abs() < 3.0, "{} instead of {}", has, due);
            }
            before = after;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Of N members with weights one goes: the flows of all others stay. One comes: about its share
    /// of the flows moves, and only to it.
    #[test]
    fn only_the_changed_members_share_moves(
        weights in prop::collection::vec(1u32..=10, 2..64), pick in any::<usize>(), weight in 1u32..=10,
    ) {
        let profile = profile(true, 0);
        for id in 0..=weights.len() as u32 {
            profile.insert_member(id, set(id.into())).unwrap();
        }
        let all: Vec<_> = (0..).zip(&weights).map(|(id, weight)| member(id, *weight)).collect();
        profile.insert_group(1, &all).unwrap();
        let before = flows(&profile);
        let gone = pick % all.len();
        let mut fewer = all.clone();
        fewer.remove(gone);
        profile.modify_group(1, &fewer).unwrap();
        let after = flows(&profile);
        for (a, b) in before.iter().zip(&after) {
            prop_assert!(*a == Some(gone as u64) || a == b);
        }
        let new = all.len() as u32;
        fewer.insert(pick % (fewer.len() + 1), member(new, weight));
        profile.modify_group(1, &fewer).unwrap();
        let before = after;
        let after = flows(&profile);
        let mut moves = 0;
        for (a, b) in before.iter().zip(&after) {
            prop_assert!(a == b || *b == Some(new.into()));
            moves += usize::from(a != b);
        }
        let total: u32 = fewer.iter().map(|m| m.weight).sum();
        let due = weight as usize * BUCKETS / total as usize;
        prop_assert!(moves.abs_diff(due) <= 2, "{} moved instead of {}", moves, due);
    }
}

#[test]
fn as_few_flows_as_can_be_move() {
    let profile = profile(true, 0);
    for id in 0..9 {
        profile.insert_member(id, set(id.into())).unwrap();
    }
    let eight: Vec<_> = (0..8).map(|id| member(id, 1)).collect();
    profile.insert_group(1, &eight).unwrap();
    let before = flows(&profile);
    let mut nine = eight.clone();
    nine.insert(3, member(8, 1));
    profile.modify_group(1, &nine).unwrap();
    let moves = moved(&before, &flows(&profile));
    assert!(moves <= BUCKETS / 9 + 1, "{moves}");
    profile.modify_group(1, &eight[1..]).unwrap();
    profile.modify_group(1, &[]).unwrap();
    assert_eq!(profile.flow(1, 5), None);
}

#[test]
fn members_change_their_actions_where_they_are() {
    let profile = profile(true, 0);
    profile.insert_member(7, set(1)).unwrap();
    profile.insert_group(1, &[member(7, 3)]).unwrap();
    profile.modify_member(7, set(2)).unwrap();
    assert!(flows(&profile).iter().all(|f| *f == Some(2)));
    assert_eq!(profile.member(7), Some(set(2)));
    assert!(matches!(
        profile.delete_member(7),
        Err(ProfileError::Used { .. })
    ));
    profile.delete_group(1).unwrap();
    profile.delete_member(7).unwrap();
    assert_eq!((profile.members(), profile.groups()), (vec![], vec![]));
}

/// Every flow has an action while a group's members and their actions change.
#[test]
fn flows_have_an_action_while_members_change() {
    const CHANGES: u64 = if cfg!(miri) { 20 } else { 2_000 };
    let profile = profile(true, 0);
    for id in 0..4 {
        profile.insert_member(id, set(id.into())).unwrap();
    }
    profile.insert_group(1, &[member(0, 1)]).unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (profile, done) = (&profile, &done);
        scope.spawn(move || {
            for n in 1..=CHANGES {
                let (id, next) = ((n % 4) as u32, ((n + 1) % 4) as u32);
                profile.modify_member(id, set(n % 512)).unwrap();
                let members = [member(id, 1), member(next, 2)];
                profile.modify_group(1, &members).unwrap();
            }
            done.store(true, Relaxed);
        });
        let mut hash = 0;
        while !done.load(Relaxed) {
            let pin = profile.epochs.pin(profile.worker);
            hash += 1;
            let first = profile.selected(1, hash, &pin).expect("an action");
            let arguments = first.arguments.to_vec();
            for hash in hash..hash + 64 {
                let chosen = profile.selected(1, hash, &pin).expect("an action");
                assert!(chosen.arguments[0] < 512);
            }
            // A packet's result does not change while the pin is held.
            assert_eq!(first.arguments, arguments);
        }
    });
}

#[test]
fn what_is_wrong_changes_nothing() {
    let profile = profile(true, 1);
    profile.insert_member(1, set(1)).unwrap();
    let text = |error: ProfileError| error.to_string();
    assert!(text(profile.insert_member(1, set(2)).unwrap_err()).contains("is there already"));
    assert!(text(profile.insert_member(2, set(2)).unwrap_err()).contains("has room for 1"));
    assert!(text(profile.modify_member(1, set(512)).unwrap_err()).contains("9 bits for `port`"));
    let none = Chosen {
        action: 1,
        arguments: vec![],
    };
    assert!(matches!(
        profile.modify_member(1, none),
        Err(ProfileError::Action { .. })
    ));
    let twice = [member(1, 1), member(1, 1)];
    assert!(text(profile.insert_group(1, &twice).unwrap_err()).contains("is there twice"));
    assert!(text(profile.insert_group(1, &[member(1, 0)]).unwrap_err()).contains("weight 0"));
    assert!(text(profile.insert_group(1, &[member(5, 1)]).unwrap_err()).contains("no member 5"));
    assert!(profile.groups().is_empty());
    let plain = Tested::new(0, false, &[]);
    let error = plain.insert_group(1, &[]).unwrap_err();
    assert!(matches!(error, ProfileError::NoGroups(_)));
}

fn actions(list: &[(u64, u32)]) -> Vec<SetAction> {
    let actions = list.iter().map(|(port, weight)| SetAction {
        chosen: set(*port),
        weight: *weight,
        watch_port: Some(*port as u32),
    });
    actions.collect()
}

#[test]
fn a_set_is_a_group_of_its_own() {
    let profile = profile(true, 4);
    let shares = |id| {
        let mut shares = BTreeMap::new();
        for hash in 0..BUCKETS as u64 {
            let port = profile.flow(id, hash);
            *shares.entry(port).or_insert(0) += 1;
        }
        shares
    };
    // Equal actions remain separate members.
    let first = actions(&[(1, 1), (2, 2), (1, 1)]);
    let id = profile.hold_set(first.clone(), None).unwrap();
    assert_eq!(profile.set(id), Some(first));
    assert_eq!(shares(id), BTreeMap::from([(Some(1), 512), (Some(2), 512)]));
    assert_eq!((profile.members(), profile.groups()), (vec![], vec![]));
    profile.set_port(2, false);
    assert_eq!(shares(id), BTreeMap::from([(Some(1), 1024)]));
    profile.set_port(2, true);

    // The capacity is four: another set of two does not fit, but four in place of the three do.
    let text = |error: ProfileError| error.to_string();
    let error = profile.hold_set(actions(&[(5, 1), (6, 1)]), None);
    assert!(text(error.unwrap_err()).contains("has room for 4 actions of sets"));
    let other = profile.hold_set(actions(&[(9, 1)]), None).unwrap();
    let five = actions(&[(1, 1), (2, 1), (3, 1), (4, 1)]);
    assert!(profile.hold_set(five.clone(), Some(id)).is_err());
    assert_eq!(shares(id), BTreeMap::from([(Some(1), 512), (Some(2), 512)]));
    assert!(profile.release_set(other));
    // Packets may still use it.
    assert_eq!(shares(other), BTreeMap::from([(Some(9), 1024)]));
    assert_eq!(profile.hold_set(five.clone(), Some(id)), Ok(id));
    assert_eq!(profile.set(id), Some(five));
    profile.forget_set(other);
    assert_eq!(shares(other), BTreeMap::from([(None, 1024)]));

    assert!(profile.release_set(id));
    profile.insert_group(id, &[]).unwrap();
    profile.forget_set(id);
    assert_eq!(profile.groups(), [id]);
    assert!(!profile.release_set(id));
}

#[test]
fn flows_of_actions_that_stay_in_a_set_stay() {
    let profile = profile(true, 0);
    let id = profile
        .hold_set(actions(&[(1, 1), (2, 1), (3, 1)]), None)
        .unwrap();
    let flows = || -> Vec<_> {
        let flow = |hash| profile.flow(id, hash);
        (0..BUCKETS as u64).map(flow).collect()
    };
    let before = flows();
    // Another order, with one action removed and one added.
    let changed = actions(&[(4, 1), (3, 1), (1, 1)]);
    assert_eq!(profile.hold_set(changed, Some(id)), Ok(id));
    for (a, b) in before.iter().zip(flows()) {
        match a {
            Some(2) => assert_eq!(b, Some(4)),
            a => assert_eq!(*a, b),
        }
    }
}

#[test]
fn sets_are_not_mixed_with_members_and_groups() {
    let one = actions(&[(1, 1)]);
    let is_mixed = |result: Result<(), ProfileError>| {
        assert!(matches!(result, Err(ProfileError::Mixed { .. })));
    };
    let profile = profile(true, 0);
    profile.insert_member(1, set(1)).unwrap();
    is_mixed(profile.hold_set(one.clone(), None).map(drop));
    profile.insert_group(1, &[]).unwrap();
    profile.delete_member(1).unwrap();
    is_mixed(profile.hold_set(one.clone(), None).map(drop));
    profile.delete_group(1).unwrap();

    let id = profile.hold_set(one.clone(), None).unwrap();
    is_mixed(profile.insert_member(1, set(1)));
    is_mixed(profile.insert_group(1, &[]));
    is_mixed(profile.hold_member(1));
    is_mixed(profile.hold_group(id));
    // Sets cannot be changed as groups or members.
    assert!(profile.modify_group(id, &[]).is_err());
    assert!(profile.delete_group(id).is_err());
    assert_eq!(profile.group(id), None);
    assert!(profile.release_set(id));
    profile.insert_member(1, set(1)).unwrap();

    let plain = self::profile(false, 0);
    let error = plain.hold_set(one, None).unwrap_err();
    assert!(matches!(error, ProfileError::NoGroups(_)));
    for (wrong, why) in [
        (actions(&[(1, 0)]), "action 1 has the weight 0"),
        (actions(&[(1, 1), (1, 257)]), "action 2 has the weight 257"),
        (actions(&[(1, 1); 257]), "more than 256 actions"),
        (actions(&[(512, 1)]), "9 bits for `port`"),
    ] {
        let error = self::profile(true, 0).hold_set(wrong, None).unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
    }
}

#[test]
fn flows_stay_with_their_members_in_another_profile() {
    let with_members = || {
        let profile = profile(true, 0);
        for id in 0..6 {
            profile.insert_member(id, set(id.into())).unwrap();
        }
        profile
    };
    let first: Vec<_> = (0..4).map(|id| member(id, 1)).collect();
    let last: Vec<_> = (1..6).map(|id| member(id, id)).collect();
    let old = with_members();
    old.insert_group(1, &first).unwrap();
    assert_eq!(old.owners(1), None, "those of a new group");
    old.modify_group(1, &last).unwrap();
    let owners = old.owners(1).unwrap();

    let next = with_members();
    next.insert_group(1, &last).unwrap();
    assert!(moved(&flows(&old), &flows(&next)) > 0);
    next.set_owners(1, &owners).unwrap();
    assert_eq!(flows(&next), flows(&old));
    assert_eq!(next.owners(1), Some(owners.clone()));
    // A member whose port is down here gets no flows.
    next.set_port(103, false);
    old.set_port(103, false);
    next.set_owners(1, &owners).unwrap();
    assert_eq!(flows(&next), flows(&old));

    let why = |owners: &[u8]| next.set_owners(1, owners).unwrap_err().to_string();
    assert!(why(&owners[1..]).contains("owners of 1023 buckets: it has 1024"));
    assert!(why(&[5; BUCKETS]).contains("member 5 owns a bucket: it has 5 members"));
    assert!(next.set_owners(2, &owners).is_err());
    assert_eq!(flows(&next), flows(&old), "nothing has changed");
}
