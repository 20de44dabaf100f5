// SPDX-License-Identifier: Apache-2.0 OR MIT
//! IOMMU tables as a guest writes them, for tests.

use std::collections::BTreeMap;

use zerocopy::little_endian::U64;

use super::vtd;
use super::walk::{Rights, Stage};
use super::Root;
use crate::memory::{Dma, GuestMemory};

const PAGE: u64 = 0x1000;
/// The size of the PASID directory: 2^(3 + 7) entries, for 65,536 PASIDs.
const DIRECTORY_SIZE: u64 = 3;
/// The PASID for the function's own requests.
const RID_PASID: u64 = 0;

/// Read and write access.
pub const READ_WRITE: Rights = Rights {
    read: true,
    write: true,
};
/// Read-only access.
pub const READ_ONLY: Rights = Rights {
    read: true,
    write: false,
};

/// Tables in guest memory, for one function. Panics if the memory for tables is exhausted.
pub struct GuestTables {
    next: u64,
    end: u64,
    directory: u64,
    requester: u16,
    root: u64,
    spaces: BTreeMap<u32, (Stage, u32, u64)>,
}

impl GuestTables {
    /// Tables for `requester`, whose own requests are passed through, in the `len` bytes from
    /// `base` on.
    #[must_use]
    pub fn new(memory: &GuestMemory, base: u64, len: u64, requester: u16) -> Self {
        let mut tables = Self {
            next: base,
            end: base + len,
            directory: 0,
            requester,
            root: 0,
            spaces: BTreeMap::new(),
        };
        tables.root = tables.page();
        let context = tables.page();
        tables.directory = tables.page();
        // 1,024 entries fill two pages.
        tables.page();
        let (bus, function) = (u64::from(requester >> 8), u64::from(requester & 0xFF));
        let root_entry = tables.root + bus * vtd::ROOT_ENTRY_LEN + (function >> 7) * 8;
        store(memory, root_entry, context | vtd::PRESENT);
        let context_entry = context + (function & 0x7F) * vtd::CONTEXT_ENTRY_LEN;
        let flags = vtd::PRESENT | vtd::CONTEXT_PASIDE | DIRECTORY_SIZE << vtd::CONTEXT_PDTS_SHIFT;
        store(memory, context_entry, tables.directory | flags);
        store(memory, context_entry + 8, RID_PASID);
        let own = tables.entry(memory, RID_PASID as u32);
        let passed = u64::from(vtd::PGTT_PASS_THROUGH) << vtd::PASID_PGTT_SHIFT;
        store(memory, own, passed | vtd::PRESENT);
        tables
    }

    /// The location of the tables, for the device.
    #[must_use]
    pub fn root(&self) -> Root {
        Root {
            table: self.root,
            requester: self.requester,
        }
    }

    /// Attaches an empty page table at a PASID.
    pub fn attach(&mut self, memory: &GuestMemory, pasid: u32, stage: Stage, levels: u32) {
        let top = self.page();
        let at = self.entry(memory, pasid);
        match stage {
            Stage::First => {
                let mode = u64::from(levels - 4) << vtd::PASID_FSPM_SHIFT;
                store(memory, at + 16, top | mode | 1);
                let kind = u64::from(vtd::PGTT_FIRST_STAGE) << vtd::PASID_PGTT_SHIFT;
                store(memory, at, kind | vtd::PRESENT);
            }
            Stage::Second => {
                let width = u64::from(levels - 2) << vtd::PASID_AW_SHIFT;
                let kind = u64::from(vtd::PGTT_SECOND_STAGE) << vtd::PASID_PGTT_SHIFT;
                store(memory, at, top | width | kind | vtd::PRESENT);
            }
        }
        self.spaces.insert(pasid, (stage, levels, top));
    }

    /// Removes a PASID's entry.
    pub fn detach(&mut self, memory: &GuestMemory, pasid: u32) {
        let at = self.entry(memory, pasid);
        store(memory, at, 0);
        self.spaces.remove(&pasid);
    }

    /// Maps a page: of 4 KiB at level 1, 2 MiB at level 2, 1 GiB at level 3.
    pub fn map_at(
        &mut self,
        memory: &GuestMemory,
        pasid: u32,
        iova: u64,
        physical: u64,
        rights: Rights,
        level: u32,
    ) {
        let (stage, _, _) = self.spaces[&pasid];
        let at = self.leaf(memory, pasid, iova, level);
        let large = if level > 1 { vtd::PAGE_LARGE } else { 0 };
        store(memory, at, physical | large | bits(stage, rights));
    }

    /// Maps a page of 4 KiB.
    pub fn map(
        &mut self,
        memory: &GuestMemory,
        pasid: u32,
        iova: u64,
        physical: u64,
        rights: Rights,
    ) {
        self.map_at(memory, pasid, iova, physical, rights, 1);
    }

    /// Unmaps a page of 4 KiB.
    pub fn unmap(&mut self, memory: &GuestMemory, pasid: u32, iova: u64) {
        let at = self.leaf(memory, pasid, iova, 1);
        store(memory, at, 0);
    }

    /// Allocates a page. It is zeroed, as all memory is initially.
    pub fn page(&mut self) -> u64 {
        assert!(self.next < self.end, "no memory for tables");
        self.next += PAGE;
        self.next - PAGE
    }

    /// The address of a PASID's entry; its table is allocated if needed.
    pub fn entry(&mut self, memory: &GuestMemory, pasid: u32) -> u64 {
        let at = self.directory + u64::from(pasid >> vtd::PASID_DIRECTORY_SHIFT) * 8;
        let table = self.below(memory, at, vtd::PRESENT);
        table + u64::from(pasid & 63) * vtd::PASID_ENTRY_LEN
    }

    /// The address of the entry for `iova` at a level.
    pub fn leaf(&mut self, memory: &GuestMemory, pasid: u32, iova: u64, level: u32) -> u64 {
        let (stage, levels, mut table) = self.spaces[&pasid];
        for above in (level + 1..=levels).rev() {
            let at = table + index(iova, above) * 8;
            table = self.below(memory, at, bits(stage, READ_WRITE));
        }
        table + index(iova, level) * 8
    }

    /// The table that an entry points to, allocated if there is none.
    fn below(&mut self, memory: &GuestMemory, at: u64, flags: u64) -> u64 {
        let entry = memory.read_obj::<U64>(at).expect("a table").get();
        if entry != 0 {
            return entry & vtd::ADDRESS;
        }
        let table = self.page();
        store(memory, at, table | flags);
        table
    }
}

fn index(iova: u64, level: u32) -> u64 {
    iova >> (12 + 9 * (level - 1)) & 511
}

fn bits(stage: Stage, rights: Rights) -> u64 {
    let pick = |yes, bit| if yes { bit } else { 0 };
    match stage {
        Stage::First => vtd::PRESENT | vtd::FIRST_USER | pick(rights.write, vtd::FIRST_WRITE),
        Stage::Second => {
            pick(rights.read, vtd::SECOND_READ) | pick(rights.write, vtd::SECOND_WRITE)
        }
    }
}

/// Writes a word of a table.
///
/// # Panics
/// Panics when the address is not in guest memory.
pub fn store(memory: &GuestMemory, at: u64, word: u64) {
    memory.write_obj(at, &U64::new(word)).expect("guest memory");
}
