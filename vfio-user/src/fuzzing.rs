// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The bodies of the fuzz targets, so that a plain test can run them too.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{eventfd, EventfdFlags};
use zerocopy::{FromBytes, IntoBytes};

use crate::header::{Command, Header};
use crate::session::Session;
use crate::stats::Stats;
use crate::testing::{shared_memory, ScratchDevice};
use crate::transport::{End, ReceivedFds, Transport};
use crate::{wire, Config};

/// Serves a client that sends the bytes of `input`, and panics if the server misbehaves towards the
/// client or the device.
///
/// Bit 0 of the first byte selects a valid version message before the rest. The ID of each message
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
    let transport = Memory {
        parts: [&hello, stream],
        last: Header::default(),
    };
    let config = Config {
        max_data_xfer_size: 1 << 16,
        max_dma_maps: 64,
        ..Config::default()
    };
    let stats = Stats::default();
    let mut device = ScratchDevice::new();
    let end = Session::new(transport, &mut device, &config, &stats).run();
    assert!(
        !matches!(end, End::Stopped | End::Stalled | End::Io(_)),
        "{end}"
    );
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
    ]
}

/// Seed inputs for [`vfio_user_server`]: with them a fuzzer reaches twice the coverage within a
/// minute as without.
pub fn corpus() -> Vec<Vec<u8>> {
    let messages = seeds();
    let mut inputs = vec![[&[0], &messages.concat()[..]].concat()];
    inputs.extend(messages.iter().map(|message| [&[1], &message[..]].concat()));
    inputs
}

/// A client that has sent its whole input and never reads.
struct Memory<'a> {
    parts: [&'a [u8]; 2],
    /// The header of the current message.
    last: Header,
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
        self.take(buf, End::Closed)?;
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

    fn send(&mut self, message: &[u8], fd: Option<BorrowedFd<'_>>) -> Result<(), End> {
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
        assert!(!failed || (fd.is_none() && message.len() == Header::SIZE));
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
