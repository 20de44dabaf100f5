// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Memory prefetching.

/// Prefetches the cache line where a value begins; a no-op on unsupported architectures.
#[inline]
pub(in crate::p4) fn prefetch<T>(value: &T) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        use std::arch::x86_64::{_mm_prefetch, _MM_HINT_T0};
        // SAFETY: SSE, which all such processors have; a hint reads nothing that is visible to the
        // program, and does not fault.
        #[allow(unused_unsafe, reason = "newer compilers know that it is safe")]
        unsafe {
            _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(value).cast());
        }
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = value;
}
