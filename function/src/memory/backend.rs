// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `vm-memory`'s traits for memory as seen by a queue.

use std::iter::FusedIterator;

use vm_memory::guest_memory::GuestMemorySliceIterator;
use vm_memory::{GuestAddress, GuestMemoryError, GuestMemoryResult, Permissions, VolatileSlice};

use super::{Dma, GuestMemory, Regions, Request};

/// The contiguous pieces of an access, of which `done` bytes have been returned.
pub struct Pieces<'a, D> {
    dma: &'a D,
    request: Request,
    done: usize,
}

impl<'a, D: Dma> Pieces<'a, D> {
    /// The pieces of a range, for an access that is not refused as a whole.
    ///
    /// # Errors
    /// Fails when the access must not be performed in part, and is not permitted.
    pub fn new(
        dma: &'a D,
        at: GuestAddress,
        len: usize,
        access: Permissions,
    ) -> GuestMemoryResult<Self> {
        if access == Permissions::ReadWrite {
            Self::new(dma, at, len, Permissions::Read)?.try_for_each(|piece| piece.map(drop))?;
        }
        let request = Request {
            iova: at.0,
            len,
            write: access.has_write(),
        };
        if request.write {
            dma.check(request)?;
        }
        Ok(Self {
            dma,
            request,
            done: 0,
        })
    }

    /// Returns whether a range permits an access.
    pub fn permit(dma: &'a D, at: GuestAddress, len: usize, access: Permissions) -> bool {
        [Permissions::Read, Permissions::Write]
            .into_iter()
            .filter(|&one| access.allow(one))
            .all(|one| Self::new(dma, at, len, one).is_ok_and(|mut all| all.all(|p| p.is_ok())))
    }
}

impl<'a, D: Dma> Iterator for Pieces<'a, D> {
    type Item = GuestMemoryResult<VolatileSlice<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done == self.request.len {
            return None;
        }
        Some(
            match self
                .dma
                .with_piece(self.request.after(self.done), |piece| piece)
            {
                Ok(piece) => {
                    self.done += piece.len();
                    Ok(piece)
                }
                Err(cause) => {
                    let fault = self.dma.fault(self.request, self.done, cause);
                    self.done = self.request.len;
                    Err(GuestMemoryError::from(fault))
                }
            },
        )
    }
}

impl<D: Dma> FusedIterator for Pieces<'_, D> {}

impl<'a, D: Dma> GuestMemorySliceIterator<'a, ()> for Pieces<'a, D> {}

impl vm_memory::GuestMemory for GuestMemory {
    type PhysicalMemory = Regions;
    type Bitmap = ();

    fn check_range(&self, at: GuestAddress, len: usize, access: Permissions) -> bool {
        Pieces::permit(self, at, len, access)
    }

    fn get_slices<'a>(
        &'a self,
        at: GuestAddress,
        len: usize,
        access: Permissions,
    ) -> GuestMemoryResult<impl GuestMemorySliceIterator<'a, ()>> {
        Pieces::new(self, at, len, access)
    }
}
