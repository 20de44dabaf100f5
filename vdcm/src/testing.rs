// SPDX-License-Identifier: Apache-2.0 OR MIT
//! An ADI without a NIC: the control plane of a function that has it, over a data plane that moves
//! no frames.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use adit_function::control::mock::MockDataPlane;
use adit_function::control::AdiLimits;
use adit_function::dataplane::{FaultRecord, QueueFault, QueueId, QueueKind};
use adit_function::ids::AdiId;
use adit_function::memory::{GuestMemory, WriteLog};
use adit_function::testing::driver::{bring_up, create_vport, profile, Driver};
use adit_uapi::virtchnl2::adi::{
    op as adi_op, CreateAdiExt, NonFlexCreateAdi, ResetAdi, CREATE_ADI_EXT_MAGIC,
};
use adit_uapi::virtchnl2::{op, QueueRegChunk};
use adit_vfio_user::migration::IovaRange;
use adit_vfio_user::EventFd;
use parking_lot::Mutex;
use rustix::event::{eventfd, EventfdFlags};
use rustix::fs::{ftruncate, memfd_create, MemfdFlags};
use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, IntoBytes};

use crate::backend::{
    Adi, AdiError, AdiSpec, DoorbellPages, Ids, Link, Member, PagesPart, Properties, Provider,
    Window,
};
use crate::protocol::{Layout, Limits};
use crate::vdev::{Shape, State, Vdev};

/// The PASID of all ADIs.
const PASID: u32 = 77;

/// The messages that the owner of an ADI may send (`adit_uapi::vfio`).
const PERMITTED: [u32; 25] = [
    op::CONFIG_TX_QUEUES,
    op::CONFIG_RX_QUEUES,
    op::ENABLE_QUEUES,
    op::DISABLE_QUEUES,
    op::MAP_QUEUE_VECTOR,
    op::UNMAP_QUEUE_VECTOR,
    op::ENABLE_VPORT,
    op::DISABLE_VPORT,
    op::GET_STATS,
    op::GET_RSS_KEY,
    op::SET_RSS_KEY,
    op::GET_RSS_LUT,
    op::SET_RSS_LUT,
    op::GET_RSS_HASH,
    op::SET_RSS_HASH,
    op::ADD_MAC_ADDR,
    op::DEL_MAC_ADDR,
    op::CONFIG_PROMISCUOUS_MODE,
    adi_op::GET_ADI_FAULT,
    adi_op::SUSPEND_ADI,
    adi_op::RESUME_ADI,
    adi_op::GET_ADI_QUEUE_STATE,
    adi_op::SET_ADI_QUEUE_STATE,
    adi_op::GET_ADI_VECTOR_STATE,
    adi_op::SET_ADI_VECTOR_STATE,
];

/// Returns whether the owner of an ADI may send a message.
#[must_use]
pub fn is_permitted(opcode: u32) -> bool {
    PERMITTED.contains(&opcode)
}

/// The state of a mock ADI, which tests share with it.
pub struct MockState {
    /// The function that has the ADI.
    pub device: Driver<MockDataPlane>,
    /// The windows that are mapped.
    pub windows: Vec<(u64, u64)>,
    /// Set for vectors that have an eventfd.
    pub vectors: Vec<bool>,
    /// Set once the ADI is gone.
    pub gone: bool,
    /// The opcodes of the messages so far, newest last.
    pub messages: Vec<u32>,
    /// An opcode that is refused.
    pub refuse: Option<u32>,
    /// Set if mapping and unmapping fail.
    pub refuse_windows: bool,
    /// The link.
    pub link: Link,
    /// Set while the ADI is open.
    pub open: bool,
    /// The number of resets.
    pub resets: u32,
    /// The log of what it writes.
    pub log: Option<Arc<WriteLog>>,
    /// Addresses that were written and are not marked there yet, as of a NIC with a log of its own.
    pub unread: Vec<u64>,
    /// The number of times that it has waited for its writes.
    pub settled: u32,
}

/// A mock ADI.
pub struct MockAdi {
    name: String,
    properties: Properties,
    ids: Ids,
    adi_id: U16,
    pages: DoorbellPages,
    gone: OwnedFd,
    fault: OwnedFd,
    state: Arc<Mutex<MockState>>,
    groups: bool,
    logs: bool,
}

