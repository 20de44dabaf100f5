// SPDX-License-Identifier: Apache-2.0 OR MIT

mod backend;
mod hostile;
mod log;

use std::cell::Cell;
use std::sync::atomic::Ordering;

use super::*;
use crate::testing::sealed;
use rustix::fs::{ftruncate, memfd_create, MemfdFlags};
use zerocopy::little_endian::U64;

/// Accesses to a page by its place.
impl GuestMemory {
    fn read_in(&self, place: &Place, offset: usize, buf: &mut [u8]) -> Option<()> {
        let slice = self.slice_in(place, offset, buf.len(), false)?;
        assert_eq!(slice.copy_to(buf), buf.len());
        Some(())
    }

    fn write_in(&self, place: &Place, offset: usize, buf: &[u8]) -> Option<()> {
        self.slice_in(place, offset, buf.len(), true)?
            .copy_from(buf);
        Some(())
    }

    fn publish_u64_in(&self, place: &Place, offset: usize, value: u64) -> Option<()> {
        let slice = self.slice_in(place, offset, 8, true)?;
        vm_memory::Bytes::store(&slice, value.to_le(), 0, Ordering::Release).ok()
    }

    fn publish_u32_in(&self, place: &Place, offset: usize, value: u32) -> Option<()> {
        let slice = self.slice_in(place, offset, 4, true)?;
        vm_memory::Bytes::store(&slice, value.to_le(), 0, Ordering::Release).ok()
    }
}

/// The cached place of a page.
fn remembered(mem: &GuestMemory, page: u64) -> Option<Place> {
    View::new(mem, &Cell::new(None)).place(page)
}

const RW: Access = Access {
    read: true,
    write: true,
};

fn two_pages_swapped() -> GuestMemory {
    let fd = sealed(0x2000);
    let mut mem = GuestMemory::new();
    mem.map(
        0x1_0000,
        0x1000,
        RW,
        Some((fd.try_clone().unwrap(), 0x1000)),
    )
    .unwrap();
    mem.map(0x1_1000, 0x1000, RW, Some((fd, 0))).unwrap();
    mem
}

#[test]
fn an_access_may_cross_regions_and_files_are_mapped_once() {
    let mem = two_pages_swapped();
    assert_eq!(mem.files.len(), 1);
    let bytes: Vec<u8> = (0..=255).collect();
    mem.write(0x1_0F80, &bytes).unwrap();
    let mut back = vec![0; 256];
    mem.read(0x1_0F80, &mut back).unwrap();
    assert_eq!(back, bytes);
    assert_eq!(
        mem.read_obj::<u32>(0x1_1000).unwrap(),
        u32::from_le_bytes([128, 129, 130, 131])
    );
}

#[test]
fn what_is_not_mapped_or_not_permitted_is_a_fault() {
    let mut mem = two_pages_swapped();
    let read_only = Access {
        read: true,
        write: false,
    };
    mem.map(0x2_0000, 0x1000, read_only, Some((sealed(0x1000), 0)))
        .unwrap();
    mem.map(0x3_0000, 0x1000, RW, None).unwrap();
    let cause = |r: Result<(), DmaFault>| r.unwrap_err().cause;
    assert_eq!(cause(mem.write(0x1_1FFF, &[0; 2])), FaultCause::Unmapped);
    assert_eq!(cause(mem.read(0xFFFF, &mut [0; 2])), FaultCause::Unmapped);
    assert_eq!(cause(mem.read(u64::MAX, &mut [0; 2])), FaultCause::Unmapped);
    assert_eq!(cause(mem.write(0x2_0000, &[0])), FaultCause::Permission);
    assert_eq!(cause(mem.read(0x3_0000, &mut [0])), FaultCause::Unmapped);
    assert_eq!(cause(mem.publish_u64(0x1_0004, 0)), FaultCause::Misaligned);
    assert_eq!(cause(mem.publish_u32(0x2_0000, 0)), FaultCause::Permission);
    mem.publish_u64(0x1_0008, 0x0102_0304_0506_0708).unwrap();
    assert_eq!(mem.read_obj::<[u8; 2]>(0x1_0008).unwrap(), [8, 7]);
}

#[test]
fn bad_ranges_and_files_are_refused_and_change_nothing() {
    let mut mem = two_pages_swapped();
    let mut refused = |iova, len, fd| mem.map(iova, len, RW, fd).unwrap_err();
    assert!(matches!(refused(0, 0, None), MapError::Range { .. }));
    assert!(matches!(refused(u64::MAX, 2, None), MapError::Range { .. }));
    assert!(matches!(
        refused(0x1_0FFF, 1, None),
        MapError::Overlap {
            other: 0x1_0000,
            ..
        }
    ));
    assert!(matches!(
        refused(0, u64::MAX, None),
        MapError::Overlap { .. }
    ));
    let beyond = refused(0, 0x1001, Some((sealed(0x1000), 0)));
    assert!(matches!(
        beyond,
        MapError::File(FileMappingError::Outside { .. })
    ));
    let wraps = refused(0, 0x1000, Some((sealed(0x1000), u64::MAX)));
    assert!(matches!(
        wraps,
        MapError::File(FileMappingError::Outside { .. })
    ));
    let unsealed = memfd_create("ram", MemfdFlags::empty()).unwrap();
    ftruncate(&unsealed, 0x1000).unwrap();
    let unsealed = refused(0, 0x1000, Some((unsealed, 0)));
    assert!(matches!(
        unsealed,
        MapError::File(FileMappingError::Unsealed)
    ));
    assert_eq!(mem.len(), 2);
}

