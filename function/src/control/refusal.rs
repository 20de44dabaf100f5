// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The reasons for refusing a request.

use adit_uapi::virtchnl2::status;
use thiserror::Error;

macro_rules! refusals {
    ($($(#[$meta:meta])* $name:ident = $status:ident, $text:literal;)*) => {
        /// The reason why a request is refused; each maps to a status of the standard.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
        pub enum Refusal {
            $($(#[$meta])* #[error($text)] $name,)*
        }

        impl Refusal {
            /// All of them, in the order of their numbers.
            pub const ALL: [Self; [$(Self::$name),*].len()] = [$(Self::$name),*];

            /// The status in the reply (virtchnl2 `v_retval`).
            #[must_use]
            pub const fn status(self) -> u32 {
                match self {
                    $(Self::$name => status::$status,)*
                }
            }

            /// A short name, for counters.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                }
            }
        }
    };
}

refusals! {
    /// The opcode is unknown, or the request needs a capability that is not offered.
    NotOffered = ERR_ESRCH, "the opcode or the capability is not offered";
    /// An ADI is requested with a mailbox, or with vectors of the PF.
    NotForAdis = ERR_ESRCH, "an ADI has no mailbox and no vectors of the PF";
    /// The payload is shorter than its struct or than the elements that it announces.
    Truncated = ERR_EINVAL, "the payload is shorter than its header or its elements";
    /// A field has a value that the standard does not define, or that contradicts another field.
    BadField = ERR_EINVAL, "a field has an invalid value";
    /// A number is out of its range.
    OutOfRange = ERR_ERANGE, "a number is out of its range";
    /// There is no vport with that id.
    NoSuchVport = ERR_ENXIO, "there is no such vport";
    /// A vport with that index exists already.
    VportExists = ERR_EEXIST, "a vport with this index exists";
    /// A queue or vector is not allocated.
    NotAllocated = ERR_ENXIO, "a queue or vector is not allocated";
    /// A queue or PASID belongs to another vport, or the vport lacks the privilege.
    NotYours = ERR_EACCES, "a queue or PASID belongs to another vport, or the vport lacks the privilege";
    /// A queue is enabled and cannot be changed, or an ADI is in use whose group would be.
    Busy = ERR_EBUSY, "a queue is enabled, or an ADI of a group is in use";
    /// A queue is enabled before it is configured.
    OutOfOrder = ERR_ESM, "a queue is not configured";
    /// The state of an ADI is read or set that is not suspended.
    NotSuspended = ERR_ESM, "the ADI is not suspended";
    /// A log of writes is started of an ADI that has one.
    Logging = ERR_EBUSY, "the ADI has a log of writes";
    /// The log of writes is read of an ADI that has none.
    NoLog = ERR_ENXIO, "the ADI has no log of writes";
    /// The resource is exhausted.
    NoRoom = ERR_ENOSPC, "no resources are left";
    /// The address or PASID is in use by another vport or ADI, or an ADI belongs to another group.
    Taken = ERR_EEXIST, "the address, the PASID or the ADI is in use by another vport, ADI or group";
    /// The location of the IOMMU's tables is unknown.
    NoTables = ERR_EIO, "the location of the IOMMU's tables is unknown";
    /// The data plane returned an error.
    DataPlane = ERR_EIO, "the data plane returned an error";
}
