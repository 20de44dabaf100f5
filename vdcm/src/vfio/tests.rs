// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The ADI over VFIO on a device that records what it is asked for.

use std::sync::{Arc, Mutex};

use adit_function::memory::Access;
use adit_uapi::vfio::RegisterMemory;
use adit_uapi::virtchnl2::op;
use memmap2::MmapRaw;
use rustix::fs::{ftruncate, memfd_create, MemfdFlags};
use zerocopy::little_endian::{U32, U64};
use zerocopy::FromBytes;

use super::*;

/// The device, as its test sees it.
#[derive(Default)]
struct Record {
    /// Calls, in their order.
    calls: Vec<String>,
    /// The error that messages fail with; 0 for none.
    errno: i32,
    /// The opcode of the message that fails; 0 for all.
    failing: u32,
    /// The number of messages until one succeeds again.
    failures: u32,
}

#[derive(Clone, Default)]
struct Fake(Arc<Mutex<Record>>);

impl Fake {
    fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap().calls)
    }

    fn log(&self, call: String) {
        self.0.lock().unwrap().calls.push(call);
    }

    /// Makes `failures` messages of an opcode fail.
    fn fail(&self, failing: u32, errno: Errno, failures: u32) {
        let mut record = self.0.lock().unwrap();
        record.errno = errno.raw_os_error();
        record.failing = failing;
        record.failures = failures;
    }
}

impl Device for Fake {
    fn info(&self) -> Result<AdiInfo, Error> {
        Ok(AdiInfo {
            state: U32::new(adi_state::ACTIVE),
            mac: [2, 0, 0, 0, 0, 9],
            num_queue_pairs: U16::new(2),
            num_vectors: U16::new(2),
            max_registrations: U32::new(2),
            max_registered_len: U64::new(0x10_0000),
            iova_last: U64::new(0xFFFF_FFFF),
            ..AdiInfo::default()
        })
    }

    fn request(&self, opcode: u32, payload: &[u8]) -> Result<Vec<u8>, Error> {
        let mut record = self.0.lock().unwrap();
        if record.failures > 0 && (record.failing == 0 || record.failing == opcode) {
            record.failures -= 1;
            let source = io::Error::from_raw_os_error(record.errno);
            return Err(Error::Refused { opcode, source });
        }
        record.calls.push(match opcode {
            adit_op::REGISTER_MEMORY | adit_op::UNREGISTER_MEMORY => {
                let range = RegisterMemory::read_from_bytes(payload).unwrap();
                let name = adit_op::name(opcode).unwrap();
                format!("{name} {:#x} {:#x} {}", range.iova, range.len, range.flags)
            }
            adi_op::CONFIG_ADI_DOORBELLS => format!("doorbells {payload:?}"),
            other => format!("message {other}"),
        });
        Ok(vec![7; 3])
    }

    fn map_page(&self, _: u32, _: u32) -> Result<MmapRaw, Error> {
        panic!("a composed device maps no page itself")
    }

    fn map_dma_region(&self, _: u64) -> Result<MmapRaw, Error> {
        panic!("a composed device has no memory of the driver's")
    }

    unsafe fn map_memory(&self, memory: &Memory) -> Result<(), Error> {
        self.log(format!("map {:#x} {:#x}", memory.iova(), memory.len()));
        Ok(())
    }

    fn unmap_memory(&self, memory: &Memory) -> Result<(), Error> {
        self.log(format!("unmap {:#x} {:#x}", memory.iova(), memory.len()));
        Ok(())
    }

