// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A client of a composed device that does anything that the vfio-user server lets pass.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use adit_function::layout::{MailboxRing, RegisterLayout, RingRegister};
use adit_function::testing::{sealed, Choices};
use adit_uapi::mailbox::{flags, opcode, CtlqDesc, MAX_BUF_LEN};
use adit_uapi::regs::queue_len::ENABLE_M;
use adit_uapi::virtchnl2::op;
use adit_vfio_user::{Device, DmaMap, DmaProt, EventFd, IrqAction, IrqRequest};
use parking_lot::Mutex;
use rustix::event::{eventfd, EventfdFlags};
use rustix::fs::{ftruncate, memfd_create, MemfdFlags};
use rustix::io::pwrite;
use vfio_bindings::bindings::vfio;
use zerocopy::little_endian::{U16, U32};
use zerocopy::IntoBytes;

use crate::protocol::{Layout, Limits};
use crate::testing::{is_permitted, MockAdi, MockState};
use crate::vdev::{Front, Shape, Vdev};

/// The client's memory, in windows that can be unmapped one by one.
const RAM: u64 = 0x10_0000;
const WINDOW: u64 = 0x1_0000;
const WINDOWS: u64 = 6;
/// The offsets in memory of the rings and buffers of [`Client::load`]. A ring of the
/// largest length crosses the end of its window.
pub(super) const ATQ: u64 = 0;
pub(super) const ARQ: u64 = 0x2000;
pub(super) const REQUESTS: u64 = 0x1_0000;
const REPLIES: u64 = 0x3_0000;
/// The number of entries of the rings that are loaded.
const RING: u32 = 32;
/// Addresses of other windows: before, inside and after the memory.
const ELSEWHERE: [u64; 4] = [0, RAM - 0x2000, RAM + WINDOWS * WINDOW, (1 << 47) - 0x4000];
const PAGE: u64 = 0x1000;

const BAR0: u32 = vfio::VFIO_PCI_BAR0_REGION_INDEX;
const CONFIG: u32 = vfio::VFIO_PCI_CONFIG_REGION_INDEX;
const MSIX: u32 = vfio::VFIO_PCI_MSIX_IRQ_INDEX;

/// The client, with its view of the device.
pub(super) struct Client {
    front: Front,
    vdev: Arc<Vdev>,
    adis: Vec<Arc<Mutex<MockState>>>,
    ends: Vec<Box<dyn Fn() + Send>>,
    layout: RegisterLayout,
    ram: OwnedFd,
    /// The windows that are mapped, by address: the length, and whether there is a file.
    windows: BTreeMap<u64, (u64, bool)>,
    /// The next entry of the ring of requests.
    sent: u32,
}

impl Client {
    /// A connected client with its memory mapped, of a device of one or two ADIs. Returns `None` if
    /// the system has no resources left.
    pub(super) fn new(kind: u8) -> Option<Self> {
        let layout = match kind & 1 {
            0 => Layout::Vf,
            _ => Layout::Siov,
        };
        let shape = Shape {
            layout,
            pci_id: layout.pci_id(),
            queues: Some(1 + u16::from(kind >> 2 & 1)),
            limits: Limits {
                message_burst: 64,
                windows: 8,
                registered_bytes: 7 * WINDOW,
                ..Limits::default()
            },
        };
        let count = 1 + (kind >> 1 & 1);
        let adis: Vec<_> = (0..count).map(|n| MockAdi::new("adi", n, 2)).collect();
        let states = adis.iter().map(MockAdi::state).collect();
        let ends = adis.iter().map(|adi| Box::new(adi.end()) as _).collect();
        let adis = adis.into_iter().map(|adi| Box::new(adi) as _).collect();
        let vdev = Arc::new(Vdev::new(adis, shape).ok()?);
        let mut client = Self {
            front: Front::new(vdev.clone(), Box::new(|| {})),
            layout: layout.registers(vdev.frames()),
            vdev,
            adis: states,
            ends,
            ram: sealed(WINDOWS * WINDOW),
            windows: BTreeMap::new(),
            sent: 0,
        };
        client.connect();
        Some(client)
    }

    fn connect(&mut self) {
        self.front.connected();
        (0..WINDOWS).for_each(|n| self.map_ram(n));
    }

