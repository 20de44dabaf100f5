// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Numbers of virtual ports, ADIs and vectors, as types that cannot be mixed up.

use serde::{Deserialize, Serialize};

/// The id of a virtual port (`vport_id` of messages). Those of the function have the numbers of
/// their wires; those of ADIs follow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VportId(pub u32);

impl VportId {
    /// The id as an index.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// The id of an ADI of a function (`adi_id` of messages).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AdiId(pub u16);

impl AdiId {
    /// The id as an index.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// The number of an interrupt vector, device-wide: the function's own have their numbers in MSI-X;
/// those of ADIs follow.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
pub struct VectorId(pub u32);

impl VectorId {
    /// The number as an index.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// The vector `n` after this one.
    #[must_use]
    pub const fn nth(self, n: u16) -> Self {
        Self(self.0 + n as u32)
    }
}

impl From<u16> for VectorId {
    /// The vector with this number in MSI-X.
    fn from(number: u16) -> Self {
        Self(number.into())
    }
}

/// An interrupt: a vector, and the interval that throttles it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VectorMapping {
    /// The vector.
    pub vector: VectorId,
    /// The index of the throttling interval (ITR), 0 to 2; 3 for none.
    pub itr: u32,
}
