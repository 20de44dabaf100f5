// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Numbers of the things that frames meet, as types that cannot be mixed up.

pub use adit_function::ids::{AdiId, VectorId, VectorMapping, VportId};
use adit_pipeline::p4::{Direction, FIRST_HOST_PORT};

/// The index of a wire, in the order of the command line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WireIndex(pub u32);

impl WireIndex {
    /// The index as a `usize`.
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }

    /// The wire of a virtual port of the PF, which has its number.
    #[must_use]
    pub fn of_pf(vport: VportId) -> Self {
        Self(vport.0)
    }

    /// The PF's virtual port on the wire.
    #[must_use]
    pub fn pf(self) -> VportId {
        VportId(self.0)
    }
}

/// The number of a queue among those of its kind, device-wide.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QueueIndex(pub u32);

impl QueueIndex {
    /// The number as an index.
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// A port in the numbers of a P4 program: wires, virtual ports from
/// [`FIRST_HOST_PORT`] on, and two special ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct P4Port(pub u32);

impl P4Port {
    /// The device's embedded switch.
    pub const SWITCH: Self = Self(0xFFF0);
    /// The control plane.
    pub const CPU: Self = Self(0xFFFF_FFFD);

    /// The port of a wire.
    #[must_use]
    pub fn of_wire(wire: WireIndex) -> Self {
        Self(wire.0)
    }

    /// The port of a virtual port.
    #[must_use]
    pub fn of_vport(vport: VportId) -> Self {
        Self(FIRST_HOST_PORT + vport.0)
    }

    /// The virtual port with this number, which may not exist; `None` below those numbers.
    #[must_use]
    pub fn vport(self) -> Option<VportId> {
        self.0.checked_sub(FIRST_HOST_PORT).map(VportId)
    }

    /// The direction of a frame that enters at this port.
    #[must_use]
    pub fn direction(self) -> Direction {
        match self.0 < FIRST_HOST_PORT {
            true => Direction::NetToHost,
            false => Direction::HostToNet,
        }
    }
}
