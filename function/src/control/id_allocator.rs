// SPDX-License-Identifier: Apache-2.0 OR MIT
//! An allocator of small numbers: a bitmap that is searched a word at a time.

/// Numbers below a limit, each free or allocated.
#[derive(Clone, Debug)]
pub(super) struct IdAllocator {
    words: Vec<u64>,
    limit: u32,
    taken: u32,
    /// The number at which [`Self::allocate_next`] starts its search.
    next: u32,
}

impl IdAllocator {
    /// Creates an allocator of `limit` numbers, all free.
    pub(super) fn new(limit: u32) -> Self {
        Self {
            words: vec![0; limit.div_ceil(64) as usize],
            limit,
            taken: 0,
            next: 0,
        }
    }

    /// Frees all numbers. [`Self::allocate_next`] continues where it was.
    pub(super) fn clear(&mut self) {
        self.words.fill(0);
        self.taken = 0;
    }

    /// The number at which [`Self::allocate_next`] begins.
    pub(super) fn next(&self) -> u32 {
        self.next
    }

    /// Sets the number at which [`Self::allocate_next`] begins: at most the limit.
    pub(super) fn continue_at(&mut self, next: u32) {
        self.next = next;
    }

    pub(super) fn limit(&self) -> u32 {
        self.limit
    }

    pub(super) fn taken(&self) -> u32 {
        self.taken
    }

    /// Allocates the first `count` contiguous free numbers.
    pub(super) fn allocate(&mut self, count: u32) -> Option<u32> {
        if count == 0 || count > self.limit - self.taken {
            return None;
        }
        let (mut run, mut at) = (0, 0);
        while at < self.limit {
            let word = self.words[(at / 64) as usize] >> (at % 64);
            if word & 1 != 0 {
                run = 0;
                at += word.trailing_ones();
                continue;
            }
            // Zeros shifted in from above count as free: they belong to the next word.
            let free = word.trailing_zeros().min(64 - at % 64);
            run += free;
            at += free;
            if run >= count {
                let first = at - run;
                return (first + count <= self.limit).then(|| {
                    self.set(first, count, true);
                    first
                });
            }
        }
        None
    }

    /// Allocates the first free number after the one that this returned last, wrapping at the
    /// limit: a freed number is reused only once all others have been used.
    pub(super) fn allocate_next(&mut self) -> Option<u32> {
        let number = self.first_free(self.next).or_else(|| self.first_free(0))?;
        self.set(number, 1, true);
        self.next = number + 1;
        Some(number)
    }

    /// The first free number from `at` on.
    fn first_free(&self, mut at: u32) -> Option<u32> {
        while at < self.limit {
            let word = self.words[(at / 64) as usize] >> (at % 64);
            if word & 1 == 0 {
                return Some(at);
            }
            at += word.trailing_ones();
        }
        None
    }

    /// Allocates the given numbers, if they are in range and all free.
    pub(super) fn allocate_at(&mut self, first: u32, count: u32) -> Result<(), NotFree> {
        let end = first.checked_add(count).filter(|&end| end <= self.limit);
        let end = end.ok_or(NotFree::OutOfRange)?;
        let taken = |n: u32| self.words[(n / 64) as usize] & 1 << (n % 64) != 0;
        if (first..end).any(taken) {
            return Err(NotFree::Taken);
        }
        self.set(first, count, true);
        Ok(())
    }

    /// Frees numbers.
    pub(super) fn free(&mut self, first: u32, count: u32) {
        self.set(first, count, false);
    }

    fn set(&mut self, first: u32, count: u32, taken: bool) {
        for number in first..first + count {
            let (word, bit) = (&mut self.words[(number / 64) as usize], 1 << (number % 64));
            debug_assert_eq!(*word & bit != 0, !taken);
            *word ^= bit;
        }
        self.taken = if taken {
            self.taken + count
        } else {
            self.taken - count
        };
    }
}

/// The reason why numbers cannot be allocated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotFree {
    /// Some of them are at or above the limit.
    OutOfRange,
    /// Some of them are already allocated.
    Taken,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_number_is_used_again_after_all_others() {
        let mut ids = IdAllocator::new(70);
        for number in 0..70 {
            assert_eq!(ids.allocate_next(), Some(number));
            ids.free(number, 1);
        }
        ids.allocate_at(0, 2).unwrap();
        assert_eq!(ids.allocate_next(), Some(2));
        ids.clear();
        assert_eq!((ids.taken(), ids.allocate_next()), (0, Some(3)));
        let mut other = IdAllocator::new(70);
        other.continue_at(ids.next());
        assert_eq!(other.allocate_next(), Some(4));
        other.continue_at(70);
        assert_eq!(other.allocate_next(), Some(0));
    }

    #[test]
    fn chosen_numbers_are_taken_once() {
        let mut ids = IdAllocator::new(66);
        assert_eq!(ids.allocate_at(63, 3), Ok(()));
        assert_eq!(ids.allocate_at(62, 2), Err(NotFree::Taken));
        assert_eq!(ids.allocate_at(64, 3), Err(NotFree::OutOfRange));
        assert_eq!(ids.allocate_at(u32::MAX, 2), Err(NotFree::OutOfRange));
        ids.free(63, 3);
        assert_eq!((ids.taken(), ids.allocate_at(62, 4)), (0, Ok(())));
        let mut full = IdAllocator::new(1);
        assert_eq!(
            (full.allocate_next(), full.allocate_next()),
            (Some(0), None)
        );
    }

    proptest! {
        #[test]
        fn the_first_free_numbers_are_allocated(
            limit in 1_u32..300,
            steps in prop::collection::vec((1_u32..70, any::<bool>()), 1..60),
        ) {
            let mut ids = IdAllocator::new(limit);
            let mut model = vec![false; limit as usize];
            let mut allocated = Vec::new();
            for (count, free) in steps {
                if free && !allocated.is_empty() {
                    let at = count as usize % allocated.len();
                    let (first, n): (u32, u32) = allocated.swap_remove(at);
                    ids.free(first, n);
                    model[first as usize..(first + n) as usize].fill(false);
                } else {
                    let fits = |w: &[bool]| w.iter().all(|&taken| !taken);
                    let expected = model.windows(count as usize).position(fits);
                    let got = ids.allocate(count);
                    prop_assert_eq!(got, expected.map(|at| at as u32));
                    if let Some(first) = got {
                        model[first as usize..(first + count) as usize].fill(true);
                        allocated.push((first, count));
                    }
                }
                let taken = model.iter().filter(|&&taken| taken).count();
                prop_assert_eq!(ids.taken() as usize, taken);
            }
        }
    }
}
