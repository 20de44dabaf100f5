// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The ADI over VFIO on a device that records what it is asked for.

mod log;

use std::fs::File;
use std::sync::{Arc, Mutex};

use adit_function::memory::Access;
use adit_uapi::vfio::RegisterMemory;
use adit_uapi::virtchnl2::op;
use memmap2::MmapRaw;
use rustix::fs::{ftruncate, memfd_create, MemfdFlags};
use rustix::io::Errno;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::FromBytes;

use super::*;
use crate::backend::Provider;
use crate::group::Group;

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
    /// The error that a group is refused with.
    lead_errno: Option<Errno>,
    /// Set once the ADI is gone.
    ended: bool,
    /// The payloads of the messages in `calls`.
    payloads: Vec<Vec<u8>>,
    /// The NIC's log, if it has some.
    log: Option<log::NicLog>,
}

#[derive(Clone)]
struct Fake {
    record: Arc<Mutex<Record>>,
    /// The id in messages to the NIC.
    id: u32,
    file: Arc<File>,
}

impl Fake {
    fn new(id: u32) -> Self {
        Self {
            record: Arc::default(),
            id,
            file: Arc::new(tempfile::tempfile().unwrap()),
        }
    }

    /// A device whose calls are those of this one.
    fn beside(&self, id: u32) -> Self {
        let record = self.record.clone();
        Self {
            record,
            ..Self::new(id)
        }
    }

    fn calls(&self) -> Vec<String> {
        let mut record = self.record.lock().unwrap();
        record.payloads.clear();
        std::mem::take(&mut record.calls)
    }

    fn log(&self, call: String) {
        self.record.lock().unwrap().calls.push(call);
    }

    /// Makes `failures` messages of an opcode fail.
    fn fail(&self, failing: u32, errno: Errno, failures: u32) {
        let mut record = self.record.lock().unwrap();
        record.errno = errno.raw_os_error();
        record.failing = failing;
        record.failures = failures;
    }
}

