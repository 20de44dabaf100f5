// SPDX-License-Identifier: Apache-2.0 OR MIT

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::testing::{store, GuestTables, READ_ONLY, READ_WRITE};
use super::walk::{Rights, Stage};
use super::{vtd, AddressSpace, Dma, Pasid, Root, Table, TranslationFault, Translator};
use crate::memory::{Access, DmaFault, FaultCause, GuestMemory};
use crate::testing::sealed;

const RAM_LEN: u64 = 16 << 20;
/// The boundary between tables (below) and pages (above).
const PAGES: u64 = 8 << 20;
const FUNCTION: u16 = 5 << 3;

struct Guest {
    memory: GuestMemory,
    tables: GuestTables,
    translator: Translator,
}

fn guest() -> Guest {
    guest_at(FUNCTION)
}

fn guest_at(requester: u16) -> Guest {
    let mut memory = GuestMemory::new();
    let access = Access {
        read: true,
        write: true,
    };
    let file = Some((sealed(RAM_LEN), 0));
    memory.map(0, RAM_LEN, access, file).unwrap();
    let tables = GuestTables::new(&memory, 0x1000, PAGES - 0x1000, requester);
    let mut translator = Translator::new(None);
    translator.tables().set(tables.root());
    Guest {
        memory,
        tables,
        translator,
    }
}

impl Guest {
    fn space(&self, pasid: u32) -> AddressSpace<'_> {
        AddressSpace::new(&self.memory, &self.translator, Pasid::new(pasid))
    }
    fn attach(&mut self, pasid: u32, stage: Stage, levels: u32) {
        self.tables.attach(&self.memory, pasid, stage, levels);
    }
    fn map(&mut self, pasid: u32, iova: u64, physical: u64, rights: Rights) {
        let memory = &self.memory;
        self.tables.map(memory, pasid, iova, physical, rights);
    }
    fn read(&self, pasid: u32, iova: u64) -> Result<u64, TranslationFault> {
        let mut bytes = [0; 8];
        cause(self.space(pasid).read(iova, &mut bytes))?;
        Ok(u64::from_le_bytes(bytes))
    }
    fn write(&self, pasid: u32, iova: u64) -> Result<(), TranslationFault> {
        cause(self.space(pasid).write(iova, &[7; 8]))
    }
}

fn cause(result: Result<(), DmaFault>) -> Result<(), TranslationFault> {
    result.map_err(|fault| match fault.cause {
        FaultCause::Translation(fault) => fault,
        other => panic!("{other}"),
    })
}

#[test]
fn both_stages_and_all_depths_lead_to_the_page() {
    let kinds = [
        (Stage::First, 4),
        (Stage::First, 5),
        (Stage::Second, 3),
        (Stage::Second, 4),
        (Stage::Second, 5),
    ];
    let mut guest = guest();
    for (pasid, (stage, levels)) in (60..).zip(kinds) {
        let iova = (1 << (12 + 9 * levels - 2)) | 0x7654_3000;
        let physical = PAGES + u64::from(pasid) * 0x1000;
        guest.attach(pasid, stage, levels);
        guest.map(pasid, iova, physical, READ_WRITE);
        store(&guest.memory, physical + 0x10, u64::from(pasid));
        let seen = guest.read(pasid, iova + 0x10);
        assert_eq!(seen, Ok(pasid.into()), "{stage:?} {levels}");
        guest.space(pasid).publish_u64(iova, 9).unwrap();
        assert_eq!(guest.memory.read_obj::<u64>(physical).unwrap(), 9);
        let beside = guest.read(pasid, iova + 0x1000);
        assert_eq!(beside, Err(TranslationFault::NotMapped));
        assert_eq!(
            guest.read(pasid, iova | 1 << (12 + 9 * levels)),
            Err(TranslationFault::AddressRange)
        );
    }
    let upper_half = 0xFFFF_8000_0000_0000;
    guest.map(60, upper_half, PAGES, READ_WRITE);
    assert_eq!(guest.write(60, upper_half), Ok(()), "canonical addresses");
}

#[test]
fn any_function_finds_its_context() {
    for requester in [0, 0x7F, 0x80, 0xFF, 0x1234, 0xFFFF] {
        let mut guest = guest_at(requester);
        guest.attach(1, Stage::Second, 4);
        guest.map(1, 0x1000, PAGES, READ_WRITE);
        assert_eq!(guest.read(1, 0x1000), Ok(0), "{requester:#x}");
    }
}