impl MockAdi {
    /// An ADI with `pairs` queue pairs, each with a vector, whose address ends in `number`.
    ///
    /// # Panics
    /// When the system has no memory or file descriptors left, or `pairs` is 0 or above 64.
    #[must_use]
    pub fn new(name: &str, number: u8, pairs: u16) -> Self {
        let mac = [2, 0, 0, 0, 9, number];
        let limits = AdiLimits {
            adis: 1,
            pairs: pairs.into(),
        };
        let profile = profile(1, 1).with_adis(limits).expect("an ADI");
        let dp = MockDataPlane::new(&profile, GuestMemory::new());
        let mut device = Driver::with(profile, dp);
        let request = NonFlexCreateAdi {
            pasid: U32::new(PASID),
            ..NonFlexCreateAdi::default()
        };
        let wanted = CreateAdiExt {
            num_tx_q: U16::new(pairs),
            num_tx_complq: U16::new(pairs),
            num_rx_q: U16::new(pairs),
            num_rx_bufq: U16::new(2 * pairs),
            num_vectors: U16::new(pairs),
            mac,
            magic: U32::new(CREATE_ADI_EXT_MAGIC),
            ..CreateAdiExt::default()
        };
        let payload = [request.as_bytes(), wanted.as_bytes()].concat();
        device.ok(op::NON_FLEX_CREATE_ADI, &payload);
        let (created, rest) = device.answer::<NonFlexCreateAdi>();
        let (ext, _) = CreateAdiExt::read_from_prefix(rest).expect("the extension");
        let skip = NonFlexCreateAdi::LEN + CreateAdiExt::LEN;
        let mut first_queues = [0; QueueKind::ALL.len()];
        for chunk in device.chunks(skip, ext.num_chunks) {
            let QueueRegChunk {
                type_,
                start_queue_id,
                ..
            } = chunk;
            first_queues[type_.get() as usize] = start_queue_id.get();
        }
        let event = || eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).expect("eventfd");
        Self {
            name: name.to_owned(),
            properties: Properties {
                mac,
                vlan: 0,
                pairs,
                vectors: pairs,
                max_mtu: 9000,
                max_ring_len: 8192,
                iova: 0..=(1 << 47) - 1,
                max_registrations: 64,
                max_registered_len: 1 << 40,
            },
            ids: Ids {
                vport: ext.vport_id.get(),
                adi: created.adi_id.get(),
                pasid: PASID,
                first_queues,
            },
            adi_id: created.adi_id,
            pages: doorbells(4 * u32::from(pairs)),
            gone: event(),
            fault: event(),
            state: Arc::new(Mutex::new(MockState {
                device,
                windows: Vec::new(),
                vectors: vec![false; pairs.into()],
                gone: false,
                messages: Vec::new(),
                refuse: None,
                refuse_windows: false,
                link: Link {
                    up: true,
                    speed_mbps: 10_000,
                },
                open: true,
                resets: 0,
                log: None,
                unread: Vec::new(),
                settled: 0,
            })),
            groups: false,
            logs: false,
        }
    }

    /// Makes it one that can lead a group and be a member of one.
    #[must_use]
    pub fn in_groups(mut self) -> Self {
        self.groups = true;
        self
    }

    /// Makes it one that knows what it writes.
    #[must_use]
    pub fn logging(mut self) -> Self {
        self.logs = true;
        self
    }

    /// The state, which outlives the ADI.
    #[must_use]
    pub fn state(&self) -> Arc<Mutex<MockState>> {
        self.state.clone()
    }

    /// Makes it one with a fault that nobody has asked for.
    #[must_use]
    pub fn faulted(self) -> Self {
        let queue = QueueId {
            kind: QueueKind::Rx,
            index: 0,
        };
        self.state.lock().device.dp.faults = FaultRecord {
            count: 1,
            first: Some((queue, QueueFault::Tail { tail: 9, len: 8 })),
        };
        self
    }

    /// A function that makes the ADI go.
    ///
    /// # Panics
    /// When the system has no file descriptors left.
    pub fn end(&self) -> impl Fn() + Send + 'static {
        let gone = self.gone.try_clone().expect("a file descriptor");
        let state = self.state.clone();
        move || {
            state.lock().gone = true;
            rustix::io::write(&gone, &1_u64.to_ne_bytes()).expect("an eventfd");
        }
    }

    fn present(&self) -> Result<parking_lot::MutexGuard<'_, MockState>, AdiError> {
        let state = self.state.lock();
        match state.gone {
            true => Err(AdiError::Gone),
            false => Ok(state),
        }
    }
}

