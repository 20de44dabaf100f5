// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Which of many small numbers are taken: a bitmap that is searched a word at a time.

/// Numbers below a limit, each free or taken.
#[derive(Clone, Debug)]
pub(super) struct Room {
    words: Vec<u64>,
    limit: u32,
    taken: u32,
}

impl Room {
    /// `limit` numbers, all free.
    pub(super) fn new(limit: u32) -> Self {
        Self {
            words: vec![0; limit.div_ceil(64) as usize],
            limit,
            taken: 0,
        }
    }

    pub(super) fn limit(&self) -> u32 {
        self.limit
    }

    pub(super) fn taken(&self) -> u32 {
        self.taken
    }

    /// Takes the first `count` free numbers in a row.
    pub(super) fn take(&mut self, count: u32) -> Option<u32> {
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
            // Zeros shifted in from above count as free: they are of the next word.
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

    /// Gives numbers back.
    pub(super) fn give(&mut self, first: u32, count: u32) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_gives_the_first_that_are_free(
            limit in 1_u32..300,
            steps in prop::collection::vec((1_u32..70, any::<bool>()), 1..60),
        ) {
            let mut room = Room::new(limit);
            let mut model = vec![false; limit as usize];
            let mut held = Vec::new();
            for (count, give) in steps {
                if give && !held.is_empty() {
                    let (first, n): (u32, u32) = held.swap_remove(count as usize % held.len());
                    room.give(first, n);
                    model[first as usize..(first + n) as usize].fill(false);
                } else {
                    let fits = |w: &[bool]| w.iter().all(|&taken| !taken);
                    let expected = model.windows(count as usize).position(fits);
                    let got = room.take(count);
                    prop_assert_eq!(got, expected.map(|at| at as u32));
                    if let Some(first) = got {
                        model[first as usize..(first + count) as usize].fill(true);
                        held.push((first, count));
                    }
                }
                let taken = model.iter().filter(|&&taken| taken).count();
                prop_assert_eq!(room.taken() as usize, taken);
            }
        }
    }
}
