// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A guest with a PF driver: mailbox, IOMMU tables, a cause ring, a wire.

use std::os::fd::OwnedFd;

use adit_function::layout::MailboxRing::{self, Arq, Atq};
use adit_function::layout::RegisterLayout;
use adit_function::layout::RingRegister::{self, Bal, Len, Tail};
use adit_uapi::mailbox::{flags, opcode, CtlqDesc, MAX_BUF_LEN};
use adit_uapi::regs::queue_len::ENABLE_M;
use adit_uapi::regs::{dyn_ctl, pf};
use adit_uapi::virtchnl2::adi::{
    op as adi_op, CauseEntry, ConfigAdiCauseRing, CreateAdiExt, NonFlexCreateAdi,
    NonFlexDestroyAdi, CREATE_ADI_EXT_MAGIC,
};
use adit_uapi::virtchnl2::{
    op, queue_model, status, AllocVectors, CreateVport, Event, QueueRegChunk, Vport,
};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, IntoBytes};

use crate::control::{AdiLimits, Profile};
use crate::dataplane::QueueKind;
use crate::function::Function;
use crate::memory::{Access, Dma, GuestMemory};
use crate::pasid::testing::GuestTables;
use crate::pasid::RootQuery;
use crate::pci::DEFAULT_ID;
use crate::testing::sealed;
use crate::wire::mock::{FarEnd, MockPort};
use crate::wire::{Port, PortCaps};

pub use adit_function::testing::adi::wanted;

/// The size of the guest's memory in bytes, most of which is never touched.
const RAM_LEN: u64 = 1 << 30;
const ATQ: u64 = 0x10_0000;
const ARQ: u64 = 0x10_1000;
const REQUEST: u64 = 0x10_2000;
const REPLIES: u64 = 0x11_0000;
/// The number of entries of each mailbox ring.
const MAILBOX_LEN: u16 = 16;
const CAUSES: u64 = 0x14_0000;
const CAUSE_HEAD: u64 = 0x13_F000;
const TABLES: u64 = 0x100_0000;
const TABLES_LEN: u64 = 0x1000_0000;
/// The first address of the ADIs' memory.
pub const ADI_MEMORY: u64 = TABLES + TABLES_LEN;
/// The function's requester ID.
const REQUESTER: u16 = 5 << 3;
/// The PF's MAC address.
pub const PF_MAC: [u8; 6] = [2, 0xAD, 0x17, 0, 0, 1];

/// A guest whose PF driver has loaded.
pub struct Guest {
    /// The device.
    pub function: Function,
    /// The other end of the device's wire.
    pub far: FarEnd,
    /// The tables written by the guest's IOMMU driver.
    pub tables: GuestTables,
    /// The device's clock in nanoseconds.
    pub now: u64,
    /// The guest's memory.
    ram: OwnedFd,
    requests: u16,
    replies: u16,
    causes: u64,
    cause_len: u32,
    /// The next free page for an ADI's memory.
    pub(super) next_page: u64,
}

/// An ADI that was created.
#[derive(Clone, Debug)]
pub struct Created {
    /// The fixed part of the reply.
    pub adi: NonFlexCreateAdi,
    /// The extension.
    pub ext: CreateAdiExt,
    /// Its queues: TX, RX, TX completion, RX buffer.
    pub chunks: Vec<QueueRegChunk>,
}

impl Created {
    /// Reads a reply.
    ///
    /// # Panics
    /// Panics when it is malformed.
    #[must_use]
    pub fn new(reply: &[u8]) -> Self {
        let (adi, rest) = NonFlexCreateAdi::read_from_prefix(reply).expect("a reply");
        let (ext, rest) = CreateAdiExt::read_from_prefix(rest).expect("the extension");
        assert_eq!(ext.magic.get(), CREATE_ADI_EXT_MAGIC);
        let count = usize::from(ext.num_chunks.get());
        let chunks = <[QueueRegChunk]>::ref_from_bytes_with_elems(rest, count);
        let chunks = chunks.expect("chunks").to_vec();
        Self { adi, ext, chunks }
    }

    /// The ADI's ID.
    #[must_use]
    pub fn id(&self) -> u16 {
        self.adi.adi_id.get()
    }

