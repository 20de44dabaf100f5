// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Allocation of interrupt vectors.

use adit_uapi::virtchnl2::{AllocVectors, VectorChunk, VectorChunks};
use zerocopy::little_endian::{U16, U32};
use zerocopy::IntoBytes;

use super::queue_set::first_run;
use super::{wire, Control, Refusal};
use crate::dataplane::DataPlane;
use crate::layout::RegisterLayout;

/// The vectors allocated to the driver. Vector 0 is the mailbox's and is never allocated.
#[derive(Debug)]
pub(super) struct Vectors {
    taken: Vec<bool>,
}

impl Vectors {
    /// Creates `count` vectors including the mailbox's; all others are free.
    pub(super) fn new(count: u16) -> Self {
        let mut taken = vec![false; usize::from(count)];
        if let Some(mailbox) = taken.first_mut() {
            *mailbox = true;
        }
        Self { taken }
    }

    /// Returns whether queues may be mapped to a vector.
    pub(super) fn allocated(&self, vector: u16) -> bool {
        vector != 0
            && self
                .taken
                .get(usize::from(vector))
                .is_some_and(|&taken| taken)
    }

    /// The number of vectors, including the mailbox's.
    pub(super) fn count(&self) -> usize {
        self.taken.len()
    }

    /// The vectors that are allocated to the driver.
    pub(super) fn all_allocated(&self) -> impl Iterator<Item = u16> + '_ {
        (0..)
            .zip(&self.taken)
            .skip(1)
            .filter_map(|(vector, &taken)| taken.then_some(vector))
    }

    /// Allocates a vector below [`count`](Self::count).
    pub(super) fn allocate(&mut self, vector: u16) {
        if let Some(taken) = self.taken.get_mut(usize::from(vector)) {
            *taken = true;
        }
    }

    /// The vectors of a chunk, all of which must be allocated to the driver.
    fn range(&self, chunk: &VectorChunk) -> Result<std::ops::Range<u16>, Refusal> {
        let (start, count) = (chunk.start_vector_id.get(), chunk.num_vectors.get());
        let end = start.checked_add(count).ok_or(Refusal::OutOfRange)?;
        if count == 0 {
            return Err(Refusal::BadField);
        }
        match (start..end).all(|vector| self.allocated(vector)) {
            true => Ok(start..end),
            false => Err(Refusal::NotAllocated),
        }
    }
}

impl Control {
    pub(super) fn alloc_vectors(
        &mut self,
        payload: &[u8],
        reply: &mut Vec<u8>,
    ) -> Result<(), Refusal> {
        let count = wire::header::<AllocVectors>(payload)?.0.num_vectors;
        if count.get() == 0 {
            return Err(Refusal::BadField);
        }
        let taken = &mut self.vectors.taken;
        let want = usize::from(count.get());
        let start = first_run(taken, want, |&taken| !taken).ok_or(Refusal::NoRoom)?;
        taken[start..start + want].fill(true);
        let chunks = chunks(self.profile.layout(), start as u16, count.get());
        let granted = AllocVectors {
            num_vectors: count,
            vchunks: VectorChunks {
                num_vchunks: U16::new(chunks.len() as u16),
                ..VectorChunks::default()
            },
            ..AllocVectors::default()
        };
        reply.extend_from_slice(granted.as_bytes());
        reply.extend_from_slice(chunks.as_bytes());
        Ok(())
    }

    pub(super) fn dealloc_vectors(
        &mut self,
        payload: &[u8],
        dp: &mut impl DataPlane,
    ) -> Result<(), Refusal> {
        let (header, rest) = wire::header::<VectorChunks>(payload)?;
        let chunks = wire::elements::<VectorChunk>(rest, header.num_vchunks.get())?;
        for chunk in chunks {
            self.vectors.range(chunk)?;
        }
        for chunk in chunks {
            // A chunk that is listed twice has already been freed.
            let Ok(vectors) = self.vectors.range(chunk) else {
                continue;
            };
            for vector in vectors {
                self.vectors.taken[usize::from(vector)] = false;
                self.adis.remove_rings_of(vector, dp);
                for vport in self.vports.iter_mut().flatten() {
                    vport.queues.unmap(|used| used == vector, dp);
                }
            }
        }
        Ok(())
    }
}

/// The chunks for vectors: one for each run whose registers are at regular intervals. That is one in
/// all, except with several ADIs.
fn chunks(layout: RegisterLayout, start: u16, count: u16) -> Vec<VectorChunk> {
    let follows = |vector: u16| {
        let at = |vector: u16| layout.dyn_ctl(vector.into());
        let previous = vector.checked_sub(1).and_then(at);
        previous.map(|previous| previous + layout.dyn_ctl_spacing()) == at(vector)
    };
    let mut chunks = Vec::new();
    let mut first = start;
    for vector in start + 1..=start + count {
        if vector == start + count || !follows(vector) {
            chunks.push(chunk(layout, first, vector - first));
            first = vector;
        }
    }
    chunks
}

fn chunk(layout: RegisterLayout, start: u16, count: u16) -> VectorChunk {
    let vector = u32::from(start);
    // Profile::new keeps all vectors inside of the layout.
    VectorChunk {
        start_vector_id: U16::new(start),
        num_vectors: U16::new(count),
        dynctl_reg_start: U32::new(layout.dyn_ctl(vector).unwrap_or_default()),
        dynctl_reg_spacing: U32::new(layout.dyn_ctl_spacing()),
        itrn_reg_start: U32::new(layout.itr(vector, 0).unwrap_or_default()),
        itrn_reg_spacing: U32::new(layout.itr_spacing()),
        itrn_index_spacing: U32::new(layout.itr_index_spacing()),
        ..VectorChunk::default()
    }
}
