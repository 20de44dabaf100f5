// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tests of requests with false information on the device, its interrupts, memory or file
//! descriptors, on a real socket: each receives the appropriate errno, and the client is still
//! served.

mod common;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use adit_vfio_user::fuzzing::message;
use adit_vfio_user::header::Command;
use adit_vfio_user::testing::{shared_memory, BAR0_SIZE, BROKEN, MSIX, READ_ONLY};
use adit_vfio_user::{wire, Config, Errno, Reason};
use common::{eventfd, read, signals, Running};
use zerocopy::IntoBytes;

fn access(region: u32, offset: u64, count: u32) -> wire::RegionAccess {
    wire::RegionAccess {
        offset,
        region,
        count,
    }
}

fn map(address: u64, size: u64) -> wire::DmaMap {
    wire::DmaMap {
        argsz: 32,
        flags: 3,
        offset: 0,
        address,
        size,
    }
}

fn irqs(flags: u32, start: u32, count: u32) -> wire::IrqSet {
    wire::IrqSet {
        argsz: 20,
        flags,
        index: MSIX.0,
        start,
        count,
    }
}

#[test]
fn payloads_and_argsz_that_lie_are_refused() {
    let server = Running::start();
    let mut client = server.client();
    for (command, fixed) in [
        (Command::DmaMap, 32),
        (Command::DmaUnmap, 24),
        (Command::DeviceGetInfo, 16),
        (Command::DeviceGetRegionInfo, 32),
        (Command::DeviceGetIrqInfo, 16),
        (Command::DeviceSetIrqs, 20),
        (Command::RegionRead, 16),
        (Command::RegionWrite, 16),
        (Command::RegionWriteMulti, 8),
    ] {
        for len in [0, 1, fixed - 1, fixed, fixed + 1] {
            // All zero: argsz is too small where the length is valid. A REGION_WRITE_MULTI without
            // writes is valid.
            let good = command == Command::RegionWriteMulti && len == fixed;
            let reply = client.request(command, &vec![0; len]);
            assert_eq!(
                reply.err(),
                (!good).then_some(Errno::INVAL),
                "{command:?} {len}"
            );
        }
    }
    assert_eq!(
        client.request(Command::DeviceReset, &[0]),
        Err(Errno::INVAL)
    );
    let mut info = wire::RegionInfo {
        argsz: 31,
        ..Default::default()
    };
    assert_eq!(
        client.request(Command::DeviceGetRegionInfo, info.as_bytes()),
        Err(Errno::INVAL)
    );
    // Too little space for the capabilities: the reply contains the required size.
    info.argsz = 32;
    let reply = client
        .request(Command::DeviceGetRegionInfo, info.as_bytes())
        .unwrap();
    assert_eq!(
        (reply.len(), read::<wire::RegionInfo>(&reply).argsz),
        (32, 64)
    );
    info.argsz = u32::MAX;
    let reply = client
        .request(Command::DeviceGetRegionInfo, info.as_bytes())
        .unwrap();
    assert_eq!(reply.len(), 64);
    assert!(client.is_served());
}

#[test]
fn accesses_outside_a_region_are_refused() {
    let server = Running::start();
    let mut client = server.client();
    for (bad, errno) in [
        (access(0, 0, 0), Errno::INVAL),
        (access(0, BAR0_SIZE, 1), Errno::INVAL),
        (access(0, BAR0_SIZE - 3, 4), Errno::INVAL),
        (access(0, u64::MAX, 1), Errno::INVAL),
        (access(0, u64::MAX - 3, 4), Errno::INVAL),
        (access(0, 0, u32::MAX), Errno::INVAL),
        (access(0, 0, (1 << 20) + 1), Errno::INVAL),
        (access(3, 0, 1), Errno::INVAL),
        (access(9, 0, 1), Errno::INVAL),
        (access(u32::MAX, 0, 1), Errno::INVAL),
        (access(BROKEN, 0, 1), Errno::IO),
    ] {
        assert_eq!(
            client.request(Command::RegionRead, bad.as_bytes()),
            Err(errno),
            "{bad:?}"
        );
        if bad.count <= 4 {
            let write = [bad.as_bytes(), &vec![0; bad.count as usize]].concat();
            assert_eq!(
                client.request(Command::RegionWrite, &write),
                Err(errno),
                "{bad:?}"
            );
        }
    }
    let write = [access(READ_ONLY, 0, 1).as_bytes(), &[0]].concat();
    assert_eq!(
        client.request(Command::RegionWrite, &write),
        Err(Errno::PERM)
    );
    for index in [9, u32::MAX] {
        let info = wire::RegionInfo {
            argsz: 32,
            index,
            ..Default::default()
        };
        assert_eq!(
            client.request(Command::DeviceGetRegionInfo, info.as_bytes()),
            Err(Errno::INVAL)
        );
    }
    assert!(client.is_served());
}