impl Drop for MockAdi {
    fn drop(&mut self) {
        let mut state = self.state.lock();
        state.open = false;
        state.windows.clear();
    }
}

impl Adi for MockAdi {
    fn name(&self) -> &str {
        &self.name
    }

    fn properties(&self) -> &Properties {
        &self.properties
    }

    fn ids(&self) -> Ids {
        self.ids
    }

    fn link(&self) -> Result<Link, AdiError> {
        Ok(self.present()?.link)
    }

    fn request(
        &mut self,
        opcode: u32,
        payload: &[u8],
        reply: &mut Vec<u8>,
    ) -> Result<(), AdiError> {
        let mut state = self.present()?;
        state.messages.push(opcode);
        let refused = |reason| Err(AdiError::Refused { opcode, reason });
        if !is_permitted(opcode) || state.refuse == Some(opcode) {
            return refused("owners may not send it".to_owned());
        }
        match state.device.send(opcode, payload) {
            0 => {
                reply.clear();
                reply.extend_from_slice(&state.device.reply);
                Ok(())
            }
            status => refused(format!("status {status}")),
        }
    }

    fn map(&mut self, window: &Window) -> Result<(), AdiError> {
        let mut state = self.present()?;
        if state.refuse_windows || state.windows.len() >= 64 {
            return Err(AdiError::Limit {
                what: "registering memory",
                reason: "64 windows are registered".to_owned(),
            });
        }
        state.windows.push((window.iova, window.len));
        Ok(())
    }

    fn unmap(&mut self, iova: u64, len: u64) -> Result<(), AdiError> {
        let mut state = self.state.lock();
        let at = state
            .windows
            .iter()
            .position(|&window| window == (iova, len));
        match at {
            Some(at) if !state.refuse_windows => {
                state.windows.remove(at);
                Ok(())
            }
            _ => Err(AdiError::Limit {
                what: "unregistering memory",
                reason: format!("there is no window {iova:#x}+{len:#x}"),
            }),
        }
    }

    fn log_writes(&mut self, log: Option<Arc<WriteLog>>) -> bool {
        if self.logs {
            self.state.lock().log = log;
        }
        self.logs
    }

    fn collect_writes(&self, range: IovaRange) {
        let mut state = self.state.lock();
        let state = &mut *state;
        if let Some(log) = &state.log {
            let read = |iova: &u64| (range.iova..range.end()).contains(iova);
            state
                .unread
                .iter()
                .filter(|at| read(at))
                .for_each(|&at| log.mark(at, 1));
            state.unread.retain(|at| !read(at));
        }
    }

    fn settle_writes(&self) {
        self.state.lock().settled += 1;
    }

    fn set_vector(&mut self, vector: u16, eventfd: Option<&EventFd>) -> Result<(), AdiError> {
        let mut state = self.present()?;
        match state.vectors.get_mut(usize::from(vector)) {
            Some(set) => {
                *set = eventfd.is_some();
                Ok(())
            }
            None => Err(AdiError::Limit {
                what: "setting an eventfd",
                reason: format!("there is no vector {vector}"),
            }),
        }
    }

    fn pages(&self) -> Result<&DoorbellPages, AdiError> {
        self.present().map(|_| &self.pages)
    }

    fn join_pages(&self, parts: &[PagesPart<'_>]) -> Result<DoorbellPages, AdiError> {
        let counts = parts.iter().map(|part| part.range.len() as u32);
        Ok(doorbells(counts.sum()))
    }

    fn revoke_pages(&mut self) -> Result<(), AdiError> {
        self.reset()?;
        self.pages = doorbells(self.pages.count);
        Ok(())
    }

    fn member(&self) -> Result<Member<'_>, AdiError> {
        drop(self.present()?);
        match self.groups {
            true => Ok(Member {
                id: AdiId(self.adi_id.get()),
                device: None,
            }),
            false => Err(no_groups()),
        }
    }

