// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Assignment of a group's buckets to members.

/// Number of buckets of a group. It never changes, since a flow's bucket is its hash modulo this.
pub(super) const BUCKETS: usize = 1024;

/// The owner of a bucket that has none.
pub(super) const NOBODY: u16 = u16::MAX;

/// Assigns buckets to members in proportion to their weights, with as few changes of owner as
/// possible. If no member's share falls, as when a member was removed, no member loses a bucket. To
/// achieve this, a share may be off by one bucket.
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
        // Up to the share, rounded up.
        match held.get_mut(at) {
            Some(count) if *count * total < wanted(at) => *count += 1,
            _ => *owner = NOBODY,
        }
    }
    // The deficit of a share, in units of 1/`total`.
    let missing = |held: &[i64], n: usize| wanted(n) - held[n] * total;
    for owner in owners.iter_mut().filter(|owner| **owner == NOBODY) {
        let due = (0..weights.len()).max_by_key(|n| (missing(&held, *n), weights.len() - n));
        if let Some(n) = due {
            *owner = n as u16;
            held[n] += 1;
        }
    }
    // A member that was added, or whose weight grew, gets its share from members above theirs: their
    // last buckets. No member both gives and gets, so that what is left of one is in front.
    let mut ends = vec![BUCKETS; weights.len()];
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
        let mut before = owners[..ends[from]].iter();
        if let Some(at) = before.rposition(|owner| usize::from(*owner) == from) {
            owners[at] = to as u16;
            ends[from] = at;
        }
        held[from] -= 1;
        held[to] += 1;
    }
}
