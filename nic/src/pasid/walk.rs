// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The table walk: from a requester and a PASID to a page table, and from an address to a page.

use super::vtd::{self, ADDRESS, PRESENT};
use super::{Pasid, Root, Table, TranslationFault};
use crate::memory::View;

/// The size of a page in bytes, as a shift.
pub const PAGE_SHIFT: u32 = 12;

/// A page table and its format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageTable {
    /// The guest-physical address of the top-level table.
    pub top: u64,
    /// The number of levels.
    pub levels: u32,
    /// The format of its entries.
    pub stage: Stage,
}

/// The stage of a page table, which determines the format of its entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// First stage, in the format of a CPU's page tables (PGTT 1).
    First,
    /// Second stage, in the format of a hypervisor's page tables (PGTT 2).
    Second,
}

/// The access rights of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rights {
    /// The device may read it.
    pub read: bool,
    /// The device may write it.
    pub write: bool,
}

impl Rights {
    const ALL: Self = Self {
        read: true,
        write: true,
    };

    /// Checks an access.
    ///
    /// # Errors
    /// Fails when it is not permitted.
    pub fn check(self, write: bool) -> Result<(), TranslationFault> {
        match if write { self.write } else { self.read } {
            true => Ok(()),
            false => Err(TranslationFault::Permission),
        }
    }
}

/// A page table of the lowest level and the rights granted by the levels above it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LowestTable {
    /// The table's guest-physical address.
    pub address: u64,
    /// The rights granted by the entries above.
    pub rights: Rights,
}

/// A translated page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// The guest-physical address of the 4 KiB page that contains the translated address.
    pub address: u64,
    /// The access rights of the page.
    pub rights: Rights,
}

/// The result of the walk through the levels above the lowest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Descent {
    /// A table of 4 KiB pages: [`lowest`] continues the walk.
    Table(LowestTable),
    /// A large page.
    Page(Page),
}

fn word(memory: &View<'_>, at: u64, table: Table) -> Result<u64, TranslationFault> {
    memory
        .read_u64(at)
        .map_err(|_| TranslationFault::Unreadable(table))
}

fn present(word: u64, table: Table) -> Result<u64, TranslationFault> {
    match word & PRESENT {
        0 => Err(TranslationFault::NotPresent(table)),
        _ => Ok(word),
    }
}

/// Finds the page table of a PASID.
///
/// # Errors
/// Fails when the tables do not contain one, or the function's own requests are not passed through.
pub fn resolve(memory: &View<'_>, root: Root, pasid: Pasid) -> Result<PageTable, TranslationFault> {
    let context = context(memory, root)?;
    let own = (word(memory, context + 8, Table::Context)? & vtd::CONTEXT_RID_PASID) as u32;
    let context = present(word(memory, context, Table::Context)?, Table::Context)?;
    if context & vtd::CONTEXT_PASIDE == 0 {
        return Err(TranslationFault::PasidDisabled);
    }
    let own = pasid_entry(memory, context, own)?;
    if translation_type(present(word(memory, own, Table::Pasid)?, Table::Pasid)?)
        != vtd::PGTT_PASS_THROUGH
    {
        return Err(TranslationFault::NotPassedThrough);
    }
    let at = pasid_entry(memory, context, pasid.get())?;
    let entry = present(word(memory, at, Table::Pasid)?, Table::Pasid)?;
    match translation_type(entry) {
        vtd::PGTT_FIRST_STAGE => {
            let first = word(memory, at + 16, Table::Pasid)?;
            let mode = (first >> vtd::PASID_FSPM_SHIFT & 0x3) as u8;
            Ok(PageTable {
                top: first & ADDRESS,
                levels: match mode {
                    0 | 1 => 4 + u32::from(mode),
                    _ => return Err(TranslationFault::AddressWidth(mode)),
                },
                stage: Stage::First,
            })
        }
        vtd::PGTT_SECOND_STAGE => {
            let width = (entry >> vtd::PASID_AW_SHIFT & 0x7) as u8;
            Ok(PageTable {
                top: entry & ADDRESS,
                levels: match width {
                    1..=3 => 2 + u32::from(width),
                    _ => return Err(TranslationFault::AddressWidth(width)),
                },
                stage: Stage::Second,
            })
        }
        other => Err(TranslationFault::TranslationType(other)),
    }
}

/// The address of the requester's context entry.
fn context(memory: &View<'_>, root: Root) -> Result<u64, TranslationFault> {
    let (bus, function) = (u64::from(root.requester >> 8), root.requester & 0xFF);
    let half = u64::from(function >> 7) * 8;
    let at = (root.table & ADDRESS) + bus * vtd::ROOT_ENTRY_LEN + half;
    let entry = present(word(memory, at, Table::Root)?, Table::Root)?;
    Ok((entry & ADDRESS) + u64::from(function & 0x7F) * vtd::CONTEXT_ENTRY_LEN)
}