#[test]
fn large_pages_keep_the_lower_bits() {
    for stage in [Stage::First, Stage::Second] {
        let mut guest = guest();
        guest.attach(1, stage, 4);
        let (memory, tables) = (&guest.memory, &mut guest.tables);
        tables.map_at(memory, 1, 2 << 20, 10 << 20, READ_WRITE, 2);
        tables.map_at(memory, 1, 1 << 30, 0, READ_ONLY, 3);
        store(memory, (10 << 20) + 0x12_3458, 77);
        assert_eq!(guest.read(1, (2 << 20) + 0x12_3458), Ok(77));
        assert_eq!(guest.read(1, (1 << 30) + (10 << 20) + 0x12_3458), Ok(77));
        assert_eq!(guest.write(1, 1 << 30), Err(TranslationFault::Permission));
        let hole = guest.read(1, (1 << 30) + RAM_LEN);
        assert_eq!(hole, Err(TranslationFault::NoMemory));
    }
}

#[test]
fn rights_are_the_intersection_of_all_levels() {
    for stage in [Stage::First, Stage::Second] {
        let mut guest = guest();
        guest.attach(1, stage, 4);
        guest.map(1, 0x1000, PAGES, READ_WRITE);
        guest.map(1, 0x2000, PAGES, READ_ONLY);
        assert_eq!(guest.read(1, 0x2000), Ok(0));
        let refused = Err(TranslationFault::Permission);
        assert_eq!(guest.write(1, 0x2000), refused);
        assert_eq!(guest.write(1, 0x1000), Ok(()));
        // The entry in the table above denies writes to everything below it.
        let above = guest.tables.leaf(&guest.memory, 1, 0, 2);
        let entry = guest.memory.read_obj::<u64>(above).unwrap();
        store(&guest.memory, above, entry & !vtd::FIRST_WRITE);
        assert_eq!(guest.write(1, 0x1000), Ok(()), "cached in this burst");
        guest.translator.flush();
        assert_eq!(guest.write(1, 0x1000), refused);
        assert!(guest.read(1, 0x1000).is_ok());
    }
    let mut guest = guest();
    guest.attach(1, Stage::First, 4);
    let leaf = guest.tables.leaf(&guest.memory, 1, 0x1000, 1);
    store(&guest.memory, leaf, PAGES | vtd::PRESENT | vtd::FIRST_WRITE);
    let supervisors = guest.read(1, 0x1000);
    assert_eq!(supervisors, Err(TranslationFault::Permission));
}

#[test]
fn a_pasid_has_no_access_to_pages_of_another() {
    let mut guest = guest();
    for pasid in [1, 2, 65, 1025] {
        guest.attach(pasid, Stage::Second, 4);
        guest.map(pasid, 0x5000, PAGES + u64::from(pasid) * 0x1000, READ_WRITE);
        store(
            &guest.memory,
            PAGES + u64::from(pasid) * 0x1000,
            pasid.into(),
        );
    }
    guest.map(1, 0x9000, PAGES, READ_WRITE);
    for pasid in [1, 2, 65, 1025, 1] {
        assert_eq!(guest.read(pasid, 0x5000), Ok(pasid.into()));
    }
    assert_eq!(guest.read(2, 0x9000), Err(TranslationFault::NotMapped));
    let gone = Err(TranslationFault::NotPresent(Table::Pasid));
    assert_eq!(guest.read(3, 0x5000), gone);
    guest.tables.detach(&guest.memory, 2);
    guest.translator.flush();
    assert_eq!(guest.read(2, 0x5000), gone);
    let counted = guest.translator.counters();
    assert_eq!((counted.walks, counted.faults), (8, 3));
}

