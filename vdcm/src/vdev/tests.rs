// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A device as its client and its driver use it: registers, memory, interrupts, resets.

mod saved;
mod written;

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::Arc;

use adit_function::layout::{MailboxRing, RegisterLayout, RingRegister};
use adit_function::memory::{Access, Dma, GuestMemory};
use adit_function::testing::sealed;
use adit_uapi::mailbox::{flags, opcode, CtlqDesc};
use adit_uapi::regs::dyn_ctl::INTENA_M;
use adit_uapi::regs::queue_len::ENABLE_M;
use adit_uapi::regs::rstat;
use adit_uapi::virtchnl2::op;
use adit_vfio_user::{Device, DmaMap, DmaProt, EventFd, IrqAction, IrqRequest};
use rustix::event::{eventfd, EventfdFlags};
use vfio_bindings::bindings::vfio;
use zerocopy::little_endian::{U16, U32};
use zerocopy::IntoBytes;

use super::*;
use crate::protocol::{ResetCause, TraceEvent};
use crate::testing::{MockAdi, MockState};

const BAR0: u32 = vfio::VFIO_PCI_BAR0_REGION_INDEX;
const CONFIG: u32 = vfio::VFIO_PCI_CONFIG_REGION_INDEX;
const MSIX: u32 = vfio::VFIO_PCI_MSIX_IRQ_INDEX;
const RAM_LEN: u64 = 0x10_0000;
const RING: u32 = 32;
const ARQ: u64 = 0x1000;
const REQUEST: u64 = 0x2000;
const REPLIES: u64 = 0x8000;

fn shape(layout: Layout) -> Shape {
    Shape {
        layout,
        pci_id: layout.pci_id(),
        queues: Some(2),
        limits: Limits::default(),
    }
}

/// A client with a driver on a device out of one ADI.
struct Client {
    front: Front,
    state: Arc<Mutex<MockState>>,
    layout: RegisterLayout,
    ram: GuestMemory,
    sent: u32,
    taken: u32,
    delayed: Arc<AtomicU32>,
}

impl Client {
    fn new(shape: Shape) -> Self {
        Self::of(MockAdi::new("adi", 1, 4), shape)
    }

    fn of(adi: MockAdi, shape: Shape) -> Self {
        let state = adi.state();
        let vdev = Arc::new(Vdev::new(vec![Box::new(adi)], shape).unwrap());
        let layout = shape.layout.registers(vdev.frames());
        let delayed = Arc::new(AtomicU32::new(0));
        let count = delayed.clone();
        let note = move || {
            count.fetch_add(1, Ordering::Relaxed);
        };
        let mut client = Self {
            front: Front::new(vdev, Box::new(note)),
            state,
            layout,
            ram: GuestMemory::new(),
            sent: 0,
            taken: 0,
            delayed,
        };
        client.connect();
        client
    }

    fn connect(&mut self) {
        self.front.connected();
        let file = sealed(RAM_LEN);
        let access = Access {
            read: true,
            write: true,
        };
        self.ram = GuestMemory::new();
        let own = file.try_clone().unwrap();
        self.ram.map(0, RAM_LEN, access, Some((own, 0))).unwrap();
        let window = self.window(0, RAM_LEN, Some(file));
        self.front.dma_map(window).unwrap();
    }

    fn window(&self, iova: u64, size: u64, fd: Option<OwnedFd>) -> DmaMap {
        DmaMap {
            iova,
            size,
            offset: 0,
            prot: DmaProt::ReadWrite,
            fd,
        }
    }

    fn read(&mut self, at: u32) -> u32 {
        let mut bytes = [0; 4];
        let read = self.front.region_read(BAR0, at.into(), &mut bytes);
        read.unwrap();
        u32::from_le_bytes(bytes)
    }

    fn write(&mut self, at: u32, value: u32) {
        let bytes = value.to_le_bytes();
        self.front.region_write(BAR0, at.into(), &bytes).unwrap();
    }

    fn ring(&self, ring: MailboxRing, register: RingRegister) -> u32 {
        self.layout.mailbox_offset(ring, register)
    }