    /// Maps a window, if the server would pass it on: it overlaps no other.
    fn map(&mut self, iova: u64, size: u64, prot: DmaProt, file: Option<(OwnedFd, u64)>) {
        let end = iova + size;
        let before = self.windows.range(..end).next_back();
        if before.is_some_and(|(other, (len, _))| other + len > iova) {
            return;
        }
        let has_file = file.is_some();
        let (fd, offset) = file.map_or((None, 0), |(fd, offset)| (Some(fd), offset));
        let map = DmaMap {
            iova,
            size,
            offset,
            prot,
            fd,
        };
        if self.front.dma_map(map).is_ok() {
            self.windows.insert(iova, (size, has_file));
        }
    }

    fn map_ram(&mut self, n: u64) {
        if let Ok(file) = self.ram.try_clone() {
            let file = Some((file, n * WINDOW));
            self.map(RAM + n * WINDOW, WINDOW, DmaProt::ReadWrite, file);
        }
    }

    fn unmap(&mut self, iova: u64) -> bool {
        let Some((size, _)) = self.windows.remove(&iova) else {
            return false;
        };
        self.front.dma_unmap(iova, size);
        true
    }

    /// Writes the client's memory, whether or not it is mapped.
    fn write(&self, at: u64, bytes: &[u8]) {
        // What is beyond the end would make the file longer.
        let room = (WINDOWS * WINDOW).saturating_sub(at) as usize;
        let _ = pwrite(&self.ram, &bytes[..bytes.len().min(room)], at);
    }

    fn register_write(&mut self, register: u32, value: u32) {
        let written = self
            .front
            .region_write(BAR0, register.into(), &value.to_le_bytes());
        assert!(written.is_ok(), "a register of BAR0");
    }

    /// Sets up the mailbox as a driver does.
    fn load(&mut self) {
        use MailboxRing::{Arq, Atq};
        use RingRegister::{Bah, Bal, Head, Len, Tail};
        self.sent = 0;
        for n in 0..u64::from(RING) {
            let mut desc = CtlqDesc {
                flags: U16::new(flags::BUF | flags::RD),
                datalen: U16::new(MAX_BUF_LEN as u16),
                ..CtlqDesc::default()
            };
            // Fewer buffers than entries: several share one.
            desc.set_addr(RAM + REPLIES + n % 16 * MAX_BUF_LEN as u64);
            self.write(ARQ + n * CtlqDesc::LEN as u64, desc.as_bytes());
        }
        for (ring, register, value) in [
            (Atq, Head, 0),
            (Atq, Bal, (RAM + ATQ) as u32),
            (Atq, Bah, 0),
            (Atq, Len, RING | ENABLE_M),
            (Arq, Head, 0),
            (Arq, Bal, (RAM + ARQ) as u32),
            (Arq, Bah, 0),
            (Arq, Tail, RING - 1),
            (Arq, Len, RING | ENABLE_M),
        ] {
            self.register_write(self.layout.mailbox_offset(ring, register), value);
        }
    }

    /// Sends a message in the ring that [`load`](Self::load) sets up.
    fn send(&mut self, v_opcode: u32, len: u16, payload: &[u8]) {
        let at = REQUESTS + u64::from(self.sent % 8) * MAX_BUF_LEN as u64;
        self.write(at, payload);
        let mut desc = CtlqDesc {
            flags: U16::new(flags::BUF | flags::RD),
            opcode: U16::new(opcode::SEND_MSG_TO_CP),
            datalen: U16::new(len),
            v_opcode_dtype: U32::new(v_opcode),
            ..CtlqDesc::default()
        };
        desc.set_addr(RAM + at);
        let entry = u64::from(self.sent % RING) * CtlqDesc::LEN as u64;
        self.write(ATQ + entry, desc.as_bytes());
        self.sent = (self.sent + 1) % RING;
        let tail = self
            .layout
            .mailbox_offset(MailboxRing::Atq, RingRegister::Tail);
        self.register_write(tail, self.sent);
    }

