// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The layout of the tables of Intel VT-d (specification 5.0, chapters 9 and 11).

/// The root table address register (RTADDR_REG) of QEMU's IOMMU.
pub const RTADDR: u64 = 0xFED9_0020;

/// [`RTADDR`]: translation table mode.
pub const RTADDR_MODE_SHIFT: u32 = 10;
/// [`RTADDR`]: mask of the mode.
pub const RTADDR_MODE_MASK: u64 = 0x3;
/// [`RTADDR`]: scalable mode, the one with PASIDs.
pub const RTADDR_MODE_SCALABLE: u64 = 1;

/// The address of a table in any entry that points to one: bits 51:12.
pub const ADDRESS: u64 = 0x000F_FFFF_FFFF_F000;
/// Present, in all entries but those of second-stage page tables.
pub const PRESENT: u64 = 1 << 0;

/// Scalable-mode root entry: 16 bytes, the lower 8 for devices 0 to 15 of the bus, the upper 8
/// for 16 to 31 (9.1).
pub const ROOT_ENTRY_LEN: u64 = 16;

/// Scalable-mode context entry: 32 bytes (9.4).
pub const CONTEXT_ENTRY_LEN: u64 = 32;
/// Context entry, first word: requests with a PASID are translated.
pub const CONTEXT_PASIDE: u64 = 1 << 3;
/// Context entry, first word: the PASID directory has 2^(this + 7) entries.
pub const CONTEXT_PDTS_SHIFT: u32 = 9;
/// Context entry: mask of the directory's size.
pub const CONTEXT_PDTS_MASK: u64 = 0x7;
/// Context entry, second word: the PASID used for requests without one.
pub const CONTEXT_RID_PASID: u64 = 0xF_FFFF;

/// PASID directory entry: 8 bytes (9.5).
pub const PASID_DIRECTORY_ENTRY_LEN: u64 = 8;
/// The number of PASIDs that share a directory entry, as a shift.
pub const PASID_DIRECTORY_SHIFT: u32 = 6;

/// PASID table entry: 64 bytes (9.6).
pub const PASID_ENTRY_LEN: u64 = 64;
/// PASID entry, first word: number of second-stage levels, minus two (AW).
pub const PASID_AW_SHIFT: u32 = 2;
/// PASID entry, third word: number of first-stage levels, minus four (FSPM).
pub const PASID_FSPM_SHIFT: u32 = 2;
/// PASID entry, first word: translation type (PGTT).
pub const PASID_PGTT_SHIFT: u32 = 6;
/// PASID entry: first stage only.
pub const PGTT_FIRST_STAGE: u8 = 1;
/// PASID entry: second stage only.
pub const PGTT_SECOND_STAGE: u8 = 2;
/// PASID entry: no translation.
pub const PGTT_PASS_THROUGH: u8 = 4;

/// The number of entries of a page table, as a shift.
pub const PAGE_TABLE_SHIFT: u32 = 9;
/// First- and second-stage entries above the lowest level: the entry maps a large page.
pub const PAGE_LARGE: u64 = 1 << 7;
/// The highest level whose entries can map a page (1 GiB).
pub const PAGE_LARGE_MAX_LEVEL: u32 = 3;

/// First-stage entry: writable (9.7).
pub const FIRST_WRITE: u64 = 1 << 1;
/// First-stage entry: accessible to requests without privilege, which all of ours are.
pub const FIRST_USER: u64 = 1 << 2;

/// Second-stage entry: readable (9.8).
pub const SECOND_READ: u64 = 1 << 0;
/// Second-stage entry: writable.
pub const SECOND_WRITE: u64 = 1 << 1;
