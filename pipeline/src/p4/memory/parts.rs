// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A map from ids to values, which are replaced one by one while workers read. It is partitioned,
//! so that a change copies little, independent of the map's size. Copies of a part share its values
//! without counting them, which would touch the memory of each.

use std::convert::Infallible;
use std::ptr::NonNull;
use std::sync::Arc;

use parking_lot::Mutex;

use super::epoch::{Epochs, Pin};
use super::snapshot::{Limbo, Snapshot};

/// Number of parts, as a power of two: with a hundred thousand values, a change copies some six.
const PARTS_LOG: u32 = 14;

/// A value of the map, for which the map has one count of its `Arc`, however many copies there are of
/// this pointer. That count is released once the value has left the map and no worker reads it.
struct Value<T: ?Sized>(NonNull<T>);

impl<T: ?Sized> Clone for Value<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: ?Sized> Copy for Value<T> {}

// SAFETY: it is the pointer of an `Arc<T>`, from which it gives out `&T` and `Arc<T>`.
unsafe impl<T: ?Sized + Send + Sync> Send for Value<T> {}
// SAFETY: as above.
unsafe impl<T: ?Sized + Send + Sync> Sync for Value<T> {}

impl<T: ?Sized> Value<T> {
    /// Takes over the count of an `Arc`.
    fn new(value: Arc<T>) -> Value<T> {
        // SAFETY: the pointer of an `Arc` is not null.
        Value(unsafe { NonNull::new_unchecked(Arc::into_raw(value).cast_mut()) })
    }

    /// The value.
    ///
    /// # Safety
    /// The map's count is not released during `'p`.
    unsafe fn get<'p>(self) -> &'p T {
        // SAFETY: the value lives as long as its count; there are only shared references to it.
        unsafe { self.0.as_ref() }
    }

    /// The value, with a count of its own.
    ///
    /// # Safety
    /// The map's count has not been released.
    unsafe fn to_arc(self) -> Arc<T> {
        let value = self.0.as_ptr();
        // SAFETY: the pointer came from `Arc::into_raw`, and there is a count; the new one becomes
        // the returned `Arc`'s.
        unsafe {
            Arc::increment_strong_count(value);
            Arc::from_raw(value)
        }
    }

    /// Gives the map's count back.
    ///
    /// # Safety
    /// It has not been released, and no copy of this pointer is used after the returned `Arc` is
    /// dropped.
    unsafe fn release(self) -> Arc<T> {
        // SAFETY: the pointer came from `Arc::into_raw`, whose count has not been released.
        unsafe { Arc::from_raw(self.0.as_ptr()) }
    }
}

/// Values in the order of their ids.
type Part<T> = Vec<(u64, Value<T>)>;

/// A map from ids to values.
pub(in crate::p4) struct Parts<T: ?Sized + Send + Sync> {
    current: Box<[Snapshot<Part<T>>]>,
    writing: Mutex<Writing<T>>,
    epochs: Arc<Epochs>,
}

/// State that only writers access, one at a time.
struct Writing<T: ?Sized + Send + Sync> {
    /// The contents of the snapshots.
    parts: Vec<Arc<Part<T>>>,
    limbo: Limbo<Arc<Part<T>>>,
    /// Values that have left the map.
    out: Limbo<Arc<T>>,
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
                out: Limbo::default(),
                count: 0,
            }),
            epochs,
        }
    }

    /// Reads a value, for a worker. `pin` must be of the epochs that these parts were created with.
    pub(in crate::p4) fn read<'p>(&'p self, id: u64, pin: &'p Pin<'_>) -> Option<&'p T> {
        let part = self.current[part_of(id)].read(pin);
        let value = part[find(part, id).ok()?].1;
        // SAFETY: the value was in the current part when the pin existed; the count of one that
        // leaves is released only through `out`, which waits for all pins that exist by then.
        Some(unsafe { value.get() })
    }

    /// Reads a value, for callers that are not time-critical: takes the writers' lock.
    pub(in crate::p4) fn get(&self, id: u64) -> Option<Arc<T>> {
        let writing = self.writing.lock();
        let part = &writing.parts[part_of(id)];
        let value = part[find(part, id).ok()?].1;
        // SAFETY: the value is in the map, and none leaves it without the lock.
        Some(unsafe { value.to_arc() })
    }

    /// All values, in the order of their ids.
    pub(in crate::p4) fn all(&self) -> Vec<(u64, Arc<T>)> {
        let writing = self.writing.lock();
        let values = writing.parts.iter().flat_map(|part| part.iter());
        // SAFETY: the values are in the map, and none leaves it without the lock.
        let mut all: Vec<_> = values
            .map(|(id, value)| (*id, unsafe { value.to_arc() }))
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
        change: impl FnOnce(Option<&T>, usize) -> Result<Option<Arc<T>>, E>,
    ) -> Result<(), E> {
        let Writing {
            parts,
            limbo,
            out,
            count,
        } = &mut *self.writing.lock();
        limbo.free(&self.epochs, drop);
        out.free(&self.epochs, drop);
        let place = &mut parts[part_of(id)];
        let found = find(place, id);
        let old = found.ok().map(|at| place[at].1);
        // SAFETY: the value is in the map until the lock is released.
        let value = change(old.map(|old| unsafe { old.get() }), *count)?;
        let value = value.map(Value::new);
        let mut part = Vec::with_capacity(place.len() + 1);
        let (before, behind) = place.split_at(found.unwrap_or_else(|at| at));
        part.extend_from_slice(before);
        part.extend(value.map(|value| (id, value)));
        part.extend_from_slice(&behind[usize::from(old.is_some())..]);
        *count = *count + usize::from(value.is_some()) - usize::from(old.is_some());
        *place = Arc::new(part);
        self.current[part_of(id)].replace(place.clone(), &self.epochs, limbo);
        if let Some(old) = old {
            // SAFETY: the map has lost the value just now, so its count has not been released; only
            // workers whose pins `out` waits for have copies of the pointer.
            out.add(unsafe { old.release() }, &self.epochs);
        }
        Ok(())
    }
}

impl<T: ?Sized + Send + Sync> Drop for Parts<T> {
    fn drop(&mut self) {
        for part in &self.writing.get_mut().parts {
            for (_, value) in part.iter() {
                // SAFETY: the value is in the map, and nothing borrows from it any more.
                drop(unsafe { value.release() });
            }
        }
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
                    assert_eq!((old.copied(), count), (model.get(&id).copied(), model.len()));
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