    /// Performs the next action.
    pub(super) fn act(&mut self, choices: &mut Choices<'_>) {
        let [what, which] = choices.bytes();
        match what % 16 {
            0..=2 => {
                let (register, value) = (self.register(which, choices), value(choices));
                self.register_write(register, value);
            }
            3 => {
                let register = self.register(which, choices);
                let mut bytes = [0; 4];
                let read = self.front.region_read(BAR0, register.into(), &mut bytes);
                assert!(read.is_ok(), "a register of BAR0");
            }
            // Accesses of any length and alignment, to each region.
            4 => self.access(which, choices),
            5 | 6 => {
                let at = u64::from(choices.u32()) % (WINDOWS * WINDOW);
                self.write(at, choices.slice(which.into()));
            }
            7..=10 => {
                let v_opcode = message_opcode(choices.u8());
                let len = choices.u16() % (2 * MAX_BUF_LEN as u16);
                // A lying length reads what was there before, or a buffer that is not mapped.
                let payload = choices.slice(usize::from(len).min(2 * usize::from(which)));
                self.send(v_opcode, len, payload);
            }
            11 => {
                let n = u64::from(which) % WINDOWS;
                if !self.unmap(RAM + n * WINDOW) {
                    self.map_ram(n);
                }
            }
            12 => self.elsewhere(which, choices),
            13 => self.interrupts(which, choices),
            14 => self.load(),
            _ => self.event(which, choices),
        }
    }

    fn access(&mut self, which: u8, choices: &mut Choices<'_>) {
        let regions: Vec<_> = (0_u32..).zip(self.front.regions()).collect();
        let regions = regions.iter().filter(|(_, region)| region.size > 0);
        let sizes: Vec<_> = regions
            .map(|(index, region)| (*index, region.size))
            .collect();
        let (index, size) = sizes[usize::from(which) % sizes.len()];
        let len = usize::from(choices.u8());
        let mut bytes = choices.slice(len).to_vec();
        let offset = u64::from(choices.u32()) % size;
        // The server passes on what is inside of the region, and is not empty.
        bytes.truncate(usize::try_from(size - offset).unwrap_or(usize::MAX));
        if bytes.is_empty() {
            return;
        }
        let written = self.front.region_write(index, offset, &bytes);
        let read = self.front.region_read(index, offset, &mut bytes);
        assert_eq!(written.is_ok(), read.is_ok(), "region {index}");
    }

    /// Maps or unmaps a window at another address, with a file or without.
    fn elsewhere(&mut self, which: u8, choices: &mut Choices<'_>) {
        let iova = ELSEWHERE[usize::from(which) % ELSEWHERE.len()];
        if self.unmap(iova) {
            return;
        }
        let size = PAGE * (1 + u64::from(choices.u8() % 4));
        let prot = match which >> 2 & 3 {
            0 | 1 => DmaProt::Read,
            2 => DmaProt::Write,
            _ => DmaProt::ReadWrite,
        };
        let file = match which >> 4 & 3 {
            0 => None,
            // It could shrink.
            1 => memfd_create("ram", MemfdFlags::CLOEXEC).ok().inspect(|fd| {
                let _ = ftruncate(fd, size);
            }),
            // It is shorter than the window.
            2 => Some(sealed(PAGE)),
            _ => Some(sealed(size)),
        };
        let offset = match which >> 6 {
            0 | 1 => 0,
            2 => u64::from(choices.u32()),
            _ => u64::MAX - u64::from(choices.u16()),
        };
        self.map(iova, size, prot, file.map(|file| (file, offset)));
    }

    fn interrupts(&mut self, which: u8, choices: &mut Choices<'_>) {
        let [start, count] = choices.bytes::<2>().map(u32::from);
        let all = u32::from(self.vdev.vectors());
        let start = start % all;
        let count = 1 + count % (all - start);
        let action = IrqAction::Trigger;
        let request = match which % 3 {
            0 => IrqRequest::DisableAll { index: MSIX },
            1 => IrqRequest::Deassign {
                index: MSIX,
                start,
                count,
                action,
            },
            _ => {
                let eventfd =
                    || EventFd::from_client(eventfd(0, EventfdFlags::NONBLOCK).ok()?).ok();
                let eventfds: Vec<_> = (0..count).map_while(|_| eventfd()).collect();
                if eventfds.is_empty() {
                    return;
                }
                IrqRequest::Assign {
                    index: MSIX,
                    start,
                    action,
                    eventfds,
                }
            }
        };
        let set = self.front.set_irqs(request);
        assert!(set.is_ok(), "a range of vectors");
    }

