// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 OR MIT
//! Small messages.

use zerocopy::little_endian::{U16, U32, U64};

/// Major version of this protocol (virtchl2_version).
pub const VERSION_MAJOR_2: u32 = 2;
/// Minor version of this protocol (virtchl2_version).
pub const VERSION_MINOR_0: u32 = 0;

wire! {
    /// The sender's version (virtchnl2_version_info). The reply is never an error: the driver
    /// decides, and must not continue with another major version. [`super::op::VERSION`].
    pub struct VersionInfo [8] {
        /// See [`VERSION_MAJOR_2`].
        0 => major: U32,
        /// See [`VERSION_MINOR_0`].
        4 => minor: U32,
    }

    /// Earliest departure time (virtchnl2_edt_caps). [`super::op::GET_EDT_CAPS`].
    pub struct EdtCaps [16] {
        /// Unit of a timestamp in nanoseconds.
        0 => tstamp_granularity_ns: U64,
        /// Maximum time ahead that a packet can be scheduled, in nanoseconds.
        8 => time_horizon_ns: U64,
    }

    /// Number of VFs to enable; 0 for none (virtchnl2_sriov_vfs_info).
    /// [`super::op::SET_SRIOV_VFS`].
    pub struct SriovVfsInfo [4] {
        /// Number of VFs.
        0 => num_vfs: U16,
        /// Padding.
        2 => pad: U16,
    }

    /// Loopback (virtchnl2_loopback). [`super::op::LOOPBACK`].
    pub struct Loopback [8] {
        /// Id of the vport.
        0 => vport_id: U32,
        /// 1 to enable, 0 to disable.
        4 => enable: u8,
        /// Padding.
        5 => pad: [u8; 3],
    }

    /// A part of BAR0 (virtchnl2_mem_region).
    pub struct MemRegion [16] {
        /// Offset of its first byte.
        0 => start_offset: U64,
        /// Length in bytes.
        8 => size: U64,
    }

    /// The parts of BAR0 to map, followed by `num_memory_regions` × [`MemRegion`]
    /// (virtchnl2_get_lan_memory_regions). [`super::op::GET_LAN_MEMORY_REGIONS`].
    pub struct GetLanMemoryRegions [8] {
        /// Number of regions.
        0 => num_memory_regions: U16,
        /// Padding.
        2 => pad: [u8; 6],
    }
}
