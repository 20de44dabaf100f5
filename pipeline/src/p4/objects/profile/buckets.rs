// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Assignment of a group's buckets to members.

use std::cmp::Reverse;
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
    // last buckets. No member both gives and gets, so that what is left of one is in front.
    let is_poor = |n: u16, lacks: i64| lacks >= 2 * total || lacks > 0 && lacks == share(n);
    let each = members.map(|n| (missing[usize::from(n)], n));
    let (mut poor, mut rich) = (BinaryHeap::new(), BinaryHeap::new());
    for (lacks, n) in each {
        if is_poor(n, lacks) {
            poor.push((lacks, n));
        } else if lacks < 0 {
            rich.push(Reverse((lacks, n)));
        }
    }
    let mut ends = vec![BUCKETS; weights.len()];
    while let (Some((lacks, to)), Some(Reverse((has, from)))) = (poor.pop(), rich.pop()) {
        let end = &mut ends[usize::from(from)];
        if let Some(at) = owners[..*end].iter().rposition(|owner| *owner == from) {
            owners[at] = to;
            *end = at;
        }
        for (lacks, n) in [(lacks - total, to), (has + total, from)] {
            if is_poor(n, lacks) {
                poor.push((lacks, n));
            } else if lacks < 0 {
                rich.push(Reverse((lacks, n)));
            }
        }
    }
}
