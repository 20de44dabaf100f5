// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A set of pending work: small numbers that are added, removed and iterated in constant time each,
//! independent of the size of the number space.

/// A set of numbers.
#[derive(Debug, Default)]
pub struct Awake {
    list: Vec<u32>,
    /// The position of each number in `list` plus one, or 0.
    places: Vec<u32>,
}

impl Awake {
    /// Returns whether the set contains `number`.
    #[must_use]
    pub fn contains(&self, number: u32) -> bool {
        self.places.get(number as usize).is_some_and(|&p| p != 0)
    }

    /// Adds a number; returns false if it was already in the set.
    pub fn insert(&mut self, number: u32) -> bool {
        let at = number as usize;
        if at >= self.places.len() {
            self.places.resize(at + 1, 0);
        }
        if self.places[at] != 0 {
            return false;
        }
        self.list.push(number);
        self.places[at] = self.list.len() as u32;
        true
    }

    /// Removes a number. The last element of the list takes its position.
    pub fn remove(&mut self, number: u32) {
        let Some(place) = self.places.get_mut(number as usize) else {
            return;
        };
        let Some(at) = std::mem::take(place).checked_sub(1) else {
            return;
        };
        self.list.swap_remove(at as usize);
        if let Some(&moved) = self.list.get(at as usize) {
            self.places[moved as usize] = at + 1;
        }
    }

    /// The number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Returns whether the set is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The number at a position of the list.
    #[must_use]
    pub fn get(&self, place: usize) -> Option<u32> {
        self.list.get(place).copied()
    }

    /// Removes all numbers.
    pub fn clear(&mut self) {
        self.list.clear();
        self.places.clear();
    }
}

/// Numbers that are to be looked at at intervals, in turn: at most [`Self::BATCH`] at a time, so that
/// a round is short however many there are.
#[derive(Debug, Default)]
pub struct Drowsy {
    set: Awake,
    /// The position after the next one. Rounds go down the list: the last element, which takes the
    /// position of one that is removed, has been looked at already.
    next: usize,
    /// The time of the last round.
    looked_at: u64,
}

impl Drowsy {
    /// The interval between two rounds, in nanoseconds.
    pub const INTERVAL_NS: u64 = 1_000_000;
    /// The maximum number of elements of a round.
    pub const BATCH: usize = 1024;

    /// Adds a number.
    pub fn insert(&mut self, number: u32) {
        self.set.insert(number);
    }

    /// Removes a number; returns false if it was not in the set.
    pub fn remove(&mut self, number: u32) -> bool {
        let there = self.set.contains(number);
        self.set.remove(number);
        there
    }

    /// Removes all numbers.
    pub fn clear(&mut self) {
        self.set.clear();
    }

    /// The number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        self.set.len()
    }

    /// Returns whether the set is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.set.is_empty()
    }

    /// Begins a round at `now`, in nanoseconds, if one is due; returns the number of elements to
    /// look at.
    pub fn round(&mut self, now: u64) -> usize {
        if self.is_empty() || now.saturating_sub(self.looked_at) < Self::INTERVAL_NS {
            return 0;
        }
        self.looked_at = now;
        self.len().min(Self::BATCH)
    }

    /// The next element of a round, which may be removed then.
    pub fn next_of_round(&mut self) -> Option<u32> {
        if self.next == 0 || self.next > self.len() {
            self.next = self.len();
        }
        self.next = self.next.checked_sub(1)?;
        self.set.get(self.next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_look_at_every_element_in_turn_and_are_short() {
        let mut drowsy = Drowsy::default();
        assert_eq!(drowsy.round(u64::MAX), 0);
        let all = Drowsy::BATCH as u32 * 2 + 7;
        (0..all).for_each(|n| drowsy.insert(n));
        let (mut seen, mut now) = (BTreeSet::new(), 0);
        for _ in 0..3 {
            assert_eq!(drowsy.round(now), 0, "it is not due yet");
            now += Drowsy::INTERVAL_NS;
            let count = drowsy.round(now);
            assert_eq!(count, Drowsy::BATCH);
            for _ in 0..count {
                let number = drowsy.next_of_round().unwrap();
                seen.insert(number);
                // Some wake up: none of the others is skipped for that.
                if number % 3 == 0 {
                    assert!(drowsy.remove(number) && !drowsy.remove(number));
                }
            }
        }
        assert_eq!(seen.len(), all as usize);
        assert_eq!(drowsy.len(), (0..all).filter(|n| n % 3 != 0).count());
        drowsy.clear();
        assert_eq!(drowsy.next_of_round(), None);
    }

    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn it_is_a_set(steps in prop::collection::vec((0_u32..20, any::<bool>()), 0..100)) {
            let (mut awake, mut model) = (Awake::default(), BTreeSet::new());
            for (number, add) in steps {
                if add {
                    prop_assert_eq!(awake.insert(number), model.insert(number));
                } else {
                    awake.remove(number);
                    model.remove(&number);
                }
                let walked: BTreeSet<_> = (0..awake.len()).filter_map(|i| awake.get(i)).collect();
                prop_assert_eq!(&walked, &model);
                prop_assert_eq!(awake.len(), model.len());
                prop_assert!((0..25).all(|n| awake.contains(n) == model.contains(&n)));
            }
        }
    }
}