    /// Sets up the mailbox, as a driver does that is loaded.
    fn load(&mut self) {
        use MailboxRing::{Arq, Atq};
        use RingRegister::{Bal, Head, Len, Tail};
        (self.sent, self.taken) = (0, 0);
        for n in 0..u64::from(RING) {
            let mut desc = CtlqDesc {
                flags: U16::new(flags::BUF | flags::RD),
                datalen: U16::new(4096),
                ..CtlqDesc::default()
            };
            desc.set_addr(REPLIES + n * 4096);
            let at = ARQ + n * CtlqDesc::LEN as u64;
            self.ram.write_obj(at, &desc).unwrap();
        }
        for (ring, register, value) in [
            (Atq, Head, 0),
            (Atq, Bal, 0),
            (Atq, Len, RING | ENABLE_M),
            (Arq, Head, 0),
            (Arq, Bal, ARQ as u32),
            (Arq, Tail, RING - 1),
            (Arq, Len, RING | ENABLE_M),
        ] {
            self.write(self.ring(ring, register), value);
        }
    }

    fn send(&mut self, v_opcode: u32, payload: &[u8]) {
        self.ram.write(REQUEST, payload).unwrap();
        let mut desc = CtlqDesc {
            flags: U16::new(flags::BUF | flags::RD),
            opcode: U16::new(opcode::SEND_MSG_TO_CP),
            datalen: U16::new(payload.len() as u16),
            v_opcode_dtype: U32::new(v_opcode),
            ..CtlqDesc::default()
        };
        desc.set_addr(REQUEST);
        let place = u64::from(self.sent) * CtlqDesc::LEN as u64;
        self.ram.write_obj(place, &desc).unwrap();
        self.sent += 1;
        self.write(self.ring(MailboxRing::Atq, RingRegister::Tail), self.sent);
    }

    /// The opcode and the status of the next message to the driver.
    fn take(&mut self) -> Option<(u32, u32)> {
        let at = ARQ + u64::from(self.taken) * CtlqDesc::LEN as u64;
        let desc: CtlqDesc = self.ram.read_obj(at).unwrap();
        (desc.flags.get() & flags::DD != 0).then(|| {
            self.taken += 1;
            (desc.v_opcode(), desc.v_retval.get())
        })
    }

    fn reset_status(&mut self) -> u32 {
        self.read(0x8800) & rstat::STATE_M
    }

    fn arq_len(&mut self) -> u32 {
        self.read(self.ring(MailboxRing::Arq, RingRegister::Len))
    }

    fn resets(&self, cause: ResetCause) -> u64 {
        let resets = self.front.vdev.stats().resets;
        resets.get(cause.name()).copied().unwrap_or(0)
    }
}

const VERSION: [u8; 8] = [2, 0, 0, 0, 0, 0, 0, 0];

fn event() -> (OwnedFd, EventFd) {
    let own = eventfd(0, EventfdFlags::NONBLOCK).unwrap();
    let sent = EventFd::from_client(own.try_clone().unwrap()).unwrap();
    (own, sent)
}

fn count(event: &OwnedFd) -> u64 {
    let mut count = [0; 8];
    match rustix::io::read(event, &mut count) {
        Ok(_) => u64::from_ne_bytes(count),
        Err(_) => 0,
    }
}

