// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The places of the members' queues, vectors and doorbell pages in their group.

use std::ops::Range;

use adit_function::dataplane::QueueKind;
use adit_function::doorbells::Run;

use super::{Runs, KINDS};
use crate::backend::Ids;

/// The resources of a member among those of its group.
#[derive(Clone, Debug)]
struct Part {
    ids: Ids,
    pairs: Range<u32>,
    vectors: Range<u16>,
}

/// The members, in their order.
#[derive(Clone, Debug)]
pub(super) struct Parts(Vec<Part>);

/// Queues, or vectors, of one member, by their ids in messages to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Share<T> {
    pub(super) member: usize,
    pub(super) first: T,
    pub(super) count: T,
}

/// The number of queues of a kind in a pair.
fn each(kind: QueueKind) -> u32 {
    match kind {
        QueueKind::RxBuffer => 2,
        QueueKind::Tx | QueueKind::Rx | QueueKind::TxCompletion => 1,
    }
}

impl Parts {
    /// The places of ADIs: the ids of each, and its numbers of pairs and vectors.
    pub(super) fn new(adis: impl Iterator<Item = (Ids, u16, u16)>) -> Self {
        let (mut pair, mut vector) = (0, 0_u16);
        let part = |(ids, pairs, vectors): (Ids, u16, u16)| {
            let (first_pair, first_vector) = (pair, vector);
            pair += u32::from(pairs);
            vector = vector.saturating_add(vectors);
            Part {
                ids,
                pairs: first_pair..pair,
                vectors: first_vector..vector,
            }
        };
        Self(adis.map(part).collect())
    }

    /// The ids of a member, which exists.
    pub(super) fn ids(&self, member: usize) -> Ids {
        self.0[member].ids
    }

    /// All members.
    pub(super) fn members(&self) -> Range<usize> {
        0..self.0.len()
    }

    /// The member that has a queue of the group, and the queue's id in messages to it.
    pub(super) fn queue(&self, kind: QueueKind, queue: u32) -> Option<(usize, u32)> {
        let shares = self.queues(kind, queue, 1)?;
        shares.first().map(|share| (share.member, share.first))
    }

    /// The member that has a vector of the group, and its number there.
    pub(super) fn vector(&self, vector: u16) -> Option<(usize, u16)> {
        let shares = self.vectors(vector, 1)?;
        shares.first().map(|share| (share.member, share.first))
    }

    /// The shares of the members in a range of queues; `None` unless all of them exist.
    pub(super) fn queues(
        &self,
        kind: QueueKind,
        first: u32,
        count: u32,
    ) -> Option<Vec<Share<u32>>> {
        let each = each(kind);
        let end = first.checked_add(count)?;
        let mut shares = Vec::new();
        let mut next = first;
        for (member, part) in self.0.iter().enumerate() {
            let (start, stop) = (part.pairs.start * each, part.pairs.end * each);
            let own = next.max(start)..end.min(stop);
            if !own.is_empty() {
                let base = part.ids.first_queues[kind as usize];
                shares.push(Share {
                    member,
                    first: base.checked_add(own.start - start)?,
                    count: own.end - own.start,
                });
                next = own.end;
            }
        }
        (next == end && count > 0).then_some(shares)
    }

    /// The shares of the members in a range of vectors; `None` unless all of them exist.
    pub(super) fn vectors(&self, first: u16, count: u16) -> Option<Vec<Share<u16>>> {
        let end = first.checked_add(count)?;
        let mut shares = Vec::new();
        let mut next = first;
        for (member, part) in self.0.iter().enumerate() {
            let own = next.max(part.vectors.start)..end.min(part.vectors.end);
            if !own.is_empty() {
                shares.push(Share {
                    member,
                    first: own.start - part.vectors.start,
                    count: own.end - own.start,
                });
                next = own.end;
            }
        }
        (next == end && count > 0).then_some(shares)
    }

    fn pairs(&self) -> u32 {
        self.0.last().map_or(0, |part| part.pairs.end)
    }

    /// The number of doorbell pages of all members.
    pub(super) fn pages(&self) -> u32 {
        let vectors = self.0.last().map_or(0, |part| part.vectors.end);
        3 * self.pairs() + u32::from(vectors)
    }

    /// The pages of the members in the order of the group's file: all TX tails, the tails of all buffer
    /// queues, all vectors. Each range is of a member's own pages.
    pub(super) fn own_pages(&self) -> impl Iterator<Item = (usize, Range<u32>)> + '_ {
        let of_kind = |kind: usize| {
            self.runs().enumerate().map(move |(member, runs)| {
                let first = runs[..kind].iter().map(|run| run.pages).sum();
                (member, first..first + runs[kind].pages)
            })
        };
        (0..KINDS).flat_map(of_kind)
    }

    /// The places of the pages of each member in the file of the group: its TX tails, the tails of its
    /// buffer queues, its vectors.
    pub(super) fn runs(&self) -> impl Iterator<Item = Runs> + '_ {
        let pairs = self.pairs();
        self.0.iter().map(move |part| {
            let own = part.pairs.end - part.pairs.start;
            let run = |pages, at| Run { pages, at };
            [
                run(own, part.pairs.start),
                run(2 * own, pairs + 2 * part.pairs.start),
                run(
                    u32::from(part.vectors.end - part.vectors.start),
                    3 * pairs + u32::from(part.vectors.start),
                ),
            ]
        })
    }
}
