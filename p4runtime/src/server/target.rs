// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The target of reads and updates, and indices in arrays.

use tonic::Code;

use super::digests::Digests;
use super::fault::{Fault, Result};
use super::pipeline::Pipeline;
use crate::proto::v1::{self, update::Type};

/// The target of reads and updates.
#[derive(Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) pipeline: &'a Pipeline,
    pub(crate) digests: &'a Digests,
    /// The role that writes; empty for the default role.
    pub(crate) role: &'a str,
    /// Set if entries may be written before those that they refer to; references are checked at the
    /// end.
    pub(crate) defers_references: bool,
    /// Set if reads of all entries of a table are for another engine: they leave out those that packets have
    /// added, and are in the order in which entries were added.
    pub(crate) hands_over: bool,
    pub(crate) now_ns: u64,
}

/// Rejects insertions and deletions of entities that always exist.
pub(crate) fn modified_only(kind: Type, what: &str) -> Result<()> {
    match kind {
        Type::Modify => Ok(()),
        _ => Err(Fault::invalid(format!(
            "type {} of {what}: they always exist, and take MODIFY only",
            kind.as_str_name()
        ))),
    }
}

/// Decodes an index.
pub(crate) fn index(index: v1::Index) -> Result<u64> {
    let index = index.index;
    u64::try_from(index).map_err(|_| Fault::invalid(format!("the index is {index}, below 0")))
}

/// Decodes an index of one element, or all, of that many.
pub(crate) fn range(wanted: Option<v1::Index>, size: u64) -> Result<std::ops::Range<u64>> {
    match wanted {
        None => Ok(0..size),
        Some(at) => match index(at)? {
            at if at < size => Ok(at..at + 1),
            at => Err(Fault::new(
                Code::OutOfRange,
                format!("the index is {at}: there are {size} elements, from 0"),
            )),
        },
    }
}