#[test]
fn a_driver_of_either_layout_finds_a_mailbox_and_an_interrupt() {
    for layout in [Layout::Vf, Layout::Siov] {
        let mut client = Client::new(shape(layout));
        assert_eq!(client.reset_status(), rstat::VF_ACTIVE);
        let (own, sent) = event();
        let assign = IrqRequest::Assign {
            index: MSIX,
            start: 0,
            action: IrqAction::Trigger,
            eventfds: vec![sent],
        };
        client.front.set_irqs(assign).unwrap();
        client.load();
        let dyn_ctl = client.layout.dyn_ctl(0).unwrap();
        client.write(dyn_ctl, INTENA_M);
        client.send(op::VERSION, &VERSION);
        assert_eq!(client.take(), Some((op::VERSION, 0)), "{layout:?}");
        assert_eq!(count(&own), 1);
        assert_eq!(client.read(dyn_ctl) & INTENA_M, 0);
        client.send(op::VERSION, &VERSION);
        assert_eq!(count(&own), 0, "the vector is not armed");
        client.write(dyn_ctl, INTENA_M);
        assert_eq!(count(&own), 1);
        let stats = client.front.vdev.stats();
        assert_eq!((stats.requests, stats.interrupts), (2, 2));
        let trace = client.front.vdev.trace(0, usize::MAX);
        let version = |entry: &TraceEntry| {
            matches!(&entry.event, TraceEvent::Request { name, status: 0, len: 8, .. }
                if name == "VERSION")
        };
        assert_eq!(trace.iter().filter(|entry| version(entry)).count(), 2);
    }
}

#[test]
fn regions_and_interrupts_are_those_of_the_layout() {
    let client = Client::new(shape(Layout::Vf));
    let regions = client.front.regions();
    let sizes = [BAR0, 2, 3, CONFIG].map(|n| regions[n as usize].size);
    assert_eq!(sizes, [64 << 20, 0x1_0000, 0, 4096]);
    assert_eq!(client.front.irqs()[MSIX as usize].count, 6);
    let mmap = regions[0].mmap.as_ref().unwrap();
    let area = mmap.areas[0];
    assert_eq!((area.offset, area.size), (0x110_0000, 16 * 4096));
    assert_eq!(mmap.offset.wrapping_add(area.offset), 0, "the file's start");
    let client = Client::new(shape(Layout::Siov));
    let regions = client.front.regions();
    let sizes = [BAR0, 2, 3, CONFIG].map(|n| regions[n as usize].size);
    assert_eq!(sizes, [64 << 20, 0, 0x4000, 256]);
}

#[test]
fn doorbells_that_trap_reach_the_pages() {
    let mut client = Client::new(shape(Layout::Vf));
    let (tail, _) = client
        .layout
        .tail(adit_function::dataplane::QueueKind::Tx, 1)
        .unwrap();
    client.write(tail, 77);
    assert_eq!(client.read(tail), 77);
    let vdev = client.front.vdev.clone();
    let word = vdev.lock().pages.window.load(1);
    assert_eq!(word, 77);
    client.write(0x111_0000, 1);
    assert_eq!(client.read(0x111_0000), 0, "a vector of no ADI");
    client.write(0x300_0000, 1);
    assert_eq!(client.read(0x300_0000), 0);
    assert_eq!(vdev.stats().stray_accesses, 2);
}

#[test]
fn every_reset_stops_the_adi_and_clears_the_mailbox() {
    let mut client = Client::new(shape(Layout::Vf));
    client.load();
    client.send(op::RESET_VF, &[]);
    assert_eq!(client.take(), None, "it is not answered");
    assert_eq!((client.arq_len(), client.reset_status()), (0, 2));
    assert_eq!(client.resets(ResetCause::Driver), 1);
    client.load();
    // Device Control of PCI Express, whose capability is at 0x60.
    client.front.region_write(CONFIG, 0x69, &[0x80]).unwrap();
    assert_eq!(client.arq_len(), 0);
    client.load();
    client.front.reset().unwrap();
    assert_eq!(client.arq_len(), 0);
    assert_eq!(client.resets(ResetCause::Client), 1);
    assert_eq!(client.state.lock().resets, 3);
    assert_eq!(client.state.lock().windows.len(), 1, "windows are kept");
}

#[test]
fn eventfds_go_to_the_adi() {
    let mut client = Client::new(shape(Layout::Vf));
    let eventfds = (0..6).map(|_| event().1).collect();
    let assign = IrqRequest::Assign {
        index: MSIX,
        start: 0,
        action: IrqAction::Trigger,
        eventfds,
    };
    client.front.set_irqs(assign).unwrap();
    assert_eq!(client.state.lock().vectors, [true; 4]);
    let deassign = IrqRequest::Deassign {
        index: MSIX,
        start: 1,
        count: 1,
        action: IrqAction::Trigger,
    };
    client.front.set_irqs(deassign).unwrap();
    assert_eq!(client.state.lock().vectors, [false, true, true, true]);
    let none = IrqRequest::DisableAll { index: MSIX };
    client.front.set_irqs(none).unwrap();
    assert_eq!(client.state.lock().vectors, [false; 4]);
}

