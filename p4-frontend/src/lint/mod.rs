// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Warnings about programs that are right, but perhaps not what was meant.

mod quiet;

pub(crate) use quiet::Quiet;
