// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Assignment of a group's buckets to members.

use std::cmp::Reverse;
use std::collections::binary_heap::PeekMut;
use std::collections::BinaryHeap;

use super::MAX_GROUP;

/// Number of buckets of a group. It never changes, since a flow's bucket is its hash modulo this.
pub(super) const BUCKETS: usize = 1024;

/// The owner of a bucket that has none.
pub(super) const NOBODY: u16 = u16::MAX;

/// The number of buckets of each member, by its place.
fn held(owners: &[u16; BUCKETS]) -> [u16; MAX_GROUP + 1] {
    // The last count is that of buckets without an owner.
    let mut held = [0; MAX_GROUP + 1];
    for owner in owners {
        held[usize::from(*owner).min(MAX_GROUP)] += 1;
    }
    held
}

/// Assigns buckets to members in proportion to their weights, with as few changes of owner as
/// possible. If no member's share falls, as when a member was removed, no member loses a bucket. To
/// achieve this, a share may be off by one bucket.
pub(super) fn assign(owners: &mut [u16; BUCKETS], weights: &[u32]) {
    let total: i64 = weights.iter().map(|w| i64::from(*w)).sum();
    if total == 0 {
        owners.fill(NOBODY);
        return;
    }
    // What each member's buckets lack of its share, in units of 1/`total`.
    let share = |n: u16| i64::from(weights[usize::from(n)]) * BUCKETS as i64;
    let members = 0..weights.len() as u16;
    let mut missing: Vec<i64> = members.clone().map(share).collect();
    for (held, missing) in held(owners).iter().zip(&mut missing) {
        *missing -= i64::from(*held) * total;
    }
    // Of a member with more than its share, rounded up, the last buckets are free.
    if missing.iter().any(|missing| *missing <= -total) {
        for owner in owners.iter_mut().rev() {
            if let Some(missing) = missing.get_mut(usize::from(*owner)) {
                if *missing <= -total {
                    *owner = NOBODY;
                    *missing += total;
                }
            }
        }
    }
    let free = owners.iter().enumerate();
    let open: Vec<usize> = free
        .filter(|(_, owner)| **owner == NOBODY)
        .map(|(at, _)| at)
        .collect();
    // Each to the member that lacks most, of equal ones to the first.
    if !open.is_empty() {
        let lacks = |n: u16| (missing[usize::from(n)], Reverse(n));
        let mut due: BinaryHeap<_> = members.clone().map(lacks).collect();
        for at in open {
            if let Some(mut first) = due.peek_mut() {
                owners[at] = first.1 .0;
                first.0 -= total;
            }
        }
        for (lacks, Reverse(n)) in due {
            missing[usize::from(n)] = lacks;
        }
    }
    // A member that was added, or whose weight grew, gets its share from members above theirs: their
    // last buckets. In each of the two steps, no member both gives and gets, so that what is left of one is
    // in front, and a step ends.
    let mut ends = vec![BUCKETS; weights.len()];
    let mut give = |(from, to): (u16, u16)| {
        let end = &mut ends[usize::from(from)];
        if let Some(at) = owners[..*end].iter().rposition(|owner| *owner == from) {
            owners[at] = to;
            *end = at;
        }
    };
    // First those that lack two buckets or more.
    let mut poor: BinaryHeap<_> = members
        .clone()
        .map(|n| (missing[usize::from(n)], n))
        .filter(|(lacks, _)| *lacks >= 2 * total)
        .collect();
    let mut rich: BinaryHeap<_> = members
        .clone()
        .map(|n| Reverse((missing[usize::from(n)], n)))
        .filter(|Reverse((lacks, _))| *lacks < 0)
        .collect();
    while let (Some(mut to), Some(mut from)) = (poor.peek_mut(), rich.peek_mut()) {
        give((from.0 .1, to.1));
        to.0 -= total;
        from.0 .0 += total;
        missing[usize::from(to.1)] = to.0;
        missing[usize::from(from.0 .1)] = from.0 .0;
        if to.0 < 2 * total {
            PeekMut::pop(to);
        }
        if from.0 .0 >= 0 {
            PeekMut::pop(from);
        }
    }
    // Then those without any, from members that keep one: with shares below a bucket, two members would
    // else take the same one from each other for ever.
    let keeps_one = |n: u16, lacks: i64| lacks < 0 && lacks + total < share(n);
    let mut rich: BinaryHeap<_> = members
        .clone()
        .map(|n| Reverse((missing[usize::from(n)], n)))
        .filter(|Reverse((lacks, n))| keeps_one(*n, *lacks))
        .collect();
    let mut empty: Vec<_> = members
        .map(|n| (missing[usize::from(n)], n))
        .filter(|(lacks, n)| *lacks > 0 && *lacks == share(*n))
        .collect();
    empty.sort_unstable();
    while let (Some((_, to)), Some(mut from)) = (empty.pop(), rich.peek_mut()) {
        give((from.0 .1, to));
        from.0 .0 += total;
        if !keeps_one(from.0 .1, from.0 .0) {
            PeekMut::pop(from);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Assigns the buckets of a new group; returns the number of each member's.
    fn assigned(weights: &[u32]) -> Vec<u16> {
        let mut owners = [NOBODY; BUCKETS];
        assign(&mut owners, weights);
        held(&owners)[..weights.len()].to_vec()
    }

    /// Shares of 93.02 and 0.4 buckets: one is left for two members of equal weight.
    #[test]
    fn members_with_less_than_a_bucket_do_not_take_it_from_each_other_for_ever() {
        let mut weights = [233; 13];
        weights[11..].fill(1);
        let held = assigned(&weights);
        assert_eq!(held[..11], [93; 11]);
        assert_eq!(held[11] + held[12], 1);
    }

    proptest! {
        #[test]
        fn every_change_ends_with_shares_within_three_buckets(
            changes in prop::collection::vec(
                prop::collection::vec(prop_oneof![Just(0), Just(1), Just(2), 3..=256_u32], 1..=MAX_GROUP),
                1..6,
            )
        ) {
            let mut owners = [NOBODY; BUCKETS];
            for weights in changes {
                // Members that are gone own nothing any more, as the caller sees to.
                for owner in &mut owners {
                    if usize::from(*owner) >= weights.len() {
                        *owner = NOBODY;
                    }
                }
                assign(&mut owners, &weights);
                let total: u32 = weights.iter().sum();
                let held = held(&owners);
                prop_assert_eq!(held[MAX_GROUP] == 0, total > 0);
                for (held, weight) in held.iter().zip(&weights).filter(|_| total > 0) {
                    let due = f64::from(*weight) * BUCKETS as f64 / f64::from(total);
                    prop_assert!((f64::from(*held) - due).abs() < 3.0, "{held} instead of {due}");
                    prop_assert!(*weight > 0 || *held == 0);
                }
            }
        }
    }
}