#[test]
fn a_client_that_leaves_leaves_nothing() {
    let mut client = Client::new(shape(Layout::Vf));
    let assign = IrqRequest::Assign {
        index: MSIX,
        start: 1,
        action: IrqAction::Trigger,
        eventfds: vec![event().1],
    };
    client.front.set_irqs(assign).unwrap();
    client.load();
    client.send(op::VERSION, &VERSION);
    client.front.disconnected();
    {
        let state = client.state.lock();
        assert!(state.windows.is_empty() && !state.vectors[0]);
        assert_eq!(state.resets, 2, "with that for the revoked pages");
    }
    assert_eq!(client.front.vdev.windows(), (0, 0));
    assert!(!client.front.vdev.is_connected());
    client.connect();
    assert_eq!(client.arq_len(), 0);
    client.load();
    client.send(op::VERSION, &VERSION);
    assert_eq!(client.take(), Some((op::VERSION, 0)));
}

#[test]
fn doorbells_that_a_client_had_are_not_the_next_clients() {
    let mut client = Client::new(shape(Layout::Vf));
    let fd = |client: &Client| client.front.regions()[0].mmap.as_ref().unwrap().fd.clone();
    let before = fd(&client);
    client.front.disconnected();
    client.connect();
    assert!(!Arc::ptr_eq(&before, &fd(&client)));
    client.write(0x110_0000, 5);
    let mut word = [0; 4];
    rustix::io::pread(&*before, &mut word, 0).unwrap();
    assert_eq!(u32::from_le_bytes(word), 0);
    rustix::io::pread(&*fd(&client), &mut word, 0).unwrap();
    assert_eq!(u32::from_le_bytes(word), 5);
}

#[test]
fn several_adis_have_one_file_of_pages() {
    let adis = (0..2).map(|n| Box::new(MockAdi::new("a", n, 4)) as Box<dyn Adi>);
    let vdev = Vdev::new(adis.collect(), shape(Layout::Vf)).unwrap();
    assert_eq!(vdev.vectors(), 11);
    let front = Front::new(Arc::new(vdev), Box::new(|| {}));
    let area = front.regions()[0].mmap.as_ref().unwrap().areas[0];
    assert_eq!(area.size, 2 * 16 * 4096);
}

#[test]
fn a_device_whose_adi_is_gone_stays_in_reset() {
    let mut client = Client::new(shape(Layout::Vf));
    client.load();
    client.state.lock().gone = true;
    client.front.vdev.adi_gone(0);
    assert!(!client.state.lock().open);
    let in_reset = (0, rstat::IN_PROGRESS);
    assert_eq!((client.arq_len(), client.reset_status()), in_reset);
    client.load();
    client.send(op::VERSION, &VERSION);
    assert_eq!(client.take(), None);
    client.front.reset().unwrap();
    assert_eq!((client.arq_len(), client.reset_status()), in_reset);
    assert_eq!(client.resets(ResetCause::AdiGone), 1);
    // The client can still change its memory and leave.
    let window = client.window(RAM_LEN, 0x1000, Some(sealed(0x1000)));
    client.front.dma_map(window).unwrap();
    client.front.dma_unmap(0, RAM_LEN);
    client.front.disconnected();
}

