// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A map from ids to values, which are replaced one by one while workers read. It is partitioned,
//! so that a change copies little, independent of the map's size.

use std::convert::Infallible;
use std::sync::Arc;

use parking_lot::Mutex;

use super::epoch::{Epochs, Pin};
use super::snapshot::{Limbo, Snapshot};

/// Number of parts, as a power of two: with a hundred thousand values, a change copies some six. Copies
/// are what a change costs, since each value's count is in memory of its own.
const PARTS_LOG: u32 = 14;

/// Values in the order of their ids.
type Part<T> = Vec<(u64, Arc<T>)>;

/// A map from ids to values.
pub(in crate::p4) struct Parts<T: ?Sized> {
    current: Box<[Snapshot<Part<T>>]>,
    writing: Mutex<Writing<T>>,
    epochs: Arc<Epochs>,
}

/// State that only writers access, one at a time.
struct Writing<T: ?Sized> {
    /// The contents of the snapshots.
    parts: Vec<Arc<Part<T>>>,
    limbo: Limbo<Arc<Part<T>>>,
    count: usize,
}

/// Returns the part of an id; neighbouring ids are in different parts.
fn part_of(id: u64) -> usize {
    // Fibonacci hashing: 2^64 divided by the golden ratio.
    (id.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - PARTS_LOG)) as usize
}

fn find<T: ?Sized>(part: &Part<T>, id: u64) -> Result<usize, usize> {
    part.binary_search_by_key(&id, |(other, _)| *other)
}

impl<T: ?Sized + Send + Sync> Parts<T> {
    pub(in crate::p4) fn new(epochs: Arc<Epochs>) -> Parts<T> {
        let parts: Vec<_> = vec![Arc::default(); 1 << PARTS_LOG];
        Parts {
            current: parts.iter().cloned().map(Snapshot::new).collect(),
            writing: Mutex::new(Writing {
                parts,
                limbo: Limbo::default(),
                count: 0,
            }),
            epochs,
        }
    }

    /// Reads a value, for a worker. `pin` must be of the epochs that these parts were created with.
    pub(in crate::p4) fn read<'p>(&'p self, id: u64, pin: &'p Pin<'_>) -> Option<&'p T> {
        let part = self.current[part_of(id)].read(pin);
        Some(&part[find(part, id).ok()?].1)
    }

    /// Reads a value, for callers that are not time-critical: takes the writers' lock.
    pub(in crate::p4) fn get(&self, id: u64) -> Option<Arc<T>> {
        let part = self.writing.lock().parts[part_of(id)].clone();
        Some(part[find(&part, id).ok()?].1.clone())
    }

    /// All values, in the order of their ids.
    pub(in crate::p4) fn all(&self) -> Vec<(u64, Arc<T>)> {
        let writing = self.writing.lock();
        let mut all: Vec<_> = writing
            .parts
            .iter()
            .flat_map(|p| p.iter().cloned())
            .collect();
        all.sort_unstable_by_key(|(id, _)| *id);
        all
    }

    /// The number of values.
    pub(in crate::p4) fn len(&self) -> usize {
        self.writing.lock().count
    }

    /// Sets or removes the value of an id.
    pub(in crate::p4) fn put(&self, id: u64, value: Option<Arc<T>>) {
        let Ok(()) = self.change::<Infallible>(id, |_, _| Ok(value));
    }

    /// Changes the value of an id: `change` gets the old value and the total number of values, and
    /// returns the new value. If it fails, nothing changes.
    pub(in crate::p4) fn change<E>(
        &self,
        id: u64,
        change: impl FnOnce(Option<&Arc<T>>, usize) -> Result<Option<Arc<T>>, E>,
    ) -> Result<(), E> {
        let Writing {
            parts,
            limbo,
            count,
        } = &mut *self.writing.lock();
        let place = &mut parts[part_of(id)];
        let found = find(place, id);
        let value = change(found.ok().map(|at| &place[at].1), *count)?;
        let mut part = Part::clone(place);
        match (found, value) {
            (Ok(at), Some(value)) => part[at].1 = value,
            (Ok(at), None) => {
                part.remove(at);
                *count -= 1;
            }
            (Err(at), Some(value)) => {
                part.insert(at, (id, value));
                *count += 1;
            }
            (Err(_), None) => return Ok(()),
        }
        *place = Arc::new(part);
        limbo.free(&self.epochs, drop);
        self.current[part_of(id)].replace(place.clone(), &self.epochs, limbo);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn are_like_a_map(changes in prop::collection::vec((0u64..40, any::<Option<u8>>()), 0..200)) {
            let epochs = Arc::new(Epochs::new());
            let worker = epochs.join().unwrap();
            let parts = Parts::<u8>::new(epochs.clone());
            let mut model = BTreeMap::new();
            for (id, value) in changes {
                // Ids far apart, and many in one part.
                let id = id << 58 | id;
                let changed: Result<(), Infallible> = parts.change(id, |old, count| {
                    assert_eq!((old.map(|v| **v), count), (model.get(&id).copied(), model.len()));
                    Ok(value.map(Arc::new))
                });
                changed.unwrap();
                match value {
                    Some(value) => model.insert(id, value),
                    None => model.remove(&id),
                };
                let pin = epochs.pin(worker);
                prop_assert_eq!(parts.read(id, &pin).copied(), value);
                prop_assert_eq!(parts.get(id).map(|v| *v), value);
                prop_assert_eq!(parts.len(), model.len());
            }
            let all: Vec<_> = parts.all().into_iter().map(|(id, v)| (id, *v)).collect();
            prop_assert_eq!(all, model.into_iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_reader_keeps_what_it_has_found_and_a_failure_changes_nothing() {
        let epochs = Arc::new(Epochs::new());
        let worker = epochs.join().unwrap();
        let parts = Parts::<str>::new(epochs.clone());
        let put = |text: Option<&str>| parts.change(7, |_, _| Ok::<_, ()>(text.map(Arc::from)));
        put(Some("old")).unwrap();
        let pin = epochs.pin(worker);
        let old = parts.read(7, &pin).unwrap();
        for text in [Some("new"), None, Some("newest")] {
            put(text).unwrap();
            assert_eq!((old, parts.read(7, &pin)), ("old", text));
        }
        assert_eq!(parts.change(7, |_, _| Err("no")), Err("no"));
        assert_eq!(parts.read(7, &pin), Some("newest"));
    }
}