#[test]
fn many_writes_in_one_are_checked_before_the_first() {
    let server = Running::start();
    let mut client = server.client();
    let one = |offset: u64, count: u32| wire::WriteOne {
        offset: offset.into(),
        region: 0.into(),
        count: count.into(),
        data: [0xee; 8],
    };
    let multi =
        |wr_cnt: u64, writes: &[wire::WriteOne]| [wr_cnt.as_bytes(), writes.as_bytes()].concat();
    for bad in [
        multi(u64::MAX, &[one(0, 4)]),
        multi(u64::MAX / 24 + 1, &[one(0, 4)]),
        multi(1, &[one(0, 4), one(0, 4)]),
        multi(2, &[one(0, 4), one(0, 9)]),
        multi(2, &[one(0, 4), one(BAR0_SIZE, 1)]),
    ] {
        assert_eq!(
            client.request(Command::RegionWriteMulti, &bad),
            Err(Errno::INVAL)
        );
    }
    let at_0 = access(0, 0, 8);
    assert_eq!(
        client
            .request(Command::RegionRead, at_0.as_bytes())
            .unwrap()[16..],
        [0; 8]
    );
    let good = multi(2, &[one(0, 2), one(4, 1)]);
    assert_eq!(
        client.request(Command::RegionWriteMulti, &good).unwrap(),
        2u64.as_bytes()
    );
    let written = client
        .request(Command::RegionRead, at_0.as_bytes())
        .unwrap();
    assert_eq!(written[16..], [0xee, 0xee, 0, 0, 0xee, 0, 0, 0]);
    drop(client);
    let mut other = server.connect();
    other.request(Command::Version, &[0, 0, 1, 0]).unwrap();
    assert_eq!(
        other.request(Command::RegionWriteMulti, &good),
        Err(Errno::NOTSUP)
    );
}

#[test]
fn windows_that_cannot_be_are_refused() {
    let server = Running::start();
    let mut client = server.client();
    let memory = shared_memory(1 << 16);
    for (bad, errno) in [
        (map(0x1000, 0), Errno::INVAL),
        (map(0x1000, 0x1001), Errno::INVAL),
        (map(0x1001, 0x1000), Errno::INVAL),
        (map(u64::MAX - 0xfff, 0x2000), Errno::INVAL),
        (map(0x1000, !0xfff), Errno::INVAL),
        (map(0x1000, 0x11000), Errno::INVAL), // longer than the file
        (
            wire::DmaMap {
                offset: 0xf000,
                ..map(0, 0x2000)
            },
            Errno::INVAL,
        ),
        (
            wire::DmaMap {
                offset: !0xfff,
                ..map(0, 0x2000)
            },
            Errno::INVAL,
        ),
        (
            wire::DmaMap {
                offset: 1,
                ..map(0, 0x1000)
            },
            Errno::INVAL,
        ),
        (
            wire::DmaMap {
                flags: 0,
                ..map(0, 0x1000)
            },
            Errno::INVAL,
        ),
        (
            wire::DmaMap {
                flags: 7,
                ..map(0, 0x1000)
            },
            Errno::INVAL,
        ),
        (
            wire::DmaMap {
                argsz: 31,
                ..map(0, 0x1000)
            },
            Errno::INVAL,
        ),
    ] {
        let reply = client.request_with_fds(Command::DmaMap, bad.as_bytes(), &[memory.as_fd()]);
        assert_eq!(reply, Err(errno), "{bad:x?}");
    }
    let two = [memory.as_fd(), memory.as_fd()];
    let good = map(0x10_0000, 0x2000);
    assert_eq!(
        client.request_with_fds(Command::DmaMap, good.as_bytes(), &two),
        Err(Errno::INVAL)
    );
    client
        .request_with_fds(Command::DmaMap, good.as_bytes(), &two[..1])
        .unwrap();
    assert_eq!(
        client.request(Command::DmaMap, good.as_bytes()),
        Err(Errno::EXIST)
    );
    client
        .request(Command::DmaMap, map(0x20_0000, 1 << 40).as_bytes())
        .unwrap(); // without a file

    let unmap = |flags, address, size| wire::DmaUnmap {
        argsz: 24,
        flags,
        address,
        size,
    };
    for bad in [
        unmap(0, 0x10_0000, 0x1000),
        unmap(0, 0x10_0000, 0),
        unmap(0, u64::MAX, 2),
        unmap(1, 0x10_0000, 0x2000),
        unmap(2, 0x10_0000, 0x2000),
    ] {
        assert_eq!(
            client.request(Command::DmaUnmap, bad.as_bytes()),
            Err(Errno::INVAL),
            "{bad:x?}"
        );
    }
    let all = unmap(2, 0, 0);
    assert_eq!(
        client.request(Command::DmaUnmap, all.as_bytes()).unwrap(),
        all.as_bytes()
    );
    client.request(Command::DmaMap, good.as_bytes()).unwrap();
    drop(client);
    assert!(server.stop().windows.is_empty());
}

#[test]
fn the_number_of_windows_is_bounded() {
    let server = Running::with_config(Config {
        max_dma_maps: 3,
        ..Config::default()
    });
    let mut client = server.client();
    for n in 0..3 {
        client
            .request(Command::DmaMap, map(n << 12, 1 << 12).as_bytes())
            .unwrap();
    }
    let fourth = client.request(Command::DmaMap, map(3 << 12, 1 << 12).as_bytes());
    assert_eq!(fourth, Err(Errno::NOSPC));
}