    /// The chunk of a queue type.
    ///
    /// # Panics
    /// Panics when there is none.
    #[must_use]
    pub fn chunk(&self, kind: QueueKind) -> &QueueRegChunk {
        let found = self.chunks.iter().find(|c| c.type_.get() == kind as u32);
        found.expect("queues of the kind")
    }
}

impl Guest {
    /// A guest whose function supports this many ADIs and queue pairs, on an in-memory wire.
    ///
    /// # Panics
    /// Panics when the host has no memory, or when the device misbehaves, as all functions here do.
    #[must_use]
    pub fn new(adis: u32, pairs: u32) -> Self {
        let mut guest = Self::asking(adis, pairs, None);
        let root = guest.tables.root();
        guest
            .function
            .datapath_mut()
            .queues_mut()
            .translator
            .tables()
            .set(root);
        guest
    }

    /// The same, with an optional query for the location of the tables.
    #[must_use]
    pub fn asking(adis: u32, pairs: u32, query: Option<RootQuery>) -> Self {
        let limits = AdiLimits { adis, pairs };
        let profile = Profile::new(vec![PF_MAC], 2).expect("a profile");
        Self::of_profile(profile.with_adis(limits).expect("room in BAR0"), query)
    }

    /// A guest whose function has a register layout, and no ADIs.
    #[must_use]
    pub fn of_layout(layout: RegisterLayout) -> Self {
        let profile = Profile::new(vec![PF_MAC], 2).expect("a profile");
        Self::of_profile(profile.with_layout(layout).expect("no ADIs"), None)
    }

    fn of_profile(profile: Profile, query: Option<RootQuery>) -> Self {
        let (port, far) = MockPort::new(PortCaps::default());
        let wires: Vec<Option<Box<dyn Port>>> = vec![Some(Box::new(port))];
        let mut function = Function::new(DEFAULT_ID, profile, wires, query).expect("doorbells");
        let ram = sealed(RAM_LEN);
        map(&mut function, &ram);
        let memory = &function.datapath().queues().memory;
        let tables = GuestTables::new(memory, TABLES, TABLES_LEN, REQUESTER);
        let mut guest = Self {
            function,
            far,
            tables,
            now: 1,
            ram,
            requests: 0,
            replies: 0,
            causes: 0,
            cause_len: 0,
            next_page: ADI_MEMORY,
        };
        guest.start_mailbox();
        guest
    }

    /// A successor of the device, with the guest's memory and the same wire, and the file of the present
    /// device's doorbell pages.
    #[must_use]
    pub fn successor(&self) -> (Function, OwnedFd) {
        let port = MockPort::at(&self.far, PortCaps::default());
        let wires: Vec<Option<Box<dyn Port>>> = vec![Some(Box::new(port))];
        let profile = self.function.control().profile().clone();
        let mut next = Function::new(DEFAULT_ID, profile, wires, None).expect("doorbells");
        map(&mut next, &self.ram);
        let pages = self.function.datapath().queues().doorbells.fd();
        (next, pages.try_clone_to_owned().expect("a descriptor"))
    }

    /// The state of the device, as it is transmitted to a successor.
    #[must_use]
    pub fn state(&self) -> serde_json::Value {
        let state = self.function.save().expect("a state");
        serde_json::to_value(state).expect("JSON")
    }

    /// Replaces the device by a successor with its state, as an update does.
    pub fn update(&mut self) {
        let state = serde_json::from_value(self.state()).expect("the state");
        let old = self.function.datapath();
        let (ports, totals) = (old.save_ports(), old.save_totals());
        let (mut next, pages) = self.successor();
        next.restore(&state, pages).expect("a state that fits");
        next.datapath_mut().restore_ports(&ports);
        if let Some(totals) = totals {
            next.datapath_mut().restore_totals(&totals);
        }
        self.function = next;
        self.function.go_on();
    }

    /// The guest's memory.
    #[must_use]
    pub fn memory(&self) -> &GuestMemory {
        &self.function.datapath().queues().memory
    }

    /// Sets up the mailbox, as after a reset.
    pub fn start_mailbox(&mut self) {
        (self.requests, self.replies, self.causes) = (0, 0, 0);
        for n in 0..u64::from(MAILBOX_LEN) {
            self.post_reply_buffer(n);
        }
        let len = u32::from(MAILBOX_LEN) | ENABLE_M;
        for (ring, register, value) in [
            (Atq, Bal, ATQ as u32),
            (Atq, Len, len),
            (Arq, Bal, ARQ as u32),
            (Arq, Tail, u32::from(MAILBOX_LEN) - 1),
            (Arq, Len, len),
        ] {
            self.write_mailbox(ring, register, value);
        }
    }

