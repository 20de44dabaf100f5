// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A PF driver's mailbox over the client of the `vfio_user` crate.

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use adit_function::layout::MailboxRing::{self, Arq, Atq};
use adit_function::layout::RegisterLayout;
use adit_function::layout::RingRegister::{self, Bal, Len, Tail};
use adit_uapi::mailbox::{flags, opcode, CtlqDesc, MAX_BUF_LEN};
use adit_uapi::regs::{dyn_ctl, pf, queue_len, rstat};
use adit_uapi::virtchnl2::{op, status};
use memmap2::{MmapOptions, MmapRaw};
use rustix::event::{eventfd, EventfdFlags};
use rustix::fs::{fcntl_add_seals, ftruncate, memfd_create, MemfdFlags, SealFlags};
use vfio_user::Client;
use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, IntoBytes};

const LAYOUT: RegisterLayout = RegisterLayout::Pf;
const BAR0: u32 = 0;
const CONFIG: u32 = 7;
const MSIX: u32 = 2;
/// VFIO_IRQ_SET_DATA_EVENTFD and VFIO_IRQ_SET_ACTION_TRIGGER.
const SET_EVENTFDS: u32 = 0x24;

const MEMORY: u64 = 1 << 20;
const ATQ: u64 = 0x1000;
const ARQ: u64 = 0x2000;
const REQUEST: u64 = 0x3000;
const REPLIES: u64 = 0x10000;
const MAILBOX_LEN: u16 = 16;

/// The tail of TX queue 0, as a driver that has left still has it mapped.
pub(crate) struct Former(MmapRaw);

impl Former {
    /// Rings the doorbell.
    pub(crate) fn ring(&self, tail: u32) {
        word(&self.0).store(tail.to_le(), Ordering::SeqCst);
    }
}

/// The first word of a mapped page.
fn word(page: &MmapRaw) -> &AtomicU32 {
    // SAFETY: the mapping is a page, begins at a page and lives as long as the borrow; the device
    // accesses the word concurrently, which atomics permit.
    unsafe { AtomicU32::from_ptr(page.as_mut_ptr().cast()) }
}

/// A driver: its memory, an eventfd for the mailbox's vector, and the doorbells that it has mapped.
pub(crate) struct Driver {
    client: Client,
    memory: File,
    event: OwnedFd,
    /// The tail of TX queue 0.
    tail: MmapRaw,
    /// The number of requests since the mailbox was set up.
    asked: u16,
}

impl Driver {
    /// Connects, and sets up once what a driver's bus does once: memory, interrupts, mappings.
    pub(crate) fn connect(socket: &Path) -> Self {
        let mut client = Client::new(socket).unwrap();
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let memory = memfd_create("driver", flags).unwrap();
        ftruncate(&memory, MEMORY).unwrap();
        fcntl_add_seals(&memory, SealFlags::SHRINK).unwrap();
        client.dma_map(0, 0, MEMORY, memory.as_raw_fd()).unwrap();
        let flags = EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC;
        let event = eventfd(0, flags).unwrap();
        let events = [event.as_raw_fd()];
        client.set_irqs(MSIX, SET_EVENTFDS, 0, 1, &events).unwrap();
        let file = client.region(BAR0).unwrap().file_offset.as_ref().unwrap();
        let tail = MmapOptions::new()
            .offset(u64::from(LAYOUT.tx_tails().base))
            .len(0x1000)
            .map_raw(file.file())
            .unwrap();
        Self {
            client,
            memory: memory.into(),
            event,
            tail,
            asked: 0,
        }
    }

    pub(crate) fn read(&mut self, offset: u32) -> u32 {
        let mut bytes = [0; 4];
        let read = self.client.region_read(BAR0, offset.into(), &mut bytes);
        read.unwrap();
        u32::from_le_bytes(bytes)
    }

    fn write(&mut self, ring: MailboxRing, register: RingRegister, value: u32) {
        self.write_at(LAYOUT.mailbox_offset(ring, register), value);
    }

    fn write_at(&mut self, offset: u32, value: u32) {
        let bytes = value.to_le_bytes();
        let written = self.client.region_write(BAR0, offset.into(), &bytes);
        written.unwrap();
    }

    /// Reads two bytes of configuration space.
    pub(crate) fn config(&mut self, at: u64) -> u16 {
        let mut bytes = [0; 2];
        self.client.region_read(CONFIG, at, &mut bytes).unwrap();
        u16::from_le_bytes(bytes)
    }

    /// Writes two bytes of configuration space.
    pub(crate) fn set_config(&mut self, at: u64, value: u16) {
        let written = self.client.region_write(CONFIG, at, &value.to_le_bytes());
        written.unwrap();
    }