#[test]
fn interrupts_outside_their_type_are_refused() {
    let server = Running::start();
    let mut client = server.client();
    for bad in [
        irqs(0x21, 0, MSIX.1 + 1),
        irqs(0x21, MSIX.1, 1),
        irqs(0x21, u32::MAX, 2),
        irqs(0x21, 1, u32::MAX),
        irqs(0x21, 1, 0),
        irqs(0x24, 0, 0),
        irqs(0x24, 0, u32::MAX),
        irqs(0x20, 0, 1), // no data flag
        irqs(0x01, 0, 1), // no action flag
        irqs(0x27, 0, 1), // all data flags
        irqs(0x39, 0, 1), // all action flags
        irqs(0x61, 0, 1), // undefined flag
        irqs(0x22, 0, 1), // booleans that are missing
        irqs(0x22, 0, u32::MAX),
        wire::IrqSet {
            argsz: 19,
            ..irqs(0x21, 0, 1)
        },
        wire::IrqSet {
            index: 0,
            ..irqs(0x21, 0, 1)
        }, // a type without interrupts
        wire::IrqSet {
            index: 5,
            ..irqs(0x21, 0, 0)
        },
        wire::IrqSet {
            index: u32::MAX,
            ..irqs(0x21, 0, 0)
        },
    ] {
        let reply = client.request(Command::DeviceSetIrqs, bad.as_bytes());
        assert_eq!(reply, Err(Errno::INVAL), "{bad:x?}");
    }
    for index in [5, u32::MAX] {
        let info = wire::IrqInfo {
            argsz: 16,
            index,
            ..Default::default()
        };
        assert_eq!(
            client.request(Command::DeviceGetIrqInfo, info.as_bytes()),
            Err(Errno::INVAL)
        );
    }
    assert!(client.is_served());
}

#[test]
fn descriptors_that_do_not_fit_are_refused() {
    let server = Running::start();
    let mut client = server.client();
    let fds: Vec<OwnedFd> = (0..40).map(|_| eventfd()).collect();
    let fds: Vec<BorrowedFd<'_>> = fds.iter().map(|fd| fd.as_fd()).collect();
    let set = irqs(0x24, 0, 3);
    for count in [1, 2, 4, 16, 17, 40] {
        let reply = client.request_with_fds(Command::DeviceSetIrqs, set.as_bytes(), &fds[..count]);
        assert_eq!(
            reply,
            Err(Errno::INVAL),
            "{count} descriptors for 3 interrupts"
        );
    }
    let none = irqs(0x21, 0, 3);
    let reply = client.request_with_fds(Command::DeviceSetIrqs, none.as_bytes(), &fds[..3]);
    assert_eq!(reply, Err(Errno::INVAL));
    let reply = client.request_with_fds(Command::RegionRead, access(0, 0, 4).as_bytes(), &fds[..1]);
    assert_eq!(reply, Err(Errno::INVAL));
    // A pipe would block the process that signals it, a file would be written to.
    let (_reader, writer) = rustix::pipe::pipe().unwrap();
    let file = shared_memory(4096);
    for other in [&writer, &file] {
        let three = [fds[0], other.as_fd(), fds[2]];
        let reply = client.request_with_fds(Command::DeviceSetIrqs, set.as_bytes(), &three);
        assert_eq!(reply, Err(Errno::INVAL));
    }
    assert_eq!(server.stats.refused(Reason::Fds), 10);
    client
        .request_with_fds(Command::DeviceSetIrqs, set.as_bytes(), &fds[..3])
        .unwrap();
    assert!(client.is_served());
}

#[test]
fn descriptors_may_come_with_any_byte_of_their_message() {
    let server = Running::start();
    let mut client = server.client();
    let fds = [eventfd(), eventfd()];
    let bytes = message(1, Command::DeviceSetIrqs, 0, irqs(0x24, 0, 2).as_bytes());
    client.send_with_fds(&bytes[..5], &[fds[0].as_fd()]);
    client.send(&bytes[5..18]);
    client.send_with_fds(&bytes[18..], &[fds[1].as_fd()]);
    client.reply().unwrap();
    let chosen = [irqs(0x22, 0, 2).as_bytes(), &[0, 1]].concat();
    client.request(Command::DeviceSetIrqs, &chosen).unwrap();
    assert_eq!(fds.each_ref().map(signals), [0, 1]);
}

#[test]
fn an_eventfd_that_is_full_blocks_nobody() {
    let server = Running::start();
    let mut client = server.client();
    let full = eventfd();
    rustix::io::write(&full, (u64::MAX - 1).as_bytes()).unwrap();
    let set = irqs(0x24, 0, 1);
    client
        .request_with_fds(Command::DeviceSetIrqs, set.as_bytes(), &[full.as_fd()])
        .unwrap();
    client
        .request(Command::DeviceSetIrqs, irqs(0x21, 0, 1).as_bytes())
        .unwrap();
    assert!(client.is_served());
}
