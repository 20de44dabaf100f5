// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The bodies of the fuzz targets, so that a plain test can run them too.

mod handover;

use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{eventfd, EventfdFlags};
use zerocopy::{FromBytes, IntoBytes};

use crate::header::{Command, Header};
use crate::migration::MigrationSupport;
use crate::session::{Session, State};
use crate::stats::Stats;
use crate::testing::{shared_memory, ScratchDevice};
use crate::transport::{End, ReceivedFds, Transport};
use crate::{wire, Config};

pub use handover::{handover, handover_corpus};

/// Serves a client that sends the bytes of `input`, and panics if the server misbehaves towards the
/// client or the device.
///
/// Of the first byte, bit 0 selects a valid version message before the rest, bit 1 a device that can
/// be migrated, bits 2 and 3 its optional states, and bit 4 that the client is handed over to another
/// server and device after each message. The ID of each message
/// encodes the descriptors that it carries: the low five bits their number, the next two their
/// kind.
pub fn vfio_user_server(input: &[u8]) {
    let Some((&first, stream)) = input.split_first() else {
        return;
    };
    let hello = if first & 1 != 0 {
        message(0, Command::Version, 0, HELLO)
    } else {
        Vec::new()
    };
    let mut transport = Memory {
        parts: [&hello, stream],
        last: Header::default(),
        hands_over: first & 16 != 0,
        has_served: false,
    };
    let config = Config {
        max_data_xfer_size: 1 << 16,
        max_dma_maps: 64,
        max_bitmap_size: 1 << 12,
        handover: first & 16 != 0,
        ..Config::default()
    };
    let stats = Stats::default();
    let new_device = || match first & 2 {
        0 => ScratchDevice::new(),
        _ => ScratchDevice::migratable(MigrationSupport {
            pre_copy: first & 4 != 0,
            p2p: first & 8 != 0,
        }),
    };
    let mut device = new_device();
    let mut state = State::new(&config);
    let mut is_foreign = false;
    loop {
        let mut session = Session::new(transport, &mut device, &config, &stats, state);
        if is_foreign {
            session.resume().expect("windows that were mapped before");
        }
        let (end, back, left) = session.run();
        match end {
            End::HandedOver => {
                let mut successor = new_device();
                successor.vectors = std::mem::take(&mut device.vectors);
                successor.migration = device.migration.take();
                assert_eq!(device.windows.len(), left.windows.iter().len());
                state = handover::hand_over(left, &config);
                device = successor;
                transport = back;
                is_foreign = true;
            }
            End::Closed | End::Truncated | End::Protocol => break,
            End::Stopped | End::Stalled | End::Io(_) => panic!("{end}"),
        }
    }
    assert!(device.windows.is_empty() && device.vectors.is_empty());
}

/// The payload of a version message that a server accepts.
pub const HELLO: &[u8] =
    b"\0\0\x01\0{\"capabilities\":{\"max_msg_fds\":16,\"write_multiple\":true}}\0";

/// A message as sent by a client.
pub fn message(id: u16, command: Command, flags: u32, payload: &[u8]) -> Vec<u8> {
    let size = (Header::SIZE + payload.len()) as u32;
    let header = Header {
        id,
        command: command as u16,
        size,
        flags,
        error: 0,
    };
    [header.as_bytes(), payload].concat()
}

/// Valid messages of every kind, for a fuzzer to mutate.
pub fn seeds() -> Vec<Vec<u8>> {
    let irqs = |flags, start, count| {
        let argsz = wire::IrqSet::SIZE as u32;
        wire::IrqSet {
            argsz,
            flags,
            index: crate::testing::MSIX.0,
            start,
            count,
        }
    };
    let access = |region, offset, count| wire::RegionAccess {
        offset,
        region,
        count,
    };
    let map = wire::DmaMap {
        argsz: 32,
        flags: 3,
        offset: 0,
        address: 1 << 20,
        size: 1 << 16,
    };
    let unmap = wire::DmaUnmap {
        argsz: 24,
        flags: 0,
        address: 1 << 20,
        size: 1 << 16,
    };
    let region = wire::RegionInfo {
        argsz: 128,
        ..Default::default()
    };
    let info = wire::DeviceInfo {
        argsz: 16,
        ..Default::default()
    };
    let irq = wire::IrqInfo {
        argsz: 16,
        flags: 0,
        index: 2,
        count: 0,
    };
    let one = wire::WriteOne {
        count: 4.into(),
        data: [7; 8],
        ..Default::default()
    };
    let write = [access(0, 8, 8).as_bytes(), &[0xa5; 8]].concat();
    let multi = [&2u64.to_ne_bytes()[..], one.as_bytes(), one.as_bytes()].concat();
    let bools = [irqs(0x22, 0, 3).as_bytes(), &[1, 0, 1]].concat();
    let feature = |flags: u32, data: &[u8]| {
        let head = wire::DeviceFeature { argsz: 4096, flags };
        let payload = [head.as_bytes(), data].concat();
        message(0, Command::DeviceFeature, 0, &payload)
    };
    let (get, set, probe) = (1 << 16, 1 << 17, 1 << 18);
    let state = |state: u32| feature(set | 2, [state, 0].as_bytes());
    let log = [1u64 << 12, 1, 0, 1 << 20];
    let report = [0u64, 1 << 20, 1 << 12];
    let mig_data = |size| wire::MigData { argsz: 4096, size };
    let mig_write = [mig_data(8).as_bytes(), &[0x5a; 8]].concat();
    let eventfds = 3; // in the ID: three descriptors of the first kind
    let memory = 1 | 1 << 5; // in the ID: one descriptor of the second kind
    vec![
        message(0, Command::Version, 0, HELLO),
        message(memory, Command::DmaMap, 0, map.as_bytes()),
        message(0, Command::DmaMap, 0, map.as_bytes()),
        message(0, Command::DmaUnmap, 0, unmap.as_bytes()),
        message(
            0,
            Command::DmaUnmap,
            0,
            wire::DmaUnmap {
                flags: 2,
                address: 0,
                size: 0,
                ..unmap
            }
            .as_bytes(),
        ),
        message(0, Command::DeviceGetInfo, 0, info.as_bytes()),
        message(0, Command::DeviceGetRegionInfo, 0, region.as_bytes()),
        message(0, Command::DeviceGetIrqInfo, 0, irq.as_bytes()),
        message(
            eventfds,
            Command::DeviceSetIrqs,
            0,
            irqs(0x24, 2, 3).as_bytes(),
        ),
        message(0, Command::DeviceSetIrqs, 0, irqs(0x24, 0, 5).as_bytes()),
        message(0, Command::DeviceSetIrqs, 0, irqs(0x21, 0, 20).as_bytes()),
        message(0, Command::DeviceSetIrqs, 0, irqs(0x21, 0, 0).as_bytes()),
        message(0, Command::DeviceSetIrqs, 0, &bools),
        message(0, Command::RegionRead, 0, access(0, 0x3ff8, 8).as_bytes()),
        message(0, Command::RegionRead, 0, access(7, 0, 256).as_bytes()),
        message(0, Command::RegionWrite, 0, &write),
        message(0, Command::RegionWrite, Header::NO_REPLY, &write),
        message(0, Command::RegionWriteMulti, Header::NO_REPLY, &multi),
        message(0, Command::DeviceReset, 0, &[]),
        message(0, Command::DeviceFeature, 0, &[0; 8]),
        feature(get | 1, &[]),
        feature(get | 2, &[0; 8]),
        feature(get | 9, &[]),
        feature(probe | set | 6, &[]),
        state(3),
        message(0, Command::MigDataRead, 0, mig_data(64).as_bytes()),
        state(4),
        message(0, Command::MigDataWrite, 0, &mig_write),
        state(6),
        state(7),
        state(2),
        feature(set | 6, log.as_bytes()),
        feature(get | 8, report.as_bytes()),
        feature(set | 7, &[]),
    ]
}