    fn lead(&mut self, _members: &[Member<'_>]) -> Result<(), AdiError> {
        drop(self.present()?);
        self.groups.then_some(()).ok_or_else(no_groups)
    }

    fn reset(&mut self) -> Result<(), AdiError> {
        let mut state = self.present()?;
        state.resets += 1;
        let message = ResetAdi {
            adi_id: self.adi_id,
            ..ResetAdi::default()
        };
        state.device.ok(adi_op::RESET_ADI, message.as_bytes());
        Ok(())
    }

    fn gone(&self) -> BorrowedFd<'_> {
        self.gone.as_fd()
    }

    fn fault(&self) -> BorrowedFd<'_> {
        self.fault.as_fd()
    }
}

fn no_groups() -> AdiError {
    AdiError::Io {
        what: "joining ADIs in a group",
        source: std::io::ErrorKind::Unsupported.into(),
    }
}

/// A file of doorbell pages.
fn doorbells(count: u32) -> DoorbellPages {
    let file = memfd_create("adi-pages", MemfdFlags::CLOEXEC).expect("memfd");
    ftruncate(&file, u64::from(count) * 0x1000).expect("memfd size");
    DoorbellPages {
        file: File::from(file),
        count,
    }
}

/// A device with a VF's registers, and all queues of its ADIs.
#[must_use]
pub fn shape() -> Shape {
    let layout = Layout::Vf;
    Shape {
        layout,
        pci_id: layout.pci_id(),
        queues: None,
        limits: Limits::default(),
    }
}

/// A device out of one mock ADI with two queue pairs, all of whose queues run.
///
/// # Panics
/// When the device misbehaves.
#[must_use]
pub fn running_vdev() -> Vdev {
    let vdev = Vdev::new(vec![Box::new(MockAdi::new("adi", 1, 2))], shape()).expect("a device");
    let mut state = vdev.lock();
    let State {
        slow_path,
        composition,
        ..
    } = &mut *state;
    let profile = slow_path.control().profile().clone();
    let mut ok = |opcode, payload: &[u8]| {
        let mut reply = Vec::new();
        let status = slow_path.request(opcode, payload, composition, &mut reply);
        assert_eq!(status, 0, "{:?}", op::name(opcode));
        reply
    };
    ok(op::CREATE_VPORT, create_vport(0, 2).as_bytes());
    bring_up(&profile, 0, 2, ok);
    drop(state);
    vdev
}

/// A source of mock ADIs: those that were added, each of which can be opened once. Another one of the same
/// name can be opened when the first has been closed.
#[derive(Default)]
pub struct MockProvider {
    adis: Mutex<Vec<MockAdi>>,
    opened: Mutex<Vec<(String, Arc<Mutex<MockState>>)>>,
}

impl MockProvider {
    /// Adds an ADI that can be opened.
    pub fn add(&self, adi: MockAdi) {
        self.adis.lock().push(adi);
    }
}

impl Provider for MockProvider {
    fn list(&self) -> Result<Vec<String>, AdiError> {
        let adis = self.adis.lock();
        Ok(adis.iter().map(|adi| adi.name.clone()).collect())
    }

    fn open(&self, name: &str) -> Result<Box<dyn Adi>, AdiError> {
        let mut adis = self.adis.lock();
        let mut opened = self.opened.lock();
        opened.retain(|(_, state)| state.lock().open);
        let failed = |kind: std::io::ErrorKind| AdiError::Io {
            what: "opening an ADI",
            source: kind.into(),
        };
        let at = adis.iter().position(|adi| adi.name == name);
        let at = at.ok_or_else(|| failed(std::io::ErrorKind::NotFound))?;
        if opened.iter().any(|(other, _)| other == name) {
            return Err(failed(std::io::ErrorKind::ResourceBusy));
        }
        let adi = adis.remove(at);
        opened.push((adi.name.clone(), adi.state()));
        Ok(Box::new(adi))
    }

    fn create(&self, spec: &AdiSpec) -> Result<Box<dyn Adi>, AdiError> {
        Ok(Box::new(MockAdi::new("created", 0xC0, spec.pairs)))
    }
}