#[test]
fn an_adi_is_replaced_while_no_client_is_connected() {
    let mut client = Client::new(shape(Layout::Vf));
    let vdev = client.front.vdev.clone();
    let new = || Box::new(MockAdi::new("new", 9, 4));
    let connected = vdev.swap(0, new());
    assert!(matches!(connected, Err(ComposeError::Connected)));
    client.front.disconnected();
    vdev.adi_gone(0);
    let small = vdev.swap(0, Box::new(MockAdi::new("small", 9, 2)));
    assert!(matches!(small, Err(ComposeError::Unlike { .. })));
    assert!(matches!(
        vdev.swap(1, new()),
        Err(ComposeError::NoSuchPort(1))
    ));
    assert!(vdev.is_gone());
    vdev.swap(0, new()).unwrap();
    assert!(!vdev.is_gone());
    assert_eq!(vdev.adis()[0].name, "new");
    client.connect();
    client.load();
    client.send(op::VERSION, &VERSION);
    assert_eq!(client.take(), Some((op::VERSION, 0)));
    let mac = vdev.lock().slow_path.control().profile().mac(0);
    assert_eq!(mac, [2, 0, 0, 0, 9, 9]);
}

#[test]
fn a_late_event_of_a_replaced_adi_is_ignored() {
    let mut client = Client::new(shape(Layout::Vf));
    let vdev = client.front.vdev.clone();
    client.front.disconnected();
    let new = MockAdi::new("new", 9, 4);
    let end = new.end();
    vdev.swap(0, Box::new(new)).unwrap();
    vdev.gone_event(0);
    assert!(!vdev.is_gone());
    end();
    vdev.gone_event(0);
    assert!(vdev.is_gone());
}

#[test]
fn requests_above_the_limit_wait_and_are_answered_later() {
    let limits = Limits {
        messages_per_second: 1_000,
        message_burst: 2,
        ..Limits::default()
    };
    let mut client = Client::new(Shape {
        limits,
        ..shape(Layout::Vf)
    });
    client.load();
    for _ in 0..20 {
        client.send(op::VERSION, &VERSION);
    }
    assert!(client.delayed.load(Ordering::Relaxed) > 0);
    while client.front.vdev.continue_delayed() {
        std::thread::yield_now();
    }
    let answered = std::iter::from_fn(|| client.take()).count();
    assert_eq!(answered, 20);
    assert!(client.front.vdev.stats().requests_delayed > 0);
}

#[test]
fn a_link_that_changes_is_reported_to_an_enabled_vport() {
    let mut client = Client::new(shape(Layout::Vf));
    client.load();
    let create = adit_uapi::virtchnl2::CreateVport {
        txq_model: U16::new(1),
        rxq_model: U16::new(1),
        num_tx_q: U16::new(2),
        num_tx_complq: U16::new(2),
        num_rx_q: U16::new(2),
        num_rx_bufq: U16::new(4),
        ..Default::default()
    };
    client.send(op::CREATE_VPORT, create.as_bytes());
    assert_eq!(client.take(), Some((op::CREATE_VPORT, 0)));
    client.send(op::ENABLE_VPORT, &[0; 8]);
    // The event comes before the reply.
    assert_eq!(client.take(), Some((op::EVENT, 0)));
    assert_eq!(client.take(), Some((op::ENABLE_VPORT, 0)));
    client.front.vdev.refresh_links();
    assert_eq!(client.take(), None);
    client.state.lock().link.up = false;
    client.front.vdev.refresh_links();
    assert_eq!(client.take(), Some((op::EVENT, 0)));
}

#[test]
fn adis_that_cannot_make_up_a_device_are_named() {
    let compose = |adis: Vec<MockAdi>, queues| {
        let adis = adis.into_iter().map(|adi| Box::new(adi) as Box<dyn Adi>);
        let shape = Shape {
            queues,
            ..shape(Layout::Vf)
        };
        Vdev::new(adis.collect(), shape).err()
    };
    let adi = |pairs| MockAdi::new("a", 0, pairs);
    assert!(matches!(
        compose(vec![], None),
        Some(ComposeError::Count { count: 0 })
    ));
    let unlike = compose(vec![adi(4), adi(2)], None);
    assert!(matches!(unlike, Some(ComposeError::Unlike { .. })));
    for queues in [0, 5] {
        let wrong = compose(vec![adi(4)], Some(queues));
        assert!(matches!(wrong, Some(ComposeError::Queues { .. })));
    }
}
