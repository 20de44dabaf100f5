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

#[cfg(test)]
mod tests {
    use super::*;
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