    /// An event besides the client's accesses.
    fn event(&mut self, which: u8, choices: &mut Choices<'_>) {
        let at = usize::from(which >> 4) % self.adis.len();
        match which & 15 {
            0..=3 => assert!(self.front.reset().is_ok()),
            4..=6 => {
                self.leave();
                self.connect();
            }
            7 => {
                let mut state = self.adis[at].lock();
                state.refuse = match state.refuse {
                    None => Some(message_opcode(choices.u8())),
                    Some(_) => None,
                };
            }
            8 => {
                let mut state = self.adis[at].lock();
                state.refuse_windows = !state.refuse_windows;
            }
            9 => {
                let mut state = self.adis[at].lock();
                state.link.up = !state.link.up;
                drop(state);
                self.vdev.refresh_links();
            }
            10 => {
                self.ends[at]();
                if which & 0x80 != 0 {
                    // It is noticed at the next access otherwise.
                    self.vdev.gone_event(at as u16);
                }
            }
            11 => self.vdev.take_fault(at as u16),
            _ => {
                self.vdev.continue_delayed();
            }
        }
    }

    /// Checks what must be true at any time.
    pub(super) fn check(&self) {
        for adi in &self.adis {
            let mut state = adi.lock();
            for opcode in state.messages.drain(..) {
                assert!(is_permitted(opcode), "message {opcode} to an ADI");
            }
            for (iova, len) in &state.windows {
                let mapped = self.windows.get(iova);
                assert_eq!(
                    mapped,
                    Some(&(*len, true)),
                    "the window {iova:#x} of an ADI"
                );
            }
            let all = self.windows.values().filter(|(_, file)| *file).count();
            if state.open && !state.gone {
                assert_eq!(state.windows.len(), all, "windows of an ADI");
            }
        }
        let (windows, bytes) = self.vdev.windows();
        assert_eq!(windows as usize, self.windows.len());
        let with_file = self.windows.values().filter(|(_, file)| *file);
        assert_eq!(bytes, with_file.map(|(len, _)| len).sum::<u64>());
    }

    /// Disconnects; nothing of the client remains.
    pub(super) fn leave(&mut self) {
        self.front.disconnected();
        self.windows.clear();
        self.check();
        for adi in &self.adis {
            let state = adi.lock();
            if state.open && !state.gone {
                assert!(!state.vectors.contains(&true), "an eventfd is left");
                assert!(state.device.dp.queues.is_empty(), "a queue is left");
            }
        }
        // Configuration space and registers are those of a function after a reset.
        let mut command = [0xFF; 2];
        let read = self.front.region_read(CONFIG, 4, &mut command);
        assert!(read.is_ok() && command == [0; 2], "{command:x?}");
    }

    /// The number of queues that are configured in the ADIs.
    #[cfg(test)]
    pub(super) fn running(&self) -> usize {
        let queues = self
            .adis
            .iter()
            .map(|adi| adi.lock().device.dp.queues.len());
        queues.sum()
    }

    /// The counters of the device.
    #[cfg(test)]
    pub(super) fn stats(&self) -> crate::protocol::VdevStats {
        self.vdev.stats()
    }

    /// A register of BAR0, often one that has a meaning.
    fn register(&self, which: u8, choices: &mut Choices<'_>) -> u32 {
        let mailbox = self.layout.mailbox();
        let frames = self.vdev.frames().range();
        match which >> 5 {
            0..=3 => mailbox[usize::from(which) % mailbox.len()].2,
            4 => [0x8800, 0x5C00, 0x5000, 0x2_1000, 0x210_0000][usize::from(which) % 5],
            5 => {
                frames.start + u32::from(which & 31) * PAGE as u32 + u32::from(choices.u8() & 0x3C)
            }
            6 => frames.end + u32::from(choices.u8() & 0xFC),
            _ => (choices.u32() & !3) % 0x400_0000,
        }
    }
}

/// The opcode that a byte of the input stands for: VERSION, or one from GET_CAPS on.
fn message_opcode(byte: u8) -> u32 {
    match byte {
        0 => op::VERSION,
        n => op::GET_CAPS - 1 + u32::from(n),
    }
}

/// A value of a register: an address in the memory, a length with ENABLE, a small number, or any.
fn value(choices: &mut Choices<'_>) -> u32 {
    let value = choices.u32();
    match value >> 30 {
        0 => RAM as u32 + (value % (WINDOWS * WINDOW) as u32),
        1 => ENABLE_M | value & 0x1FFF,
        2 => value & 0x1FF,
        _ => value,
    }
}
