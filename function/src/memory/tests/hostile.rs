// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Clients that send ranges and files of any kind.

use rustix::fs::ftruncate;
use rustix::io::Errno;

use super::*;

fn outside(result: Result<(), MapError>) -> (u64, u64, u64) {
    match result {
        Err(MapError::File(FileMappingError::Outside {
            offset,
            len,
            file_len,
        })) => (offset, len, file_len),
        other => panic!("not outside of the file: {other:?}"),
    }
}

#[test]
fn a_mapped_file_cannot_shrink() {
    let file = sealed(0x2000);
    let mut mem = GuestMemory::new();
    let mapped = file.try_clone().unwrap();
    mem.map(0, 0x2000, RW, Some((mapped, 0))).unwrap();
    assert_eq!(ftruncate(&file, 0x1000), Err(Errno::PERM));
    mem.write(0x1FFF, &[1]).unwrap();
}

#[test]
fn a_file_that_grows_is_mapped_with_the_length_it_had() {
    let file = sealed(0x1000);
    let mut mem = GuestMemory::new();
    let mapped = || Some((file.try_clone().unwrap(), 0));
    mem.map(0, 0x1000, RW, mapped()).unwrap();
    ftruncate(&file, 0x2000).unwrap();
    let grown = mem.map(0x1_0000, 0x2000, RW, mapped());
    assert_eq!(outside(grown), (0, 0x2000, 0x1000));
    // Nothing refers to the old mapping any more.
    mem.unmap(0, 0x1000).unwrap();
    mem.map(0x1_0000, 0x2000, RW, mapped()).unwrap();
    mem.write(0x1_1FFF, &[1]).unwrap();
}

#[test]
fn extreme_ranges_of_files_are_refused() {
    let mut mem = GuestMemory::new();
    let file = |len| sealed(len);
    assert_eq!(
        outside(mem.map(0, 1, RW, Some((file(0), 0)))),
        (0, 1, 0),
        "an empty file"
    );
    assert_eq!(
        outside(mem.map(0, u64::MAX, RW, Some((file(0x1000), 0)))),
        (0, u64::MAX, 0x1000)
    );
    assert_eq!(
        outside(mem.map(1, u64::MAX, RW, Some((file(0x1000), u64::MAX)))),
        (u64::MAX, u64::MAX, 0x1000)
    );
    assert_eq!(
        outside(mem.map(0, 1, RW, Some((file(0x1000), 0x1000)))),
        (0x1000, 1, 0x1000)
    );
    assert!(matches!(
        mem.map(0, 0, RW, Some((file(0x1000), 0))),
        Err(MapError::Range { .. })
    ));
    assert_eq!((mem.len(), mem.files.len()), (0, 0), "nothing is mapped");
}

#[test]
fn an_access_wraps_around_the_address_space() {
    let mut mem = GuestMemory::new();
    let file = sealed(0x2000);
    let last = u64::MAX - 0xFFF;
    let clone = file.try_clone().unwrap();
    mem.map(last, 0x1000, RW, Some((clone, 0))).unwrap();
    assert_eq!(
        mem.write(u64::MAX, &[1, 2]).unwrap_err().cause,
        FaultCause::Unmapped
    );
    mem.map(0, 0x1000, RW, Some((file, 0x1000))).unwrap();
    mem.write(u64::MAX, &[3, 4]).unwrap();
    assert_eq!(mem.read_obj::<u8>(0), Ok(4));
    assert_eq!(mem.read_obj::<[u8; 2]>(u64::MAX), Ok([3, 4]));
    assert_eq!(
        mem.publish_u64(u64::MAX - 3, 0).unwrap_err().cause,
        FaultCause::Unmapped,
        "a word is not stored in two parts"
    );
    assert_eq!(mem.read(u64::MAX, &mut []), Ok(()), "no bytes");
}

#[test]
fn the_number_of_files_is_bounded_and_unmapped_ones_do_not_count() {
    let mut mem = GuestMemory::new();
    let map =
        |mem: &mut GuestMemory, n: u64| mem.map(n * 0x1000, 0x1000, RW, Some((sealed(0x1000), 0)));
    for n in 0..MAX_FILES as u64 {
        map(&mut mem, n).unwrap();
    }
    assert!(matches!(
        map(&mut mem, 1 << 20),
        Err(MapError::File(FileMappingError::TooMany))
    ));
    mem.write(7 * 0x1000, &[7]).unwrap();
    mem.unmap(5 * 0x1000, 0x1000).unwrap();
    assert_eq!(mem.files.len(), MAX_FILES - 1);
    map(&mut mem, 1 << 20).unwrap();
    mem.write(1 << 32, &[9]).unwrap();
    assert_eq!(mem.read_obj::<u8>(7 * 0x1000), Ok(7));
    assert_eq!(mem.read_obj::<u8>(1 << 32), Ok(9));
    mem.clear();
    assert_eq!(mem.files.len(), 0);
    assert!(mem.read(1 << 32, &mut [0]).is_err());
}

#[test]
fn a_quarter_of_a_million_regions_share_a_mapping() {
    let mut mem = GuestMemory::new();
    let file = sealed(0x10_0000);
    let map = |mem: &mut GuestMemory, n: u64| {
        let offset = n % 0x100 * 0x1000;
        let file = file.try_clone().unwrap();
        mem.map(n * 0x2000, 0x1000, RW, Some((file, offset)))
    };
    for n in 0..MAX_REGIONS as u64 {
        map(&mut mem, n).unwrap();
    }
    assert_eq!((mem.len(), mem.files.len()), (MAX_REGIONS, 1));
    assert!(matches!(
        map(&mut mem, MAX_REGIONS as u64),
        Err(MapError::Full)
    ));
    mem.write(0x2000, &[5]).unwrap();
    assert_eq!(mem.read_obj::<u8>(0x101 * 0x2000), Ok(5), "the same page");
    mem.unmap(0x2000, MAX_REGIONS as u64 * 0x2000).unwrap();
    assert_eq!((mem.len(), mem.files.len()), (1, 1));
    assert!(mem.read(0x101 * 0x2000, &mut [0]).is_err());
    mem.unmap(0, 0x1000).unwrap();
    assert_eq!(mem.files.len(), 0);
}

#[test]
fn the_region_of_the_last_access_does_not_outlive_a_change() {
    let mut mem = two_pages_swapped();
    mem.write(0x1_0000, &[1]).unwrap();
    mem.unmap(0x1_0000, 0x1000).unwrap();
    assert_eq!(
        mem.read(0x1_0000, &mut [0]).unwrap_err().cause,
        FaultCause::Unmapped
    );
    let read_only = Access {
        read: true,
        write: false,
    };
    let file = Some((sealed(0x1000), 0));
    mem.map(0x1_0000, 0x1000, read_only, file).unwrap();
    assert_eq!(mem.read_obj::<u8>(0x1_0000), Ok(0), "another file");
    assert_eq!(
        mem.write(0x1_0000, &[1]).unwrap_err().cause,
        FaultCause::Permission
    );
    mem.write(0x1_1000, &[1]).unwrap();
}
