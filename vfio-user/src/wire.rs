// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The fixed part of each message's payload, in its wire format.
//!
//! The size of a structure of `linux/vfio.h` is checked against the kernel's.

use vfio_bindings::bindings::vfio;
use zerocopy::native_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

macro_rules! wire {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $ty:ty),* $(,)? }) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, Default, PartialEq, Eq,
            FromBytes, IntoBytes, Immutable, KnownLayout,
        )]
        #[repr(C)]
        #[allow(missing_docs)] // The fields are the specification's.
        pub struct $name { $($(#[$field_doc])* pub $field: $ty),* }

        impl $name {
            /// The size on the wire in bytes.
            pub const SIZE: usize = size_of::<Self>();
        }
    };
}

wire!(
    /// `VFIO_USER_VERSION`, request and reply; JSON ending in a NUL may follow.
    Version { major: u16, minor: u16 }
);
wire!(
    /// `VFIO_USER_DMA_MAP`.
    DmaMap { argsz: u32, flags: u32, offset: u64, address: u64, size: u64 }
);
wire!(
    /// `VFIO_USER_DMA_UNMAP`, request and reply.
    DmaUnmap { argsz: u32, flags: u32, address: u64, size: u64 }
);
wire!(
    /// `VFIO_USER_DEVICE_GET_INFO`, request and reply.
    DeviceInfo { argsz: u32, flags: u32, num_regions: u32, num_irqs: u32 }
);
wire!(
    /// `VFIO_USER_DEVICE_GET_REGION_INFO`, request and reply; capabilities may follow in the reply.
    RegionInfo { argsz: u32, flags: u32, index: u32, cap_offset: u32, size: u64, offset: u64 }
);
wire!(
    /// The header of the capability that lists a region's mappable areas
    /// (`vfio_region_info_cap_sparse_mmap`); `nr_areas` [`SparseArea`]s follow.
    SparseMmap { id: u16, version: u16, next: u32, nr_areas: u32, reserved: u32 }
);
wire!(
    /// `vfio_region_sparse_mmap_area`.
    SparseArea { offset: u64, size: u64 }
);
wire!(
    /// `VFIO_USER_DEVICE_GET_IRQ_INFO`, request and reply.
    IrqInfo { argsz: u32, flags: u32, index: u32, count: u32 }
);
wire!(
    /// `VFIO_USER_DEVICE_SET_IRQS`; one byte for each interrupt may follow.
    IrqSet { argsz: u32, flags: u32, index: u32, start: u32, count: u32 }
);
wire!(
    /// `VFIO_USER_REGION_READ` and `_WRITE`, request and reply; data may follow.
    RegionAccess { offset: u64, region: u32, count: u32 }
);
wire!(
    /// `VFIO_USER_REGION_WRITE_MULTI`, request and reply; [`WriteOne`]s follow in the request.
    WriteMulti { wr_cnt: u64 }
);
wire!(
    /// `VFIO_USER_DEVICE_FEATURE`, request and reply; the feature's data follows.
    DeviceFeature { argsz: u32, flags: u32 }
);
wire!(
    /// The data of `VFIO_DEVICE_FEATURE_MIGRATION`.
    FeatureMigration { flags: u64 }
);
wire!(
    /// The data of `VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE`; `data_fd` is not used in vfio-user.
    FeatureMigState { device_state: u32, data_fd: u32 }
);
wire!(
    /// The data of `VFIO_DEVICE_FEATURE_MIG_DATA_SIZE`.
    FeatureMigDataSize { stop_copy_length: u64 }
);
wire!(
    /// The data of `VFIO_DEVICE_FEATURE_DMA_LOGGING_START`; `num_ranges` [`LoggingRange`]s follow.
    LoggingControl { page_size: u64, num_ranges: u32, reserved: u32 }
);
wire!(
    /// A range in `VFIO_DEVICE_FEATURE_DMA_LOGGING_START`.
    LoggingRange { iova: u64, length: u64 }
);
wire!(
    /// The data of `VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT`; the bitmap follows in the reply.
    LoggingReport { iova: u64, length: u64, page_size: u64 }
);
wire!(
    /// `VFIO_USER_MIG_DATA_READ` and `_WRITE`; data follows in the reply of the first and the request
    /// of the second.
    MigData { argsz: u32, size: u32 }
);
/// One of the writes in a `VFIO_USER_REGION_WRITE_MULTI`. It is read directly from the payload, so
/// its fields need no alignment.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
    Unaligned,
)]
#[repr(C)]
pub struct WriteOne {
    /// The offset from the region's start.
    pub offset: U64,
    /// The region's index.
    pub region: U32,
    /// The number of bytes of `data` that are written, 1 to 8.
    pub count: U32,
    /// The data, beginning with its first byte.
    pub data: [u8; 8],
}

impl WriteOne {
    /// The size on the wire in bytes.
    pub const SIZE: usize = size_of::<Self>();

    /// Returns the region, offset and length in the form of a single write.
    pub fn access(&self) -> RegionAccess {
        RegionAccess {
            offset: self.offset.get(),
            region: self.region.get(),
            count: self.count.get(),
        }
    }
}

const _: () = {
    // vfio_device_info has grown since; vfio-user uses its first 16 bytes.
    assert!(DeviceInfo::SIZE == 16);
    assert!(RegionInfo::SIZE == size_of::<vfio::vfio_region_info>());
    assert!(IrqInfo::SIZE == size_of::<vfio::vfio_irq_info>());
    assert!(IrqSet::SIZE == size_of::<vfio::vfio_irq_set>());
    assert!(SparseMmap::SIZE == size_of::<vfio::vfio_info_cap_header>() + 2 * size_of::<u32>());
    assert!(SparseArea::SIZE == size_of::<vfio::vfio_region_sparse_mmap_area>());
    assert!(DmaMap::SIZE == 32 && DmaUnmap::SIZE == 24 && RegionAccess::SIZE == 16);
    assert!(WriteOne::SIZE == 24);
    assert!(FeatureMigration::SIZE == size_of::<vfio::vfio_device_feature_migration>());
    assert!(FeatureMigState::SIZE == size_of::<vfio::vfio_device_feature_mig_state>());
    assert!(LoggingRange::SIZE == size_of::<vfio::vfio_device_feature_dma_logging_range>());
    // In the kernel's two structures a pointer follows, here the data itself.
    assert!(LoggingControl::SIZE + 8 == size_of::<vfio::vfio_device_feature_dma_logging_control>());
    assert!(LoggingReport::SIZE + 8 == size_of::<vfio::vfio_device_feature_dma_logging_report>());
    assert!(DeviceFeature::SIZE == 8 && MigData::SIZE == 8);
};
