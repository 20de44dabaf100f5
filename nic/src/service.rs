// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The process of the device: by itself, or as the worker of a keeper.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use adit_function::layout::RegisterLayout;
use adit_keeper::{
    file_of, frozen, read_file, Begin, Frozen, Start, Store, Unfit, Worker, Workload,
};
use adit_p4runtime::server::Server as P4Server;
use adit_vfio_user::handover::InheritedFds;
use adit_vfio_user::relay::PassedClients;
use adit_vfio_user::{Config, Server, ServerError, StopHandle};
use anyhow::{anyhow, bail, Context};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::clock::Clock;
use crate::control::{AdiLimits, Profile};
use crate::device::Front;
use crate::function::{Function, FunctionState, Shared};
use crate::handover::{Copied, Freeze, Loaded, NicCopy, NicState};
use crate::p4rt;
use crate::pasid::qmp::Qmp;
use crate::pasid::{RootQuery, Translator};
use crate::pci::{PciId, RequesterId};
use crate::runtime::{Servers, Setup, Threads};

/// The name of the device's socket at the keeper.
const SOCKET: &str = "device";
/// The name of the doorbell pages at the keeper.
const PAGES: &str = "doorbells";
/// The format of the state for a successor.
const FORMAT: &str = "adit-nic";

/// The options of the process.
pub struct Options {
    /// The options of the NIC itself.
    pub nic: Setup,
    /// The path of the socket that clients connect to.
    pub socket: PathBuf,
    /// QEMU's QMP socket, if ADIs are enabled.
    pub qmp: Option<PathBuf>,
    /// The function's requester id; `None` to look it up.
    pub requester: Option<RequesterId>,
    /// The maximum number of ADIs: none without `qmp`.
    pub adis: AdiLimits,
    /// Vendor and device id.
    pub pci_id: PciId,
    /// The register layout of the function.
    pub layout: RegisterLayout,
    /// The number of RX queues of each virtual port.
    pub queues: u16,
}

/// Runs the device until it is stopped.
///
/// # Errors
/// When one of the options cannot be used: the socket, a wire, an address.
pub fn serve(options: &Options, stop: &Arc<StopHandle>) -> anyhow::Result<()> {
    let store = Arc::default();
    let program = p4rt::Loaded::of_succession(&options.nic, &store, false)?;
    let (device, mut front) = Device::new(options, &store, program, Clock::start(), None)?;
    let _servers = Servers::start(&device.shared, &options.nic, &device.server)?;
    let server = Server::bind(&options.socket, Config::default())
        .with_context(|| format!("socket {}", options.socket.display()))?;
    device.run(options, stop, || server.run(&mut front, stop))
}