    /// The tail of a queue as it is in the mapped page.
    pub(crate) fn mapped_tail(&self) -> &AtomicU32 {
        word(&self.tail)
    }

    /// Disconnects, and keeps the page mapped.
    pub(crate) fn leave(self) -> Former {
        Former(self.tail)
    }

    /// The same tail as the device has it.
    pub(crate) fn tail(&mut self) -> u32 {
        self.read(LAYOUT.tx_tails().base)
    }

    /// Returns whether a driver that checks its mailbox finds a reset.
    pub(crate) fn finds_reset(&mut self) -> bool {
        let len = self.read(LAYOUT.mailbox_offset(Arq, Len));
        len & LAYOUT.ring_len_mask(Arq) == 0
    }

    /// Returns whether the reset status is that of a reset in progress.
    pub(crate) fn in_reset(&mut self) -> bool {
        self.read(pf::GEN_RSTAT) & rstat::STATE_M == rstat::IN_PROGRESS
    }

    /// Sets up the mailbox of a function that has been reset, and negotiates the version: the reply
    /// arrives in memory with an interrupt.
    pub(crate) fn negotiate(&mut self) {
        self.memory.write_all_at(&[0; 0x2000], ATQ).unwrap();
        let _ = rustix::io::read(&self.event, &mut [0; 8]);
        for n in 0..u64::from(MAILBOX_LEN) {
            let mut desc = CtlqDesc {
                flags: U16::new(flags::BUF | flags::RD),
                datalen: U16::new(MAX_BUF_LEN as u16),
                ..CtlqDesc::default()
            };
            desc.set_addr(REPLIES + n * MAX_BUF_LEN as u64);
            self.memory
                .write_all_at(desc.as_bytes(), ARQ + n * 32)
                .unwrap();
        }
        let len = u32::from(MAILBOX_LEN) | queue_len::ENABLE_M;
        self.write(Atq, Bal, ATQ as u32);
        self.write(Atq, Len, len);
        self.write(Arq, Bal, ARQ as u32);
        self.write(Arq, Tail, u32::from(MAILBOX_LEN) - 1);
        self.write(Arq, Len, len);

        let itr = dyn_ctl::ITR_NONE << dyn_ctl::ITR_INDX_M.trailing_zeros();
        self.write_at(LAYOUT.dyn_ctl(0).unwrap(), dyn_ctl::INTENA_M | itr);
        self.asked = 0;
        self.ask();
    }

    /// Negotiates the version over a mailbox that has been set up, once for each of its descriptors.
    pub(crate) fn ask(&mut self) {
        let at = u64::from(self.asked) * 32;
        let payload = [U32::new(2), U32::new(0)];
        let mut desc = CtlqDesc {
            flags: U16::new(flags::BUF | flags::RD),
            opcode: U16::new(opcode::SEND_MSG_TO_CP),
            datalen: U16::new(8),
            v_opcode_dtype: U32::new(op::VERSION),
            ..CtlqDesc::default()
        };
        desc.set_addr(REQUEST);
        self.memory
            .write_all_at(payload.as_bytes(), REQUEST)
            .unwrap();
        self.memory.write_all_at(desc.as_bytes(), ATQ + at).unwrap();
        self.asked += 1;
        self.write(Atq, Tail, self.asked.into());
        let mut reply = [0; 32];
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            self.await_interrupt();
            self.memory.read_exact_at(&mut reply, ARQ + at).unwrap();
            let itr = dyn_ctl::ITR_NONE << dyn_ctl::ITR_INDX_M.trailing_zeros();
            self.write_at(LAYOUT.dyn_ctl(0).unwrap(), dyn_ctl::INTENA_M | itr);
            // An interrupt may be one without a cause, or be about another message.
            let desc = CtlqDesc::read_from_bytes(&reply).unwrap();
            if desc.flags.get() & flags::DD != 0 || Instant::now() >= until {
                break;
            }
        }
        let reply = CtlqDesc::read_from_bytes(&reply).unwrap();
        assert_eq!(reply.v_opcode(), op::VERSION);
        assert_eq!(reply.v_retval.get(), status::SUCCESS);
        assert_ne!(reply.flags.get() & flags::DD, 0);
    }

    fn await_interrupt(&self) {
        let until = Instant::now() + Duration::from_secs(20);
        while rustix::io::read(&self.event, &mut [0; 8]).is_err() {
            assert!(Instant::now() < until, "no interrupt");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Rings a doorbell through the mapped page.
    pub(crate) fn ring(&self, tail: u32) {
        self.mapped_tail().store(tail.to_le(), Ordering::SeqCst);
    }
}
