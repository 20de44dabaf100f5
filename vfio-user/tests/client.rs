// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tests with the client of rust-vmm's `vfio_user`: an independent implementation of the protocol.

mod common;

use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

use adit_vfio_user::testing::{shared_memory, BAR0_SIZE, CONFIG, MSIX};
use common::{eventfd, signals, Running};
use vfio_user::Client;

#[test]
fn a_device_is_found_as_it_is() {
    let server = Running::start();
    let mut client = Client::new(&server.path).unwrap();
    let bar0 = client.region(0).unwrap();
    assert_eq!((bar0.size, bar0.flags & 0xf), (BAR0_SIZE, 0xf));
    let [area] = bar0.sparse_areas[..] else {
        panic!("{:?}", bar0.sparse_areas)
    };
    assert_eq!((area.offset, area.size), (BAR0_SIZE / 2, BAR0_SIZE / 2));
    let file = bar0.file_offset.as_ref().unwrap();
    assert_eq!(
        (file.start(), file.file().metadata().unwrap().len()),
        (0, BAR0_SIZE)
    );
    assert_eq!(client.region(CONFIG).unwrap().size, 256);
    assert_eq!(client.region(3).unwrap().size, 0);
    let msix = client.get_irq_info(MSIX.0).unwrap();
    assert_eq!((msix.count, msix.flags), (MSIX.1, 1));
    assert_eq!(client.get_irq_info(0).unwrap().count, 0);
}

#[test]
fn what_is_written_is_read() {
    let server = Running::start();
    let mut client = Client::new(&server.path).unwrap();
    for len in [1, 2, 4, 8, 255, 4096] {
        let data: Vec<u8> = (0..len).map(|n| n as u8 ^ 0x5a).collect();
        client.region_write(0, 16, &data).unwrap();
        let mut back = vec![0; len];
        client.region_read(0, 16, &mut back).unwrap();
        assert_eq!(back, data);
    }
    client.reset().unwrap();
    let mut back = [1; 8];
    client.region_read(0, 16, &mut back).unwrap();
    assert_eq!(back, [0; 8]);
}

#[test]
fn interrupts_reach_the_client() {
    let server = Running::start();
    let mut client = Client::new(&server.path).unwrap();
    let eventfds = [eventfd(), eventfd(), eventfd()];
    let raw = eventfds.each_ref().map(|fd| fd.as_raw_fd());
    client.set_irqs(MSIX.0, 0x24, 4, 3, &raw).unwrap(); // trigger by eventfd
    client.set_irqs(MSIX.0, 0x21, 5, 2, &[]).unwrap(); // trigger now
    assert_eq!(eventfds.each_ref().map(signals), [0, 1, 1]);
    client.set_irqs(MSIX.0, 0x24, 5, 1, &[]).unwrap(); // no eventfd: remove
    client.set_irqs(MSIX.0, 0x21, 0, MSIX.1, &[]).unwrap();
    assert_eq!(eventfds.each_ref().map(signals), [1, 0, 1]);
    client.set_irqs(MSIX.0, 0x21, 0, 0, &[]).unwrap(); // disable all
    client.set_irqs(MSIX.0, 0x21, 0, MSIX.1, &[]).unwrap();
    assert_eq!(eventfds.each_ref().map(signals), [0, 0, 0]);
}

#[test]
fn windows_carry_their_memory() {
    let server = Running::start();
    let mut client = Client::new(&server.path).unwrap();
    let memory = shared_memory(1 << 20);
    client
        .dma_map(0x1000, 0x10_0000, 0x2000, memory.as_raw_fd())
        .unwrap();
    client
        .dma_map(0x3000, 0x20_0000, 0x1000, memory.as_raw_fd())
        .unwrap();
    client.dma_unmap(0x20_0000, 0x1000).unwrap();
    let mut byte = [0];
    client.region_read(0, 0, &mut byte).unwrap();
    // All of a client's windows are released with it; the device itself continues.
    drop(client);
    let mut next = Client::new(&server.path).unwrap();
    next.dma_map(0x1000, 0x10_0000, 0x2000, memory.as_raw_fd())
        .unwrap();
    std::fs::File::from(memory).write_all_at(b"x", 0).unwrap();
    drop(next);
    let device = server.stop();
    assert_eq!((device.clients, device.windows.len()), (2, 0));
}