#[test]
fn malformed_tables_are_distinguished() {
    use TranslationFault as F;
    let mut guest = guest();
    guest.attach(1, Stage::First, 4);
    guest.map(1, 0, PAGES, READ_WRITE);
    let entry = guest.tables.entry(&guest.memory, 1);
    let good = guest.memory.read_obj::<u64>(entry).unwrap();
    let mut check = |at: u64, word: u64, fault: F| {
        let before = guest.memory.read_obj::<u64>(at).unwrap();
        store(&guest.memory, at, word);
        guest.translator.flush();
        assert_eq!(guest.read(1, 0), Err(fault));
        store(&guest.memory, at, before);
    };
    let kind = |n: u64| n << vtd::PASID_PGTT_SHIFT | 1;
    check(entry, kind(3), F::TranslationType(3));
    check(entry, kind(4), F::TranslationType(4));
    check(entry, kind(2), F::AddressWidth(0));
    check(entry, good & !1, F::NotPresent(Table::Pasid));
    check(entry + 16, 3 << 2, F::AddressWidth(3));
    check(entry + 16, RAM_LEN, F::Unreadable(Table::Page));
    // The entry of PASID 0, in the same table, is for requests without a PASID.
    check(entry - 64, kind(2), F::NotPassedThrough);
    let root = 0x1000;
    let context = 0x2000 + 0x28 * 32;
    check(root, 0, F::NotPresent(Table::Root));
    check(root, RAM_LEN | 1, F::Unreadable(Table::Context));
    check(context, 0, F::NotPresent(Table::Context));
    check(context, 0x3001, F::PasidDisabled);
    check(0x3000, 0, F::NotPresent(Table::PasidDirectory));
    check(0x3000, RAM_LEN | 1, F::Unreadable(Table::Pasid));
    let far = guest.space(0xF_FFFF).read(0, &mut [0]).unwrap_err();
    assert_eq!(far.cause, FaultCause::Translation(F::PasidRange));
    guest.translator.tables().set(Root {
        table: RAM_LEN,
        requester: FUNCTION,
    });
    assert_eq!(guest.read(1, 0), Err(F::Unreadable(Table::Root)));
    guest.translator = Translator::new(None);
    assert_eq!(guest.read(1, 0), Err(F::NoRootTable));
}

#[test]
fn a_table_that_leads_to_itself_ends_at_its_depth() {
    let mut guest = guest();
    guest.attach(1, Stage::First, 5);
    let entry = guest.tables.entry(&guest.memory, 1);
    let top = guest.memory.read_obj::<u64>(entry + 16).unwrap() & vtd::ADDRESS;
    let flags = vtd::PRESENT | vtd::FIRST_USER | vtd::FIRST_WRITE;
    store(&guest.memory, top, top | flags);
    // It points to itself, five times: the page is the table.
    assert_eq!(guest.read(1, 0), Ok(top | flags));
}

#[test]
fn a_write_over_pages_happens_whole_or_not_at_all() {
    let mut guest = guest();
    guest.attach(1, Stage::Second, 4);
    guest.map(1, 0x1000, PAGES + 0x1000, READ_WRITE);
    guest.map(1, 0x2000, PAGES, READ_WRITE);
    guest.map(1, 0x3000, PAGES + 0x2000, READ_ONLY);
    let data: Vec<u8> = (0..0x1800_u32).map(|n| n as u8 | 1).collect();
    guest.space(1).write(0x1400, &data).unwrap();
    let mut back = vec![0; data.len()];
    guest.space(1).read(0x1400, &mut back).unwrap();
    assert_eq!(back, data);
    assert_eq!(guest.memory.read_obj::<u8>(PAGES).unwrap(), data[0xC00]);
    let fault = guest.space(1).write(0x2400, &[0; 0x1000]).unwrap_err();
    assert_eq!((fault.iova, fault.write), (0x3000, true), "where it failed");
    guest.space(1).read(0x1400, &mut back).unwrap();
    assert_eq!(back, data, "nothing was written");
    let odd = guest.space(1).publish_u64(0x1004, 0).unwrap_err();
    assert_eq!(odd.cause, FaultCause::Misaligned);
}

#[test]
fn memory_that_goes_away_within_a_burst_is_not_reached_any_more() {
    let mut guest = guest();
    guest.attach(1, Stage::Second, 4);
    let (file, access) = (
        sealed(0x2000),
        Access {
            read: true,
            write: true,
        },
    );
    // Only half of the second page is mapped.
    let other = RAM_LEN + 0x10_0000;
    guest
        .memory
        .map(other, 0x1800, access, Some((file, 0)))
        .unwrap();
    guest.map(1, 0x1000, other, READ_WRITE);
    guest.map(1, 0x2000, other + 0x1000, READ_WRITE);
    let gone = TranslationFault::NoMemory;
    for _ in 0..2 {
        assert_eq!(guest.write(1, 0x1FF8), Ok(()));
        assert_eq!(guest.write(1, 0x27F8), Ok(()));
        assert_eq!(guest.read(1, 0x27F8), Ok(0x0707_0707_0707_0707));
        assert_eq!(guest.write(1, 0x2800), Err(gone));
    }
    guest.memory.unmap(other, 0x1800).unwrap();
    assert_eq!(guest.read(1, 0x1FF8), Err(gone));
    assert_eq!(guest.write(1, 0x1FF8), Err(gone));
    let published = guest.space(1).publish_u64(0x1000, 1);
    assert_eq!(cause(published), Err(gone));
}