/// Seed inputs for [`vfio_user_server`]: with them a fuzzer reaches twice the coverage within a
/// minute as without.
pub fn corpus() -> Vec<Vec<u8>> {
    let messages = seeds();
    let all = messages.concat();
    // Both kinds of device, with and without handovers.
    let mut inputs: Vec<_> = [0, 15, 16, 31]
        .map(|first| [&[first], &all[..]].concat())
        .to_vec();
    inputs.extend(
        messages
            .iter()
            .map(|message| [&[15], &message[..]].concat()),
    );
    inputs
}

/// A client that has sent its whole input and never reads.
struct Memory<'a> {
    parts: [&'a [u8]; 2],
    /// The header of the current message.
    last: Header,
    /// Set to hand the client over after each message.
    hands_over: bool,
    /// Set if a message was received since the last handover.
    has_served: bool,
}

impl Memory<'_> {
    fn take(&mut self, buf: &mut [u8], at_end: End) -> Result<(), End> {
        let mut filled = 0;
        for part in &mut self.parts {
            let n = part.len().min(buf.len() - filled);
            buf[filled..filled + n].copy_from_slice(&part[..n]);
            *part = &part[n..];
            filled += n;
        }
        match filled {
            n if n == buf.len() => Ok(()),
            0 => Err(at_end),
            _ => Err(End::Truncated),
        }
    }
}

impl Transport for Memory<'_> {
    fn receive_first(
        &mut self,
        buf: &mut [u8],
        fds: &mut ReceivedFds,
        _timeout: Option<Duration>,
    ) -> Result<(), End> {
        if self.hands_over && std::mem::take(&mut self.has_served) {
            return Err(End::HandedOver);
        }
        self.take(buf, End::Closed)?;
        self.has_served = true;
        self.last = Header::read_from_bytes(buf).expect("the server reads headers");
        for _ in 0..self.last.id & 0x1f {
            match descriptor(self.last.id >> 5 & 3) {
                Some(fd) => fds.push(fd),
                None => fds.set_excess(),
            }
        }
        Ok(())
    }

    fn receive_more(&mut self, buf: &mut [u8], _fds: &mut ReceivedFds) -> Result<(), End> {
        self.take(buf, End::Truncated)
    }

    fn send(&mut self, message: &[u8], fds: &[BorrowedFd<'_>]) -> Result<(), End> {
        let (header, _) = Header::read_from_prefix(message).expect("a reply without a header");
        assert!(!self.last.no_reply(), "an unrequested reply");
        assert_eq!(header.size as usize, message.len());
        assert_eq!(
            (header.id, header.command),
            (self.last.id, self.last.command)
        );
        let failed = header.error != 0;
        assert_eq!(
            header.flags,
            Header::TYPE_REPLY | if failed { Header::ERROR } else { 0 }
        );
        assert!(!failed || (fds.is_empty() && message.len() == Header::SIZE));
        Ok(())
    }
}

/// A descriptor of one of four kinds; `None` stands for one that the kernel had to discard.
fn descriptor(kind: u16) -> Option<OwnedFd> {
    match kind {
        0 => Some(eventfd(0, EventfdFlags::CLOEXEC).expect("eventfd")),
        1 => Some(shared_memory(1 << 20)),
        2 => Some(rustix::pipe::pipe().expect("pipe").1),
        _ => None,
    }
}