    fn set_eventfds(
        &self,
        index: u32,
        first: u32,
        eventfds: &[Option<BorrowedFd<'_>>],
    ) -> Result<(), Error> {
        let set: Vec<_> = eventfds.iter().map(Option::is_some).collect();
        self.log(format!("eventfds {index} {first} {set:?}"));
        Ok(())
    }

    fn reset(&self) -> Result<(), Error> {
        self.log("reset".into());
        Ok(())
    }

    fn give(&self, pages: &[Page<'_>]) -> Result<Pages, Error> {
        let names: Vec<_> = pages
            .iter()
            .map(|page| match page {
                Page::Own { region, page } => format!("{region}.{page}"),
                Page::Given { pages, page } => format!("given.{page}/{}", pages.count()),
            })
            .collect();
        self.log(format!("give {}", names.join(" ")));
        Ok(Pages::new(
            tempfile::tempfile().unwrap().into(),
            pages.len() as u32,
        ))
    }
}

fn open() -> (VfioAdi, Fake) {
    let fake = Fake::default();
    let adi = VfioAdi::new("adit.adi.7", Box::new(fake.clone())).unwrap();
    (adi, fake)
}

fn file(len: u64) -> Arc<OwnedFd> {
    let fd = memfd_create("client", MemfdFlags::CLOEXEC).unwrap();
    ftruncate(&fd, len).unwrap();
    Arc::new(fd)
}

fn window(iova: u64, len: u64) -> Window {
    Window {
        iova,
        len,
        access: Access {
            read: true,
            write: true,
        },
        file: file(len),
        offset: 0,
    }
}

fn reason(result: Result<(), AdiError>) -> String {
    let AdiError::Limit { what, reason } = result.unwrap_err() else {
        panic!("another error")
    };
    format!("{what}: {reason}")
}

#[test]
fn an_adi_is_polled_without_kicks_and_gives_its_pages() {
    let (adi, fake) = open();
    let want = [
        "eventfds 1 0 [true]",
        "eventfds 2 0 [true]",
        "doorbells [0, 0, 1, 0]",
        "give 1.0 1.1 1.2 1.3 1.4 1.5 2.0 2.1",
    ];
    assert_eq!(fake.calls(), want);
    assert_eq!(adi.pages().unwrap().count, 8);
    let properties = adi.properties();
    assert_eq!((properties.pairs, properties.vectors), (2, 2));
    assert_eq!(properties.iova, 0..=0xFFFF_FFFF);
    assert_eq!(adi.ids(), Ids::default());
    assert!(adi.link().unwrap().up);
}

#[test]
fn memory_is_mapped_before_it_is_registered_and_unmapped_after() {
    let (mut adi, fake) = open();
    fake.calls();
    let mut first = window(0x1000, 0x2000);
    adi.map(&first).unwrap();
    adi.unmap(0x1000, 0x2000).unwrap();
    first.access.write = false;
    adi.map(&first).unwrap();
    let want = [
        "map 0x1000 0x2000",
        "REGISTER_MEMORY 0x1000 0x2000 3",
        "UNREGISTER_MEMORY 0x1000 0x2000 4",
        "unmap 0x1000 0x2000",
        "map 0x1000 0x2000",
        "REGISTER_MEMORY 0x1000 0x2000 1",
    ];
    assert_eq!(fake.calls(), want);
    // Only exact windows are unmapped.
    for (iova, len) in [(0x1000, 0x1000), (0x2000, 0x1000), (0, 0x3000)] {
        let reason = reason(adi.unmap(iova, len));
        assert!(reason.contains("there is no window of"), "{reason}");
    }
    assert_eq!(fake.calls(), [""; 0]);
}

#[test]
fn windows_beyond_the_limits_are_refused() {
    let (mut adi, fake) = open();
    fake.calls();
    adi.map(&window(0x10_0000, 0x2000)).unwrap();
    fake.calls();
    let mut refused = |iova, len, want: &str| {
        let text = reason(adi.map(&window(iova, len)));
        assert!(text.contains(want), "{text}");
    };
    refused(
        0x10_1000,
        0x1000,
        "0x101000 to 0x101fff overlaps the window of 0x2000 bytes at 0x100000",
    );
    refused(0xF_F000, 0x2000, "overlaps");
    refused(0xF_F000, 0x4000, "overlaps");
    refused(
        0xFFFF_F000,
        0x2000,
        "not inside of the ADI's addresses, 0x0 to 0xffffffff",
    );
    refused(0x1000, 0, "not inside");
    refused(
        0x20_0000,
        0xF_F000,
        "0xff000 bytes, besides 0x2000: the ADI's maximum is 0x100000",
    );
    let mut none = window(0x20_0000, 0x1000);
    none.access = Access::NONE;
    assert!(reason(adi.map(&none)).contains("permits no access"));
    let mut unaligned = window(0x20_0000, 0x1000);
    unaligned.offset = 1;
    assert!(reason(adi.map(&unaligned)).contains("multiples of 4096"));
    adi.map(&window(0x20_0000, 0x1000)).unwrap();
    let text = reason(adi.map(&window(0x30_0000, 0x1000)));
    assert!(text.contains("2 windows are registered"), "{text}");
}

#[test]
fn a_window_that_is_not_registered_is_not_mapped_either() {
    let (mut adi, fake) = open();
    fake.calls();
    let cases = [
        (Errno::NOMEM, "RLIMIT_MEMLOCK"),
        (Errno::FAULT, "their file is shorter"),
        (Errno::INVAL, "addresses of interrupts"),
    ];
    for (errno, want) in cases {
        fake.fail(adit_op::REGISTER_MEMORY, errno, 1);
        let text = reason(adi.map(&window(0x1000, 0x1000)));
        assert!(text.contains(want), "{text}");
        assert_eq!(fake.calls(), ["map 0x1000 0x1000", "unmap 0x1000 0x1000"]);
    }
    // A signal is no reason to give up.
    fake.fail(adit_op::REGISTER_MEMORY, Errno::INTR, 3);
    adi.map(&window(0x1000, 0x1000)).unwrap();
}

#[test]
fn a_file_that_shrinks_does_no_harm() {
    let (mut adi, _fake) = open();
    let shrinks = window(0x1000, 0x4000);
    adi.map(&shrinks).unwrap();
    ftruncate(&shrinks.file, 0).unwrap();
    adi.unmap(0x1000, 0x4000).unwrap();
    // Nor does one that was too short from the beginning; the kernel refuses to pin it.
    adi.map(&shrinks).unwrap();
}

#[test]
fn an_adi_that_is_gone_still_unmaps() {
    let (mut adi, fake) = open();
    adi.map(&window(0x1000, 0x1000)).unwrap();
    fake.calls();
    fake.fail(0, Errno::IO, u32::MAX);
    let mut reply = Vec::new();
    let gone = adi.request(op::ENABLE_VPORT, &[0; 8], &mut reply);
    assert!(matches!(gone, Err(AdiError::Gone)));
    assert!(matches!(adi.reset(), Err(AdiError::Gone)));
    adi.unmap(0x1000, 0x1000).unwrap();
    assert_eq!(fake.calls(), ["unmap 0x1000 0x1000"]);
}

#[test]
fn messages_that_the_back_end_sends_itself_are_refused() {
    let (mut adi, fake) = open();
    fake.calls();
    let mut reply = vec![1];
    for opcode in [
        adit_op::REGISTER_MEMORY,
        adit_op::UNREGISTER_MEMORY,
        adi_op::RESET_ADI,
    ] {
        let refused = adi.request(opcode, &[0; 24], &mut reply);
        assert!(matches!(refused, Err(AdiError::Refused { .. })));
    }
    assert_eq!(fake.calls(), [""; 0]);
    adi.request(op::GET_STATS, &[0; 128], &mut reply).unwrap();
    assert_eq!(reply, [7; 3]);
}

#[test]
fn a_reset_keeps_the_pages_and_a_revocation_does_not() {
    let (mut adi, fake) = open();
    fake.calls();
    adi.reset().unwrap();
    let reset = format!("message {}", adi_op::RESET_ADI);
    assert_eq!(fake.calls(), [&reset, "doorbells [0, 0, 1, 0]"]);
    adi.revoke_pages().unwrap();
    let want = [
        "reset",
        "doorbells [0, 0, 1, 0]",
        "give 1.0 1.1 1.2 1.3 1.4 1.5 2.0 2.1",
    ];
    assert_eq!(fake.calls(), want);
}

#[test]
fn the_pages_of_several_adis_are_in_one_file() {
    let (one, _) = open();
    let (two, fake) = open();
    fake.calls();
    let parts = [two.pages().unwrap(), one.pages().unwrap()];
    let joined = two.join_pages(&parts).unwrap();
    assert_eq!(joined.count, 16);
    let given: Vec<_> = (0..8).map(|page| format!("given.{page}/8")).collect();
    let given = [given.clone(), given].concat().join(" ");
    assert_eq!(fake.calls(), [format!("give {given}")]);
}

#[test]
fn a_vector_is_set_by_itself() {
    let (mut adi, fake) = open();
    fake.calls();
    let event = EventFd::from_client(event().unwrap()).unwrap();
    adi.set_vector(1, Some(&event)).unwrap();
    adi.set_vector(1, None).unwrap();
    assert_eq!(
        fake.calls(),
        ["eventfds 0 1 [true]", "eventfds 0 1 [false]"]
    );
}