/// The address of a PASID's entry.
fn pasid_entry(memory: &View<'_>, context: u64, pasid: u32) -> Result<u64, TranslationFault> {
    let entries = 1 << (7 + (context >> vtd::CONTEXT_PDTS_SHIFT & vtd::CONTEXT_PDTS_MASK));
    let index = u64::from(pasid >> vtd::PASID_DIRECTORY_SHIFT);
    if index >= entries {
        return Err(TranslationFault::PasidRange);
    }
    let at = (context & ADDRESS) + index * vtd::PASID_DIRECTORY_ENTRY_LEN;
    let directory = word(memory, at, Table::PasidDirectory)?;
    let table = present(directory, Table::PasidDirectory)? & ADDRESS;
    let index = u64::from(pasid & ((1 << vtd::PASID_DIRECTORY_SHIFT) - 1));
    Ok(table + index * vtd::PASID_ENTRY_LEN)
}

fn translation_type(entry: u64) -> u8 {
    (entry >> vtd::PASID_PGTT_SHIFT & 0x7) as u8
}

/// Walks down to the lowest level, or to a large page above it.
///
/// # Errors
/// Fails when nothing is mapped there.
pub fn descend(
    memory: &View<'_>,
    table: &PageTable,
    iova: u64,
) -> Result<Descent, TranslationFault> {
    in_range(table, iova)?;
    let (mut at, mut rights) = (table.top, Rights::ALL);
    for level in (2..=table.levels).rev() {
        let entry = entry(memory, at, iova, level)?;
        rights = permitted(table.stage, entry, rights)?;
        if level <= vtd::PAGE_LARGE_MAX_LEVEL && entry & vtd::PAGE_LARGE != 0 {
            let offset = (1 << shift(level)) - 1;
            // Bits below a large page's size are not part of its address.
            let address = (entry & ADDRESS & !offset) | (iova & offset & ADDRESS);
            return Ok(Descent::Page(Page { address, rights }));
        }
        at = entry & ADDRESS;
    }
    Ok(Descent::Table(LowestTable {
        address: at,
        rights,
    }))
}

/// Performs the last step: from the lowest table to a page.
///
/// # Errors
/// Fails when nothing is mapped there.
pub fn lowest(
    memory: &View<'_>,
    stage: Stage,
    table: LowestTable,
    iova: u64,
) -> Result<Page, TranslationFault> {
    let entry = entry(memory, table.address, iova, 1)?;
    Ok(Page {
        rights: permitted(stage, entry, table.rights)?,
        address: entry & ADDRESS,
    })
}

/// The number of bytes covered by an entry of a level, as a shift.
fn shift(level: u32) -> u32 {
    PAGE_SHIFT + (level - 1) * vtd::PAGE_TABLE_SHIFT
}

fn entry(memory: &View<'_>, table: u64, iova: u64, level: u32) -> Result<u64, TranslationFault> {
    let index = iova >> shift(level) & ((1 << vtd::PAGE_TABLE_SHIFT) - 1);
    word(memory, table + index * 8, Table::Page)
}

/// Checks the range of an address: first-stage addresses are canonical, second-stage ones unsigned.
fn in_range(table: &PageTable, iova: u64) -> Result<(), TranslationFault> {
    let unused = 64 - shift(table.levels + 1);
    let fits = match table.stage {
        Stage::First => (iova as i64) << unused >> unused == iova as i64,
        Stage::Second => iova << unused >> unused == iova,
    };
    fits.then_some(()).ok_or(TranslationFault::AddressRange)
}

/// Combines an entry's rights with those of the levels above.
fn permitted(stage: Stage, entry: u64, above: Rights) -> Result<Rights, TranslationFault> {
    let here = match stage {
        Stage::First => Rights {
            read: entry & PRESENT != 0 && entry & vtd::FIRST_USER != 0,
            write: entry & vtd::FIRST_WRITE != 0 && entry & vtd::FIRST_USER != 0,
        },
        Stage::Second => Rights {
            read: entry & vtd::SECOND_READ != 0,
            write: entry & vtd::SECOND_WRITE != 0,
        },
    };
    let present = match stage {
        Stage::First => entry & PRESENT != 0,
        Stage::Second => here.read || here.write,
    };
    if !present {
        return Err(TranslationFault::NotMapped);
    }
    Ok(Rights {
        read: above.read && here.read,
        write: above.write && here.write,
    })
}