    fn write_mailbox(&mut self, ring: MailboxRing, register: RingRegister, value: u32) {
        let offset = self.function.layout().mailbox_offset(ring, register);
        self.write(offset, value);
    }

    fn post_reply_buffer(&mut self, n: u64) {
        let mut desc = CtlqDesc {
            flags: U16::new(flags::BUF | flags::RD),
            datalen: U16::new(MAX_BUF_LEN as u16),
            ..CtlqDesc::default()
        };
        desc.set_addr(REPLIES + n * MAX_BUF_LEN as u64);
        self.memory().write_obj(ARQ + n * 32, &desc).expect("RAM");
    }

    /// Writes a register of BAR0.
    pub fn write(&mut self, register: u32, value: u32) {
        self.function.register_write(register.into(), value);
    }

    /// Reads a register of BAR0.
    pub fn read(&mut self, register: u32) -> u32 {
        self.function.register_read(register.into())
    }

    /// Sends a request and returns its reply: status and payload.
    pub fn call(&mut self, v_opcode: u32, payload: &[u8]) -> (u32, Vec<u8>) {
        self.request(v_opcode, payload);
        self.reply().expect("a reply")
    }

    /// Sends a request.
    pub fn request(&mut self, v_opcode: u32, payload: &[u8]) {
        let mut desc = CtlqDesc {
            flags: U16::new(flags::BUF | flags::RD),
            opcode: U16::new(opcode::SEND_MSG_TO_CP),
            datalen: U16::new(payload.len() as u16),
            v_opcode_dtype: U32::new(v_opcode),
            ..CtlqDesc::default()
        };
        desc.set_addr(REQUEST);
        let at = ATQ + u64::from(self.requests) * 32;
        self.memory().write(REQUEST, payload).expect("RAM");
        self.memory().write_obj(at, &desc).expect("RAM");
        self.requests = (self.requests + 1) % MAILBOX_LEN;
        self.write_mailbox(Atq, Tail, self.requests.into());
    }

    /// Takes the next reply, if there is one; events are skipped.
    pub fn reply(&mut self) -> Option<(u32, Vec<u8>)> {
        loop {
            let (v_opcode, status, payload) = self.message()?;
            if v_opcode != op::EVENT {
                return Some((status, payload));
            }
        }
    }

    /// Takes the next event, if there is one before the next reply.
    pub fn event(&mut self) -> Option<Event> {
        let (v_opcode, _, payload) = self.message()?;
        assert_eq!(v_opcode, op::EVENT);
        Some(Event::read_from_bytes(&payload).expect("an event"))
    }

    /// Takes the next message: its opcode, status and payload.
    fn message(&mut self) -> Option<(u32, u32, Vec<u8>)> {
        let n = u64::from(self.replies);
        let desc: CtlqDesc = self.memory().read_obj(ARQ + n * 32).expect("RAM");
        if desc.flags.get() & flags::DD == 0 {
            return None;
        }
        let mut payload = vec![0; usize::from(desc.datalen.get())];
        let at = REPLIES + n * MAX_BUF_LEN as u64;
        self.memory().read(at, &mut payload).expect("RAM");
        self.post_reply_buffer(n);
        let tail = self.replies;
        self.replies = (self.replies + 1) % MAILBOX_LEN;
        self.write_mailbox(Arq, Tail, tail.into());
        Some((desc.v_opcode(), desc.v_retval.get(), payload))
    }

    /// Sends a request that must succeed.
    pub fn ok(&mut self, v_opcode: u32, payload: &[u8]) -> Vec<u8> {
        let (status, reply) = self.call(v_opcode, payload);
        assert_eq!(status, status::SUCCESS, "opcode {v_opcode}");
        reply
    }

    /// Creates an ADI.
    ///
    /// # Errors
    /// Returns the status if the device rejects the request.
    pub fn create(&mut self, pasid: u32, ext: &CreateAdiExt) -> Result<Created, u32> {
        let asked = NonFlexCreateAdi {
            pasid: U32::new(pasid),
            ..NonFlexCreateAdi::default()
        };
        let ext = CreateAdiExt {
            magic: U32::new(CREATE_ADI_EXT_MAGIC),
            ..*ext
        };
        let payload = [asked.as_bytes(), ext.as_bytes()].concat();
        let (status, reply) = self.call(op::NON_FLEX_CREATE_ADI, &payload);
        if status != status::SUCCESS {
            return Err(status);
        }
        Ok(Created::new(&reply))
    }

