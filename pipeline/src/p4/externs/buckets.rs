// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Who owns a group's buckets.

/// How many buckets a group has. It never changes, since a flow's bucket is its hash modulo that.
pub(super) const BUCKETS: usize = 1024;

/// The owner of a bucket that has none.
pub(super) const NOBODY: u16 = u16::MAX;

/// Gives buckets to members in proportion to their weights; as few as can be change their owner.
/// Where nobody's share falls, as when a member has gone, nobody loses a bucket. For that a share
/// may be off by a bucket.
pub(super) fn assign(mut owners: Vec<u16>, weights: &[u32]) -> Vec<u16> {
    owners.resize(BUCKETS, NOBODY);
    let total: i64 = weights.iter().map(|w| i64::from(*w)).sum();
    if total == 0 {
        return vec![NOBODY; BUCKETS];
    }
    let wanted = |n: usize| i64::from(weights[n]) * BUCKETS as i64;
    let mut held = vec![0i64; weights.len()];
    for owner in &mut owners {
        let at = usize::from(*owner);
        // Up to the share rounded up.
        match held.get_mut(at) {
            Some(count) if *count * total < wanted(at) => *count += 1,
            _ => *owner = NOBODY,
        }
    }
    // What is missing from a share, in parts of `total`.
    let missing = |held: &[i64], n: usize| wanted(n) - held[n] * total;
    for owner in owners.iter_mut().filter(|owner| **owner == NOBODY) {
        let due = (0..weights.len()).max_by_key(|n| (missing(&held, *n), weights.len() - n));
        if let Some(n) = due {
            *owner = n as u16;
            held[n] += 1;
        }
    }
    // Who has come, or become heavier, gets what it is due from those that are above their shares.
    loop {
        let poor = |n: &usize| {
            let short = missing(&held, *n);
            short >= 2 * total || weights[*n] > 0 && held[*n] == 0
        };
        let Some(to) = (0..weights.len())
            .filter(poor)
            .max_by_key(|n| missing(&held, *n))
        else {
            return owners;
        };
        let rich = |n: &usize| missing(&held, *n) < 0;
        let Some(from) = (0..weights.len())
            .filter(rich)
            .min_by_key(|n| missing(&held, *n))
        else {
            return owners;
        };
        if let Some(owner) = owners.iter_mut().rfind(|o| usize::from(**o) == from) {
            *owner = to as u16;
        }
        held[from] -= 1;
        held[to] += 1;
    }
}