/// Runs the device as the worker of a keeper until it is stopped, or the keeper is gone. The program
/// is compiled first: a predecessor goes on meanwhile. The client's connection, the doorbell pages
/// and the wires' lifelines are those of the predecessor, if there was one. After its death the device
/// begins with the state after power-on, in an update with the predecessor's.
///
/// # Errors
/// As [`serve`], and when the keeper does not follow the protocol.
pub fn serve_for_keeper(
    options: &Options,
    (worker, start): (Worker, Start),
    stop: &Arc<StopHandle>,
) -> anyhow::Result<()> {
    options.nic.check_keepable()?;
    let Start {
        update,
        kept,
        notes,
    } = start;
    let clock = Clock::of_device(&worker, &notes)?;
    let store = Arc::new(Store::new(&worker, kept));
    let program = p4rt::Loaded::of_succession(&options.nic, &store, update)?;
    let clients = worker
        .serve(SOCKET, &options.socket, Config::default())
        .with_context(|| format!("socket {}", options.socket.display()))?;
    if !update {
        return match worker.prepared(|_, _| Err("there is no predecessor".into()))? {
            Begin::TakeOver => bail!("the keeper sends a state to a worker that expects none"),
            Begin::Anew => {
                let pages = store.take(PAGES)?.map(Pages::Inherited);
                let (device, front) = Device::new(options, &store, program, clock, pages)?;
                device.shared.lock().datapath_mut().claim_wires();
                let servers = Servers::start(&device.shared, &options.nic, &device.server)?;
                serve_clients(options, stop, &worker, (device, front), clients, servers)
            }
        };
    }
    // The predecessor runs: its pages and wires must not change.
    let pages = store
        .take(PAGES)?
        .context("the predecessor has left no doorbell pages")?;
    let described = Pages::Later(pages.try_clone()?);
    let (device, front) = Device::new(options, &store, program, clock, Some(described))?;
    let mut loaded = None;
    let begin = worker.prepared(|copy, fds| {
        let copy = device.preload(copy, fds);
        loaded = Some(copy.map_err(|error| format!("{error:#}"))?);
        Ok(())
    })?;
    let later = |stop: &Arc<StopHandle>| {
        let stop = stop.clone();
        let (shared, server) = (&device.shared, &device.server);
        Servers::start_after_predecessor(shared, &options.nic, server, move || stop.stop())
    };
    match begin {
        // Another one is started, which has nothing of the predecessor's state.
        Begin::Anew if loaded.is_some() => bail!("the predecessor's state does not come"),
        Begin::Anew => {
            let mut function = device.shared.lock();
            function.inherit_pages(pages)?;
            function.datapath_mut().claim_wires();
            drop(function);
            let servers = later(stop)?;
            serve_clients(options, stop, &worker, (device, front), clients, servers)
        }
        Begin::TakeOver => {
            device.shared.freeze();
            let serving = serve_in_thread(clients, front, stop)?;
            let taken = worker.state().map_err(anyhow::Error::from);
            if let Err(error) =
                taken.and_then(|state| device.take_over(state, loaded.unwrap_or_default(), pages))
            {
                // Nothing of the predecessor's, which goes on, may be removed.
                tracing::error!("the predecessor's state is not restored: {error:#}");
                std::process::exit(1);
            }
            let servers = later(stop)?;
            let workload = device.workload(stop, true);
            let served = device.run(options, stop, || {
                worker.ready(workload)?;
                joined(serving)
            });
            drop(servers);
            served
        }
    }
}

/// Serves clients of a device that begins with the state after power-on.
fn serve_clients<S>(
    options: &Options,
    stop: &Arc<StopHandle>,
    worker: &Worker,
    (device, mut front): (Device, Front),
    clients: PassedClients,
    servers: S,
) -> anyhow::Result<()> {
    let workload = device.workload(stop, false);
    let served = device.run(options, stop, || {
        worker.ready(workload)?;
        clients.run(&mut front, stop).map_err(anyhow::Error::from)
    });
    drop(servers);
    served
}

/// The thread that serves clients.
type Serving = JoinHandle<Result<(), ServerError>>;

fn serve_in_thread(
    clients: PassedClients,
    mut front: Front,
    stop: &Arc<StopHandle>,
) -> std::io::Result<Serving> {
    let stop = stop.clone();
    let thread = std::thread::Builder::new().name("vfio-user".into());
    thread.spawn(move || clients.run(&mut front, &stop))
}

fn joined(serving: Serving) -> anyhow::Result<()> {
    let served = serving.join();
    let served = served.map_err(|_| anyhow!("the thread that serves clients panicked"))?;
    Ok(served?)
}

/// The device without its threads and its client.
struct Device {
    shared: Arc<Shared>,
    server: Arc<P4Server>,
    query: Option<RootQuery>,
}

/// The doorbell pages of a predecessor.
enum Pages {
    /// It has ended; the pages are zeroed.
    Inherited(OwnedFd),
    /// It runs; the pages are taken over later, and only described to clients.
    Later(OwnedFd),
}

