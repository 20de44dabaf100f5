// SPDX-License-Identifier: GPL-2.0

//! Numbers that identify things, each kind with a type of its own. Free of kernel dependencies, so
//! that the host tests compile the same source.

/// Defines types of numbers.
macro_rules! ids {
    ($($(#[$meta:meta])* $name:ident($number:ty);)*) => {$(
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) struct $name(pub(crate) $number);
    )*};
}

ids! {
    /// Id of an ADI in messages to the device, and in cause rings. It is unique in a function while
    /// the ADI exists, and differs from the `N` of `adit.adi.N` ([`AuxId`]).
    AdiId(u16);
    /// Id of an auxiliary device, the `N` of `adit.adi.N`: unique in the system, and not reused.
    AuxId(u32);
    /// Id of a vport in messages to the device.
    VportId(u32);
    /// Process Address Space ID.
    Pasid(u32);
    /// Id of a queue in messages to the device: unique in a function among queues of a type. An
    /// ADI's own numbers for its queues, from 0, are plain integers.
    QueueId(u32);
    /// Vector of an ADI, from 0; the device delivers it through a cause ring.
    AdiVector(u16);
    /// MSI-X vector of the function, from 0.
    MsixVector(u16);
    /// Id of a cause ring of the function, from 0.
    CauseRingId(u16);
    /// Index of a devlink port.
    PortIndex(u32);
    /// devlink's `sfnum` of a port.
    SfNum(u32);
}
