// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Guest memory through the traits of `vm-memory`.

use vm_memory::{
    Bytes, GuestAddress, GuestMemory as _, GuestMemoryBackend, GuestMemoryError, GuestMemoryRegion,
    MemoryRegionAddress, Permissions,
};

use super::super::{Access, DmaFault, FaultCause};
use super::{sealed, two_pages_swapped, RW};

const AT: GuestAddress = GuestAddress(0x1_0FFC);

#[test]
fn bytes_cross_regions() {
    let mem = two_pages_swapped();
    mem.write_slice(&[1, 2, 3, 4, 5, 6, 7, 8], AT).unwrap();
    let mut back = [0; 8];
    mem.read_slice(&mut back, AT).unwrap();
    assert_eq!(back, [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(
        mem.read_obj::<[u8; 2]>(GuestAddress(0x1_1000)).unwrap(),
        [5, 6]
    );
    let slices = mem.get_slices(AT, 8, Permissions::Read).unwrap();
    let lengths: Vec<_> = slices.map(|slice| slice.unwrap().len()).collect();
    assert_eq!(lengths, [4, 4]);
}

#[test]
fn permissions_and_holes_are_errors() {
    let mut mem = two_pages_swapped();
    let read_only = Access {
        read: true,
        write: false,
    };
    let file = Some((sealed(0x1000), 0));
    mem.map(0x1_2000, 0x1000, read_only, file).unwrap();
    mem.map(0x1_3000, 0x1000, RW, None).unwrap();
    let check = |at, len, access| mem.check_range(GuestAddress(at), len, access);
    assert!(check(0x1_0000, 0x3000, Permissions::Read));
    assert!(check(0x1_0000, 0x2000, Permissions::ReadWrite));
    assert!(!check(0x1_0000, 0x2001, Permissions::Write));
    assert!(!check(0x1_0000, 0x2001, Permissions::ReadWrite));
    assert!(!check(0x1_0000, 0x3001, Permissions::Read), "no file");
    assert!(check(0xF000, 1, Permissions::No));

    let write_only = Access {
        read: false,
        write: true,
    };
    let file = Some((sealed(0x1000), 0));
    mem.map(0x2_0000, 0x1000, write_only, file).unwrap();
    let slices = |access| mem.get_slices(GuestAddress(0x2_0000), 1, access).map(drop);
    assert!(slices(Permissions::Write).is_ok());
    assert!(slices(Permissions::ReadWrite).is_err());

    let missing = mem.write(&[0], GuestAddress(0xF000)).unwrap_err();
    assert!(matches!(
        missing,
        GuestMemoryError::InvalidGuestAddress(GuestAddress(0xF000))
    ));
    let denied = mem.write(&[0], GuestAddress(0x1_2000)).unwrap_err();
    let GuestMemoryError::IOError(denied) = denied else {
        panic!("{denied}");
    };
    let fault = denied.downcast::<DmaFault>().unwrap();
    assert_eq!(
        (fault.iova, fault.cause),
        (0x1_2000, FaultCause::Permission)
    );
}

#[test]
fn regions_are_found_by_address() {
    let mut mem = two_pages_swapped();
    mem.map(0x2_0000, 0x1000, RW, None).unwrap();
    let regions = &mem.regions;
    let starts: Vec<_> = regions.iter().map(|region| region.start_addr().0).collect();
    assert_eq!(starts, [0x1_0000, 0x1_1000, 0x2_0000]);
    assert_eq!(regions.num_regions(), 3);
    assert!(regions.find_region(GuestAddress(0x1_2000)).is_none());
    let region = regions.find_region(GuestAddress(0x1_1FFF)).unwrap();
    assert_eq!((region.start_addr().0, region.len()), (0x1_1000, 0x1000));
    region
        .write_slice(&[9], MemoryRegionAddress(0xFFF))
        .unwrap();
    assert_eq!(mem.read_obj::<u8>(GuestAddress(0x1_1FFF)).unwrap(), 9);
    for (offset, len) in [(0, 0x1001), (0x1000, 1), (u64::MAX, 2)] {
        // The file goes on, but the region does not.
        let slice = region.get_slice(MemoryRegionAddress(offset), len);
        assert!(slice.is_err(), "{offset:#x} {len:#x}");
    }
    let without_file = regions.find_region(GuestAddress(0x2_0000)).unwrap();
    assert!(without_file.as_volatile_slice().is_err());
}