impl Device {
    /// Creates the device, and its front for a client.
    fn new(
        options: &Options,
        store: &Arc<Store>,
        program: p4rt::Loaded,
        clock: Clock,
        pages: Option<Pages>,
    ) -> anyhow::Result<(Self, Front)> {
        let query = options.qmp.as_ref().map(|_| RootQuery::default());
        let profile = Profile::new(options.nic.macs(), options.queues)?
            .with_layout(options.layout)?
            .with_adis(options.adis)?;
        let wires = options.nic.open_wires(store)?;
        let translator = Translator::new(query.clone());
        let inherited = pages.is_some();
        let (pages, described) = match pages {
            Some(Pages::Inherited(pages)) => (Some(pages), None),
            Some(Pages::Later(described)) => (None, Some(described)),
            None => (None, None),
        };
        let function = Function::with_pages(options.pci_id, profile, wires, translator, pages)
            .context("making the doorbell pages")?;
        let doorbells = function.datapath().queues().doorbells.fd();
        let described = match described {
            Some(described) => described,
            None => {
                store.keep(PAGES, doorbells)?;
                doorbells.try_clone_to_owned()?
            }
        };
        let shared = Shared::with_clock(function, options.nic.tracker()?, clock)?;
        let shared = Arc::new(shared);
        let keep_pages = {
            let store = store.clone();
            Box::new(move |file: BorrowedFd<'_>| {
                if let Err(error) = store.keep(PAGES, file) {
                    tracing::error!("the doorbell pages are not kept: {error}");
                }
            })
        };
        let front = Front::new(&shared, described.as_fd(), inherited, keep_pages)?;
        let server = program.run(&shared, options.nic.device_id(), store)?;
        let device = Self {
            shared,
            server,
            query,
        };
        Ok((device, front))
    }

    /// Restores a copy of what may be large of the predecessor's state.
    fn preload(&self, copy: Value, mut fds: InheritedFds) -> anyhow::Result<Loaded> {
        let copy: DeviceCopy = parse(copy)?;
        copy.nic.load(&self.shared, &self.server, &mut fds)
    }

    /// Takes over the state of a predecessor, and its pages. The device is frozen.
    fn take_over(
        &self,
        (state, mut fds): (Value, InheritedFds),
        loaded: Loaded,
        pages: OwnedFd,
    ) -> anyhow::Result<()> {
        let mut state: DeviceState = parse(state)?;
        let function = state.take_function(&mut fds)?;
        self.shared.lock().restore(&function, pages)?;
        let Self { shared, server, .. } = self;
        state.nic.restore(shared, server, loaded, &mut fds)
    }

    /// The device as its keeper sees it. It is `frozen` if it waits for its predecessor's end.
    fn workload(&self, stop: &Arc<StopHandle>, frozen: bool) -> Load {
        Load {
            shared: self.shared.clone(),
            server: self.server.clone(),
            stop: stop.clone(),
            copied: None,
            freeze: None,
            takes_over: frozen,
        }
    }

    /// Starts the threads, and runs the device for the time of `serve`, which serves its client.
    fn run<E: Into<anyhow::Error>>(
        self,
        options: &Options,
        stop: &Arc<StopHandle>,
        serve: impl FnOnce() -> Result<(), E>,
    ) -> anyhow::Result<()> {
        let Self { shared, query, .. } = self;
        let threads = Threads::start(&shared, {
            let stop = stop.clone();
            move || stop.stop()
        })?;
        let asker = match (&options.qmp, &query) {
            (Some(path), Some(query)) => Some(ask_qemu(path, options, query, &shared)?),
            _ => None,
        };
        tracing::info!(socket = %options.socket.display(), ports = options.nic.wires.len(), queues = options.queues, "ready");
        let served = serve();
        shared.stop();
        if let Some(query) = &query {
            query.close();
        }
        if asker.is_some_and(|asker| asker.join().is_err()) {
            anyhow::bail!("the QMP client panicked");
        }
        threads.stop()?;
        // The keeper's orders may hold the function until the process has ended.
        shared.lock().datapath_mut().close_wires();
        served.map_err(Into::into).context("the vfio-user server")
    }
}

/// The state of the device.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DeviceState {
    /// [`FORMAT`].
    format: String,
    /// The function, if it has no ADIs, of which there may be thousands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    function: Option<FunctionState>,
    /// The descriptor of the function otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    function_file: Option<u32>,
    nic: NicState,
}

impl DeviceState {
    /// The state of the function.
    fn take_function(&mut self, fds: &mut InheritedFds) -> anyhow::Result<FunctionState> {
        match (self.function.take(), self.function_file) {
            (Some(function), None) => Ok(function),
            (None, Some(file)) => {
                let bytes = read_file(fds.take(file)?)?;
                serde_json::from_slice(&bytes).context("the state of the function")
            }
            _ => bail!("the state has the function twice, or not at all"),
        }
    }
}