#[test]
fn unmapping_takes_whole_regions_only() {
    let mut mem = two_pages_swapped();
    assert!(matches!(
        mem.unmap(0x1_0000, 0x800),
        Err(MapError::Partial { .. })
    ));
    assert!(matches!(
        mem.unmap(0x1_0800, 0x800),
        Err(MapError::Partial { .. })
    ));
    assert!(matches!(
        mem.unmap(0x1_1800, 0x8000),
        Err(MapError::Partial { .. })
    ));
    assert!(matches!(mem.unmap(0, 0), Err(MapError::Range { .. })));
    assert_eq!(mem.len(), 2);
    mem.unmap(0x4_0000, 0x1000).unwrap();
    mem.unmap(0x1_1000, 0x1000).unwrap();
    assert_eq!(mem.len(), 1);
    mem.unmap(0, u64::MAX).unwrap();
    assert!(mem.is_empty());
    assert!(mem.read(0x1_0000, &mut [0]).is_err());
}

#[test]
fn a_remembered_page_serves_until_the_map_changes() {
    let mut mem = two_pages_swapped();
    let place = remembered(&mem, 0x1_0000).unwrap();
    mem.write_in(&place, 0xFF8, &[7; 8]).unwrap();
    assert_eq!(
        mem.read_obj::<u64>(0x1_0FF8).unwrap(),
        0x0707_0707_0707_0707
    );
    mem.publish_u64_in(&place, 8, 9).unwrap();
    mem.publish_u32_in(&place, 4, 3).unwrap();
    let mut word = [0; 4];
    mem.read_in(&place, 4, &mut word).unwrap();
    assert_eq!((word, mem.read_obj::<u64>(0x1_0008)), ([3, 0, 0, 0], Ok(9)));
    assert_eq!(
        mem.write_in(&place, 0xFF9, &[0; 8]),
        None,
        "beyond the page"
    );
    assert_eq!(mem.publish_u64_in(&place, 4, 0), None, "not aligned");
    let another = two_pages_swapped();
    assert_eq!(
        another.read_in(&place, 0, &mut word),
        None,
        "of another map"
    );
    mem.unmap(0x1_0000, 0x1000).unwrap();
    assert_eq!(
        mem.read_in(&place, 0, &mut word),
        None,
        "its region has gone"
    );
    let place = remembered(&mem, 0x1_1000).unwrap();
    mem.clear();
    assert_eq!(mem.write_in(&place, 0, &word), None, "everything has gone");
}

#[test]
fn only_whole_pages_are_remembered_and_their_rights_too() {
    let mut mem = GuestMemory::new();
    let read_only = Access {
        read: true,
        write: false,
    };
    let file = sealed(0x3000);
    mem.map(0, 0x1800, read_only, Some((file, 0))).unwrap();
    mem.map(0x8000, 0x1000, RW, None).unwrap();
    let place = remembered(&mem, 0).unwrap();
    assert_eq!(mem.read_in(&place, 0, &mut [1]), Some(()));
    assert_eq!(mem.write_in(&place, 0, &[1]), None);
    assert_eq!(mem.publish_u64_in(&place, 0, 1), None);
    for page in [0x1000, 0x2000, 0x8000, !0xFFF] {
        assert!(remembered(&mem, page).is_none(), "{page:#x}");
    }
}

#[test]
fn a_view_reads_what_the_map_reads() {
    let mut mem = two_pages_swapped();
    mem.map(0x3_0000, 0x1000, RW, None).unwrap();
    let write_only = Access {
        read: false,
        write: true,
    };
    mem.map(0x4_0000, 0x1000, write_only, Some((sealed(0x1000), 0)))
        .unwrap();
    let bytes: Vec<u8> = (0..0x2000_u32).map(|n| (n / 3) as u8).collect();
    mem.write(0x1_0000, &bytes).unwrap();
    let last = Cell::new(None);
    let places = [
        0x1_0000,
        0x1_1FF8,
        0x1_0FF8,
        0x1_0FFC,
        0x1_0003,
        0x1_1FF9,
        0x1_2000,
        0xFFFC,
        0x3_0000,
        0x4_0000,
        0x1_1000,
        0,
        u64::MAX,
        u64::MAX - 7,
        0x1_0010,
    ];
    for at in places {
        let expected = mem.read_obj::<U64>(at).map(U64::get);
        assert_eq!(View::new(&mem, &last).read_u64(at), expected, "{at:#x}");
    }
}

#[test]
fn a_view_discards_what_has_changed() {
    let mut mem = two_pages_swapped();
    mem.write(0x1_0000, &[1; 8]).unwrap();
    let last = Cell::new(None);
    let read = |mem: &GuestMemory| View::new(mem, &last).read_u64(0x1_0000);
    assert_eq!(read(&mem), Ok(0x0101_0101_0101_0101));
    let another = two_pages_swapped();
    assert_eq!(read(&another), Ok(0), "of another map");
    assert!(read(&mem).is_ok());
    mem.unmap(0x1_0000, 0x1000).unwrap();
    assert!(read(&mem).is_err(), "its region has gone");
    assert!(View::new(&mem, &last).place(0x1_0000).is_none());
}
