// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Parsing of messages: every access is checked against the length of the payload. Bytes beyond
//! those that a message announces are ignored, so that a longer struct of a later version is
//! understood.

use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::Refusal;

/// The struct at the start of a payload, and the bytes that follow it.
pub(super) fn header<T>(payload: &[u8]) -> Result<(&T, &[u8]), Refusal>
where
    T: FromBytes + KnownLayout + Immutable + Unaligned,
{
    T::ref_from_prefix(payload).map_err(|_| Refusal::Truncated)
}

/// The `count` elements that follow a header. A count of 0 is not a valid request.
pub(super) fn elements<T>(rest: &[u8], count: impl Into<u32>) -> Result<&[T], Refusal>
where
    T: FromBytes + KnownLayout + Immutable + Unaligned,
{
    let count = count.into();
    if count == 0 {
        return Err(Refusal::BadField);
    }
    let count = usize::try_from(count).map_err(|_| Refusal::Truncated)?;
    <[T]>::ref_from_prefix_with_elems(rest, count)
        .map(|(elements, _)| elements)
        .map_err(|_| Refusal::Truncated)
}
