// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Types.

/// The widest integer and the longest varbit.
pub(crate) const MAX_WIDTH: u32 = 32 << 10;
