// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Memory of tables, and the hints for it.

/// The size of a huge page.
#[cfg(all(target_os = "linux", not(miri)))]
const HUGE_PAGE: usize = 2 << 20;

/// An array of `count` values, made by `new` from their numbers. A large one is in huge pages where
/// the system has some: random accesses to a table of gigabytes otherwise wait for the page tables,
/// too.
pub(crate) fn array<T>(count: usize, new: impl FnMut(usize) -> T) -> Box<[T]> {
    let mut values = Vec::with_capacity(count);
    request_huge_pages(values.spare_capacity_mut());
    values.extend((0..count).map(new));
    values.into_boxed_slice()
}

/// Requests huge pages for memory that was not written yet: pages that are there stay small.
#[cfg(all(target_os = "linux", not(miri)))]
fn request_huge_pages<T>(memory: &mut [std::mem::MaybeUninit<T>]) {
    use rustix::mm::{madvise, Advice};

    let start = memory.as_mut_ptr().cast::<u8>();
    let skipped = start.align_offset(HUGE_PAGE);
    let whole = size_of_val(memory).saturating_sub(skipped) / HUGE_PAGE * HUGE_PAGE;
    if whole == 0 {
        return;
    }
    // SAFETY: the pages lie within `memory`, which is borrowed exclusively, and the advice neither
    // changes nor discards their contents. A kernel without huge pages refuses, which does no harm.
    let _ = unsafe {
        madvise(
            start.wrapping_add(skipped).cast(),
            whole,
            Advice::LinuxHugepage,
        )
    };
}

#[cfg(not(all(target_os = "linux", not(miri))))]
fn request_huge_pages<T>(_memory: &mut [std::mem::MaybeUninit<T>]) {}

/// The size of a cache line.
const LINE: usize = 64;

/// Prefetches the cache line where a value begins; a no-op on unsupported architectures.
#[inline(always)]
pub fn prefetch<T>(value: &T) {
    prefetch_line(std::ptr::from_ref(value).cast());
}

/// Prefetches all cache lines of a value.
#[inline(always)]
pub(crate) fn prefetch_all<T>(value: &T) {
    let start = std::ptr::from_ref(value).cast::<u8>();
    for offset in (0..size_of::<T>()).step_by(LINE) {
        prefetch_line(start.wrapping_add(offset));
    }
    prefetch_line(start.wrapping_add(size_of::<T>().saturating_sub(1)));
}

#[inline(always)]
fn prefetch_line(address: *const u8) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        use std::arch::x86_64::{_mm_prefetch, _MM_HINT_T0};
        // SAFETY: SSE, which all such processors have; a hint reads nothing that is visible to the
        // program, and does not fault, whatever the address is.
        #[allow(unused_unsafe, reason = "newer compilers know that it is safe")]
        unsafe {
            _mm_prefetch::<_MM_HINT_T0>(address.cast());
        }
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = address;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_of_any_size_hold_their_values() {
        for count in [0, 1, 1000, (5 << 20) / 8 + 3] {
            let values = array(count, |number| number as u64);
            assert_eq!(values.len(), count);
            assert!(values
                .iter()
                .enumerate()
                .all(|(at, &value)| at as u64 == value));
        }
    }

    /// Hints change nothing, also for values that end with a page.
    #[test]
    fn hints_do_no_harm() {
        let values = array(4096, |number| [number as u8; 240]);
        values.iter().for_each(prefetch_all);
        values.iter().for_each(prefetch);
        assert!(values
            .iter()
            .enumerate()
            .all(|(at, value)| value[239] == at as u8));
    }
}