#[test]
fn an_address_space_is_memory_for_vm_memory() {
    use vm_memory::{Bytes, GuestAddress, GuestMemory as _, GuestMemoryError, Permissions};

    let mut guest = guest();
    guest.attach(1, Stage::Second, 4);
    guest.map(1, 0x1000, PAGES + 0x1000, READ_WRITE);
    guest.map(1, 0x2000, PAGES, READ_WRITE);
    guest.map(1, 0x3000, PAGES + 0x2000, READ_ONLY);
    let space = guest.space(1);
    let at = GuestAddress(0x1FFC);
    space.write_slice(&[1, 2, 3, 4, 5, 6, 7, 8], at).unwrap();
    let mut back = [0; 8];
    space.read_slice(&mut back, at).unwrap();
    assert_eq!(back, [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(Dma::read_obj::<u8>(&guest.memory, PAGES), Ok(5));
    assert!(space.check_range(GuestAddress(0x1000), 0x3000, Permissions::Read));
    assert!(!space.check_range(GuestAddress(0x1000), 0x3000, Permissions::ReadWrite));
    let refused = space.write_slice(&[0; 8], GuestAddress(0x2FFC));
    let GuestMemoryError::IOError(refused) = refused.unwrap_err() else {
        panic!("not the fault of the translation");
    };
    let fault = refused.downcast::<DmaFault>().unwrap();
    assert_eq!(cause(Err(fault)), Err(TranslationFault::Permission));
    assert_eq!(
        Dma::read_obj::<u32>(&guest.memory, PAGES + 0xFFC),
        Ok(0),
        "nothing was written"
    );
    let own = AddressSpace::new(&guest.memory, &guest.translator, None);
    own.write_slice(&[9], GuestAddress(PAGES)).unwrap();
    assert_eq!(Dma::read_obj::<u8>(&guest.memory, PAGES), Ok(9));
}

/// A page of the model: its address, and `true` if it is writable.
type Model = BTreeMap<u64, (u64, bool)>;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Checks that the device sees the same mappings as a plain map after any sequence of maps and
    /// unmaps.
    #[test]
    fn translations_agree_with_a_model(
        first in any::<bool>(),
        steps in prop::collection::vec((0_u64..40, 0_u64..64, any::<bool>(), any::<bool>()), 1..80),
        at in 0_u64..4,
    ) {
        let mut guest = guest();
        let stage = if first { Stage::First } else { Stage::Second };
        guest.attach(7, stage, 4);
        let mut model = Model::new();
        // Neighbouring pages, and pages at the ends of tables.
        let base = [0, 511 << 12, (512 << 21) - 0x5000, 0x7FFF_0000_0000][at as usize];
        for (page, target, map, write) in steps {
            let iova = base + page * 0x1000;
            if map {
                let rights = if write { READ_WRITE } else { READ_ONLY };
                guest.map(7, iova, PAGES + target * 0x1000, rights);
                model.insert(iova, (PAGES + target * 0x1000, write));
            } else {
                guest.tables.unmap(&guest.memory, 7, iova);
                model.remove(&iova);
            }
            guest.translator.flush();
            for page in 0..40 {
                let iova = base + page * 0x1000;
                let pasid = Pasid::new(7).unwrap();
                for write in [false, true] {
                    let seen = guest.translator.translate(&guest.memory, pasid, iova, write);
                    let expected = match model.get(&iova) {
                        None => Err(TranslationFault::NotMapped),
                        Some((_, false)) if write => Err(TranslationFault::Permission),
                        Some((physical, _)) => Ok(*physical),
                    };
                    prop_assert_eq!(seen, expected);
                }
            }
        }
    }
}