/// A copy of what may be large of the state of a device that goes on.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DeviceCopy {
    /// [`FORMAT`].
    format: String,
    nic: NicCopy,
}

/// Parses a [`DeviceState`] or [`DeviceCopy`].
fn parse<T: DeserializeOwned>(state: Value) -> anyhow::Result<T> {
    match state.get("format").and_then(Value::as_str) {
        Some(FORMAT) => Ok(serde_json::from_value(state)?),
        other => bail!("the state has format {other:?}: it is {FORMAT:?}"),
    }
}

/// The device as its keeper sees it.
struct Load {
    shared: Arc<Shared>,
    server: Arc<P4Server>,
    stop: Arc<StopHandle>,
    /// The copy for a successor.
    copied: Option<Copied>,
    /// Set while it is frozen for a successor.
    freeze: Option<Freeze>,
    /// Set while it is frozen with its predecessor's state.
    takes_over: bool,
}

/// The reason that an update is not possible now.
fn busy(error: impl std::fmt::Display) -> Unfit {
    Unfit::busy(format!("the state of the function: {error}"))
}

impl Workload for Load {
    fn precopy(&mut self) -> Option<Frozen> {
        let mut fds = Vec::new();
        match NicCopy::new(&self.shared, &self.server, &mut fds) {
            Ok((nic, copied)) => {
                let format = FORMAT.to_owned();
                let copy = frozen(DeviceCopy { format, nic }, fds).ok()?;
                self.copied = Some(copied);
                Some(copy)
            }
            Err(error) => {
                tracing::warn!("nothing is copied for the successor in advance: {error:#}");
                None
            }
        }
    }

    fn freeze(&mut self) -> Result<Frozen, Unfit> {
        let freeze = Freeze::new(&self.shared, &self.server).map_err(Unfit::busy)?;
        let saved = self.shared.lock().save();
        let function = saved.map_err(|error| Unfit::reset(error.to_string()))?;
        let mut fds = Vec::new();
        let copied = self.copied.take();
        let nic = freeze.save(&self.server, copied.as_ref(), &mut fds);
        let nic = nic.map_err(|error| Unfit::busy(format!("{error:#}")))?;
        let (function, function_file) = match &function.slow_path.control.adis {
            None => (Some(function), None),
            Some(_) => {
                let bytes = serde_json::to_vec(&function).map_err(busy)?;
                fds.push(file_of("function", &bytes).map_err(busy)?);
                (None, Some(fds.len() as u32 - 1))
            }
        };
        let state = DeviceState {
            format: FORMAT.to_owned(),
            function,
            function_file,
            nic,
        };
        let state = frozen(state, fds)?;
        self.freeze = Some(freeze);
        Ok(state)
    }

    fn go_on(&mut self) {
        self.freeze = None;
        self.copied = None;
        self.server.forget_copy();
        if std::mem::take(&mut self.takes_over) {
            self.shared.lock().go_on();
            self.shared.thaw();
        } else {
            self.shared.lock().datapath_mut().claim_wires();
        }
    }

    fn abandoned(&mut self) {
        // A frozen device may be another process's, and must not poll when its freeze is dropped. Nor can one go on
        // that its keeper has not told to: its client's end would wait for that.
        self.shared.stop();
        self.stop.stop();
    }
}

/// Starts the thread that queries QEMU for the location of the IOMMU's tables. It must be a
/// separate thread: QEMU may be waiting for the thread that serves it.
fn ask_qemu(
    path: &Path,
    options: &Options,
    query: &RootQuery,
    shared: &Arc<Shared>,
) -> std::io::Result<JoinHandle<()>> {
    let qmp = Qmp {
        path: path.to_owned(),
        pci_id: options.pci_id,
        requester: options.requester.map(|id| id.0),
    };
    let (query, shared) = (query.clone(), shared.clone());
    std::thread::Builder::new()
        .name("qmp".into())
        .spawn(move || {
            qmp.serve(&query, |era, root| {
                // An answer may be due in the guest's memory.
                let found = || shared.lock().tables_found(era, root);
                shared.freezer().step_once_thawed(found);
                shared.wake();
            });
        })
}

#[cfg(test)]
mod tests;