impl Device for Fake {
    fn info(&self) -> Result<AdiInfo, Error> {
        let state = match self.record.lock().unwrap().ended {
            false => adi_state::ACTIVE,
            true => adi_state::DEAD,
        };
        Ok(AdiInfo {
            state: U32::new(state),
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
        let mut record = self.record.lock().unwrap();
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
            adi_op::START_ADI_LOG | adi_op::STOP_ADI_LOG | adi_op::READ_ADI_LOG => {
                let record = &mut *record;
                return log::request(&mut record.log, &mut record.calls, opcode, payload);
            }
            adi_op::CONFIG_ADI_DOORBELLS => format!("doorbells {payload:?}"),
            other => format!("message {other}"),
        });
        record.payloads.push(payload.to_vec());
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

    fn unmap_all(&self) -> Result<(), Error> {
        self.log("unmap all".into());
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

    fn member(&self) -> Result<adit_adi::Member<'_>, Error> {
        Ok(adit_adi::Member {
            device: self.file.as_fd(),
            device_adi_id: self.id,
        })
    }

    fn lead(&self, members: &[adit_adi::Member<'_>]) -> Result<(), Error> {
        let ids: Vec<_> = members.iter().map(|it| it.device_adi_id).collect();
        let errno = self.record.lock().unwrap().lead_errno;
        if let Some(errno) = errno {
            return Err(Error::Io {
                what: "joining ADIs in a group",
                source: errno.into(),
            });
        }
        self.log(format!("{} leads {ids:?}", self.id));
        Ok(())
    }
}

fn open() -> (VfioAdi, Fake) {
    let fake = Fake::new(7);
    (opened(&fake), fake)
}

fn opened(fake: &Fake) -> VfioAdi {
    let name = format!("adit.adi.{}", fake.id);
    VfioAdi::new(&name, Box::new(fake.clone())).unwrap()
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
    let parts = [two.pages().unwrap().into(), one.pages().unwrap().into()];
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

/// Two ADIs, each with two pairs, whose calls are recorded together.
fn two() -> (Vec<Box<dyn Adi>>, Fake) {
    let leader = Fake::new(7);
    let member = leader.beside(9);
    let adis = vec![
        Box::new(opened(&leader)) as Box<dyn Adi>,
        Box::new(opened(&member)),
    ];
    leader.calls();
    (adis, leader)
}

#[test]
fn the_pages_of_a_group_are_interleaved_in_one_file() {
    let (adis, fake) = two();
    let mut group = Group::join(adis, None).unwrap();
    // Own pages: two TX tails, four tails of buffer queues, two vectors.
    let interleaved = "give given.0/8 given.1/8 given.0/8 given.1/8 \
         given.2/8 given.3/8 given.4/8 given.5/8 given.2/8 given.3/8 given.4/8 given.5/8 \
         given.6/8 given.7/8 given.6/8 given.7/8";
    assert_eq!(fake.calls(), ["7 leads [9]", interleaved]);
    assert_eq!(group.name(), "adit.adi.7+adit.adi.9");
    assert_eq!(group.pages().unwrap().count, 16);
    assert_eq!(
        (group.properties().pairs, group.properties().mac[5]),
        (4, 9)
    );
    // The next client gets new pages, of both.
    group.revoke_pages().unwrap();
    let own = "give 1.0 1.1 1.2 1.3 1.4 1.5 2.0 2.1";
    let renewed = ["reset", "doorbells [0, 0, 1, 0]", own];
    let all = [&renewed[..], &renewed, &[interleaved]].concat();
    assert_eq!(fake.calls(), all);
}

#[test]
fn memory_of_a_group_is_registered_for_each_member_or_none() {
    let (adis, fake) = two();
    let mut group = Group::join(adis, None).unwrap();
    fake.calls();
    group.map(&window(0x1000, 0x2000)).unwrap();
    let mapped = ["map 0x1000 0x2000", "REGISTER_MEMORY 0x1000 0x2000 3"];
    assert_eq!(fake.calls(), [mapped, mapped].concat());
    group.unmap(0x1000, 0x2000).unwrap();
    let unmapped = ["UNREGISTER_MEMORY 0x1000 0x2000 4", "unmap 0x1000 0x2000"];
    assert_eq!(fake.calls(), [unmapped, unmapped].concat());
    // What the leader has no place for, no member gets.
    fake.fail(adit_op::REGISTER_MEMORY, Errno::NOMEM, 1);
    let refused = reason(group.map(&window(0x1000, 0x2000)));
    assert!(refused.contains("RLIMIT_MEMLOCK"), "{refused}");
    let only_leader = ["map 0x1000 0x2000", "unmap 0x1000 0x2000"];
    assert_eq!(fake.calls(), only_leader);
    group.reset().unwrap();
    let reset = format!("message {}", adi_op::RESET_ADI);
    let resets = [&reset[..], "doorbells [0, 0, 1, 0]"];
    assert_eq!(fake.calls(), [resets, resets].concat());
}

#[test]
fn messages_to_a_group_have_ids_relative_to_each_member() {
    use adit_uapi::virtchnl2::{queue_type, DelEnaDisQueues, QueueChunk};
    let (adis, fake) = two();
    let mut group = Group::join(adis, None).unwrap();
    fake.calls();
    let chunk = QueueChunk {
        type_: U32::new(queue_type::RX),
        num_queues: U32::new(4),
        ..QueueChunk::default()
    };
    let mut head = DelEnaDisQueues::default();
    head.chunks.num_chunks = U16::new(1);
    let message = [head.as_bytes(), chunk.as_bytes()].concat();
    let mut reply = Vec::new();
    group
        .request(op::ENABLE_QUEUES, &message, &mut reply)
        .unwrap();
    let sent = std::mem::take(&mut fake.record.lock().unwrap().payloads);
    let enabled = format!("message {}", op::ENABLE_QUEUES);
    assert_eq!(fake.calls(), [&enabled[..], &enabled]);
    for (member, payload) in sent.iter().enumerate() {
        let chunk = QueueChunk::read_from_bytes(&payload[DelEnaDisQueues::LEN..]).unwrap();
        let queues = (chunk.start_queue_id.get(), chunk.num_queues.get());
        assert_eq!(queues, (0, 2), "member {member}");
    }
    assert_eq!(sent.len(), 2);
    // A member that is gone is the end of the group.
    fake.fail(op::ENABLE_QUEUES, Errno::IO, 1);
    let gone = group.request(op::ENABLE_QUEUES, &message, &mut reply);
    assert!(matches!(gone, Err(AdiError::Gone)));
}

#[test]
fn a_group_that_the_kernel_refuses_closes_its_adis() {
    for (errno, kind) in [
        (Errno::BUSY, io::ErrorKind::ResourceBusy),
        (Errno::EXIST, io::ErrorKind::AlreadyExists),
        (Errno::INVAL, io::ErrorKind::InvalidInput),
    ] {
        let (adis, fake) = two();
        fake.record.lock().unwrap().lead_errno = Some(errno);
        let error = Group::join(adis, None).map(|_| ()).unwrap_err();
        let AdiError::Io { what, source } = error else {
            panic!("{error:?}");
        };
        assert_eq!((what, source.kind()), ("joining ADIs in a group", kind));
        // The ADIs and their devices are dropped: only the test has one.
        assert_eq!(Arc::strong_count(&fake.record), 1);
    }
    let (adis, fake) = two();
    fake.record.lock().unwrap().lead_errno = Some(Errno::IO);
    let error = Group::join(adis, None).map(|_| ()).unwrap_err();
    assert!(matches!(error, AdiError::Gone), "{error:?}");
}

/// An ADI of another process, and the end of the pipe that is closed once nobody keeps it any more.
fn left(fake: &Fake) -> Result<VfioAdi, AdiError> {
    let pages = DoorbellPages {
        file: tempfile::tempfile().unwrap(),
        count: 8,
    };
    let left = Left::of_test(Box::new(fake.clone()), pages);
    VfioAdi::inherited(&format!("adit.adi.{}", fake.id), left)
}

#[test]
fn nothing_reaches_an_adi_before_it_is_taken_over() {
    let fake = Fake::new(7);
    let mut adi = left(&fake).unwrap();
    assert_eq!((adi.properties().pairs, adi.pages().unwrap().count), (2, 8));
    let event = EventFd::from_client(event().unwrap()).unwrap();
    let mut reply = vec![1];
    adi.map(&window(0x1000, 0x2000)).unwrap();
    adi.map(&window(0x8000, 0x1000)).unwrap();
    adi.unmap(0x8000, 0x1000).unwrap();
    adi.set_vector(1, Some(&event)).unwrap();
    adi.reset().unwrap();
    adi.revoke_pages().unwrap();
    adi.request(op::ENABLE_VPORT, &[], &mut reply).unwrap();
    assert_eq!((fake.calls(), reply.len()), (vec![], 0));
    // What is the ADI's limit is one here, too.
    assert!(adi.map(&window(0x2000, 0x1000)).is_err());

    // The windows are those that the predecessor has mapped, and are unmapped as its own.
    adi.take_over();
    assert_eq!(fake.calls(), [""; 0]);
    adi.unmap(0x1000, 0x2000).unwrap();
    adi.request(op::ENABLE_VPORT, &[], &mut reply).unwrap();
    let enabled = format!("message {}", op::ENABLE_VPORT);
    let want = [
        "UNREGISTER_MEMORY 0x1000 0x2000 4",
        "unmap 0x1000 0x2000",
        &enabled,
    ];
    assert_eq!(fake.calls(), want);
}

#[test]
fn an_adi_whose_owner_has_ended_is_reset_and_has_new_windows_only() {
    let fake = Fake::new(7);
    let mut adi = left(&fake).unwrap();
    let event = EventFd::from_client(event().unwrap()).unwrap();
    adi.map(&window(0x1000, 0x2000)).unwrap();
    adi.set_vector(1, Some(&event)).unwrap();
    adi.begin_anew().unwrap();
    let reset = format!("message {}", adi_op::RESET_ADI);
    let want = [
        &reset[..],
        "doorbells [0, 0, 1, 0]",
        "unmap all",
        "eventfds 0 0 [false]",
        "eventfds 0 1 [true]",
        "map 0x1000 0x2000",
        "REGISTER_MEMORY 0x1000 0x2000 3",
    ];
    assert_eq!(fake.calls(), want);
    // It is this process's from now on.
    adi.begin_anew().unwrap();
    adi.take_over();
    assert_eq!(fake.calls(), [""; 0]);
    adi.reset().unwrap();
    assert_eq!(fake.calls(), [&reset[..], "doorbells [0, 0, 1, 0]"]);

    // One that cannot be reset is of no use.
    let mut adi = left(&fake).unwrap();
    fake.fail(adi_op::RESET_ADI, Errno::IO, 1);
    assert!(matches!(adi.begin_anew(), Err(AdiError::Gone)));
}

fn kept(name: &str, opening: u64) -> KeptAdi {
    KeptAdi {
        name: name.into(),
        opening,
        properties: open().0.properties.clone(),
    }
}

#[test]
fn an_adi_is_another_one_after_it_was_opened_again() {
    let notes = [("adi adit.adi.7 5", r#"{"ioas":null,"pages":8}"#)];
    let notes = notes.map(|(name, text)| (name.to_owned(), text.to_owned()));
    let adis = KeptAdis::new(Arc::default(), &BTreeMap::from(notes));
    let name = "adit.adi.7";
    // The one of a device that is gone takes nothing of the device that has opened it since, and closes
    // nothing of it.
    assert!(adis.take(&kept(name, 4)).unwrap().is_none());
    assert_eq!(adis.notes(), ["adi adit.adi.7 5"]);
    // No descriptor is there.
    assert!(adis.take(&kept(name, 5)).unwrap().is_none());
    assert_eq!(adis.notes(), [""; 0]);

    let (one, other) = (left(&Fake::new(7)).unwrap(), left(&Fake::new(7)).unwrap());
    let opening = |adi: &VfioAdi| adi.members()[0].opening;
    assert_ne!(opening(&one), opening(&other));
    assert_ne!(opening(&one), 0);
    assert_eq!(opening(&open().0), 0);
}

#[test]
fn an_adi_that_was_taken_away_is_gone() {
    let fake = Fake::new(7);
    fake.record.lock().unwrap().ended = true;
    assert!(matches!(left(&fake), Err(AdiError::Gone)));
    // Nor is there one without a keeper.
    let inherited = VfioProvider::default().inherit(&kept("adit.adi.7", 1), true);
    assert!(matches!(inherited.map(|_| ()), Err(AdiError::Gone)));
}

#[test]
fn a_group_that_was_left_is_not_joined_again() {
    let leader = Fake::new(7);
    let member = leader.beside(9);
    let adis: Vec<Box<dyn Adi>> = vec![
        Box::new(left(&leader).unwrap()),
        Box::new(left(&member).unwrap()),
    ];
    let mut group = Group::rejoin(adis).unwrap();
    let interleaved = "give given.0/8 given.1/8 given.0/8 given.1/8 \
         given.2/8 given.3/8 given.4/8 given.5/8 given.2/8 given.3/8 given.4/8 given.5/8 \
         given.6/8 given.7/8 given.6/8 given.7/8";
    assert_eq!(leader.calls(), [interleaved]);
    assert_eq!(group.members().len(), 2);
    group.reset().unwrap();
    assert_eq!(leader.calls(), [""; 0]);
    group.take_over();
    group.reset().unwrap();
    assert_eq!(leader.calls().len(), 4);
}
