// SPDX-License-Identifier: GPL-2.0
//! Tests of [`crate::vfio_regions`].

use adit_uapi::vfio::{region, NUM_REGIONS, PAGE_LEN};

use crate::messages::AdiLayout;
use crate::vfio_regions::{
    dma_len, file_offset, register_ranges, split_offset, split_page, Content, Region, RegisterPages,
};
use crate::vfio_tests::IDS;

const LAYOUT: &AdiLayout = &IDS.layout;

#[test]
fn every_region_is_described() {
    for index in 0..NUM_REGIONS {
        let region = Region::new(index, LAYOUT).expect("a region");
        assert_ne!(region.len, 0, "{index}");
        if region.can_be_mapped() {
            assert_eq!(region.len % PAGE_LEN, 0, "{index}");
            assert_eq!(region.access(), (true, true), "{index}");
        }
    }
    assert_eq!(Region::new(NUM_REGIONS, LAYOUT), None);
    assert_eq!(Region::new(u32::MAX, LAYOUT), None);
}

#[test]
fn doorbells_and_vectors_are_the_frame() {
    let registers = |index| Region::new(index, LAYOUT).unwrap().registers();
    assert_eq!(
        registers(region::DOORBELLS),
        Some(RegisterPages::Frame(0, 12))
    );
    assert_eq!(
        registers(region::INTERRUPTS),
        Some(RegisterPages::Frame(12, 4))
    );
    assert_eq!(registers(region::KICK), Some(RegisterPages::Kick));
    assert_eq!(12 + 4, LAYOUT.frame_pages);
    for index in [region::INFO, region::MAILBOX, region::DMA, NUM_REGIONS] {
        let region = Region::new(index, LAYOUT);
        assert_eq!(region.and_then(|it| it.registers()), None, "{index}");
    }
}

#[test]
fn all_mappable_registers_are_unmapped_at_a_reset_and_memory_is_not() {
    let ranges: Vec<_> = register_ranges(LAYOUT).collect();
    for index in 0..NUM_REGIONS {
        let region = Region::new(index, LAYOUT).unwrap();
        let mappable = region.can_be_mapped() && region.content != Content::Memory;
        for page in 0..region.len.div_ceil(PAGE_LEN) {
            let at = file_offset(index) + page * PAGE_LEN;
            let unmapped = ranges.iter().any(|range| range.contains(&at));
            assert_eq!(unmapped, mappable, "region {index}, page {page}");
        }
    }
}

#[test]
fn offsets_lead_back_to_their_region() {
    for index in 0..NUM_REGIONS {
        let offset = file_offset(index);
        assert_eq!(split_offset(offset), (index, 0));
        assert_eq!(split_offset(offset + 0x1234), (index, 0x1234));
        assert_eq!(split_page(offset / PAGE_LEN + 7), (index, 7));
    }
    let (index, _) = split_page(u64::MAX);
    assert_eq!(Region::new(index, LAYOUT), None);
    let (index, _) = split_offset(u64::MAX);
    assert_eq!(Region::new(index, LAYOUT), None);
}

#[test]
fn the_drivers_memory_grows_with_the_queue_pairs_up_to_a_limit() {
    assert_eq!(dma_len(1), 2 << 20);
    assert_eq!(dma_len(8), 16 << 20);
    assert_eq!(dma_len(u16::MAX), 32 << 20);
}