    /// Destroys an ADI; returns the status.
    pub fn destroy(&mut self, id: u16) -> u32 {
        let message = NonFlexDestroyAdi {
            adi_id: U16::new(id),
            ..NonFlexDestroyAdi::default()
        };
        self.call(op::NON_FLEX_DESTROY_ADI, message.as_bytes()).0
    }

    /// Creates and enables the PF's own virtual port, without enabled queues.
    pub fn create_vport(&mut self) {
        let asked = CreateVport {
            txq_model: U16::new(queue_model::SPLIT),
            rxq_model: U16::new(queue_model::SPLIT),
            num_tx_q: U16::new(1),
            num_tx_complq: U16::new(1),
            num_rx_q: U16::new(1),
            num_rx_bufq: U16::new(2),
            ..CreateVport::default()
        };
        self.ok(op::CREATE_VPORT, asked.as_bytes());
        self.ok(op::ENABLE_VPORT, Vport::default().as_bytes());
    }

    /// Allocates vectors and sets up cause ring 0 with vector 1.
    pub fn cause_ring(&mut self, len: u32) {
        let ask = AllocVectors {
            num_vectors: U16::new(1),
            ..AllocVectors::default()
        };
        self.call(op::ALLOC_VECTORS, ask.as_bytes());
        let zeros = vec![0; len as usize * CauseEntry::LEN];
        self.memory().write(CAUSES, &zeros).expect("RAM");
        self.memory().write(CAUSE_HEAD, &[0; 4]).expect("RAM");
        (self.causes, self.cause_len) = (0, len);
        let ring = ConfigAdiCauseRing {
            vector_id: U16::new(1),
            ring_len: U32::new(len),
            ring_addr: U64::new(CAUSES),
            head_addr: U64::new(CAUSE_HEAD),
            ..ConfigAdiCauseRing::default()
        };
        self.ok(adi_op::CONFIG_ADI_CAUSE_RING, ring.as_bytes());
    }

    /// Arms the cause ring's vector.
    pub fn arm_cause_vector(&mut self) {
        let register = pf::GLINT_DYN_CTL.offset(1).expect("a vector");
        self.write(register, dyn_ctl::INTENA_M);
    }

    /// Reads the new entries of the cause ring, without advancing the head.
    #[must_use]
    pub fn peek_causes(&self) -> Vec<CauseEntry> {
        let len = u64::from(self.cause_len);
        let entries = (self.causes..self.causes + len).map(|n| {
            let at = CAUSES + n % len * CauseEntry::LEN as u64;
            let entry = CauseEntry(self.memory().read_obj::<u64>(at).expect("RAM"));
            (entry, entry.generation() == (n / len % 2 == 0))
        });
        entries
            .take_while(|&(_, new)| new)
            .map(|(e, _)| e)
            .collect()
    }

    /// Consumes the new entries of the cause ring: ADI, vector and reason of each.
    pub fn causes(&mut self) -> Vec<(u16, u16, u8)> {
        let entries = self.peek_causes();
        self.causes += entries.len() as u64;
        let head = (self.causes % u64::from(self.cause_len)) as u32;
        let at = CAUSE_HEAD;
        self.memory().write_obj(at, &U32::new(head)).expect("RAM");
        let told = entries.iter().map(|e| (e.adi_id(), e.vector(), e.reason()));
        told.collect()
    }

    /// Runs one turn of the device's poll loop.
    pub fn poll(&mut self) {
        self.now += 1_000;
        self.function.poll(self.now, true);
    }

    /// Leaves the device idle for `ns` nanoseconds.
    pub fn idle(&mut self, ns: u64) {
        self.poll();
        self.now += ns;
        self.poll();
    }
}

/// Maps the guest's memory for a device.
fn map(function: &mut Function, ram: &OwnedFd) {
    let access = Access {
        read: true,
        write: true,
    };
    let file = Some((ram.try_clone().expect("a descriptor"), 0));
    function.map(0, RAM_LEN, access, file).expect("RAM");
}
