// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The function as a vfio-user device, and the process that runs it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use adit_function::layout::RegisterLayout;
use adit_vfio_user::{
    Config, Device, DeviceInfo, DmaMap, Errno, IrqAction, IrqInfo, IrqRequest, MmapArea, Region,
    RegionMmap, Server, StopHandle,
};
use anyhow::Context;
use vfio_bindings::bindings::vfio;

use crate::control::{AdiLimits, Profile};
use crate::engine::{self, Pace};
use crate::function::{Function, Shared};
use crate::ids::VectorId;
use crate::logging::warn_throttled;
use crate::mac::MacAddr;
use crate::memory::Access;
use crate::metrics;
use crate::p4rt::P4Rt;
use crate::pasid::qmp::Qmp;
use crate::pasid::RootQuery;
use crate::pci::{PciId, RequesterId, BAR2_LEN, CONFIG_LEN};
use crate::program::Program;
use crate::report;
use crate::wire::WireSpec;

/// The options of the process.
pub struct Options {
    /// The path of the socket that clients connect to.
    pub socket: PathBuf,
    /// QEMU's QMP socket, if ADIs are enabled.
    pub qmp: Option<PathBuf>,
    /// The function's requester id; `None` to look it up.
    pub requester: Option<RequesterId>,
    /// The maximum number of ADIs: none without `qmp`.
    pub adis: AdiLimits,
    /// The wires, one for each virtual port.
    pub wires: Vec<WireSpec>,
    /// The MAC address of the first virtual port.
    pub mac: MacAddr,
    /// Vendor and device id.
    pub pci_id: PciId,
    /// The register layout of the function.
    pub layout: RegisterLayout,
    /// The number of RX queues of each virtual port.
    pub queues: u16,
    /// The P4 program; `None` for the standard one.
    pub p4: Option<PathBuf>,
    /// Its macros and architecture.
    pub p4_options: adit_p4_frontend::Options,
    /// The address at which P4Runtime is served, if any.
    pub p4rt: Option<P4Rt>,
    /// The address at which metrics are served, if any.
    pub metrics: Option<SocketAddr>,
}

/// Runs the device until it is stopped.
///
/// # Errors
/// When one of the options cannot be used: the socket, a wire, an address.
pub fn serve(options: Options, stop: &Arc<StopHandle>) -> anyhow::Result<()> {
    let macs = (0..options.wires.len() as u32)
        .map(|n| options.mac.nth(n).0)
        .collect();
    let query = options.qmp.as_ref().map(|_| RootQuery::default());
    let profile = Profile::new(macs, options.queues)?
        .with_layout(options.layout)?
        .with_adis(options.adis)?;
    let vectors = u32::from(profile.vectors());
    let mut wires = Vec::new();
    for spec in &options.wires {
        wires.push(spec.open().with_context(|| format!("wire `{spec}`"))?);
    }
    let program = match &options.p4 {
        Some(path) => Program::load(path, &options.p4_options),
        None => Program::standard(),
    }
    .context("the P4 program")?;
    let mut function = Function::new(options.pci_id, profile, wires, query.clone())
        .context("making the doorbell pages")?;
    function.set_program(program);
    let (regions, irqs) = describe(&function, vectors)?;
    let shared = Arc::new(Shared::new(function)?);
    let mut front = Front {
        shared: shared.clone(),
        regions,
        irqs,
    };

    let p4rt = match &options.p4rt {
        Some(p4rt) => Some(p4rt.serve(&shared)?),
        None => None,
    };
    let _metrics = match options.metrics {
        Some(address) => {
            let shared = shared.clone();
            let p4rt = p4rt.as_ref().map(|p4rt| p4rt.counters().clone());
            let render = move || report::prometheus(&shared.lock(), p4rt.as_ref());
            let server = metrics::MetricsServer::start(address, render)
                .with_context(|| format!("serving metrics at {address}"))?;
            tracing::info!(address = %server.address(), "metrics");
            Some(server)
        }
        None => None,
    };
    let server = Server::bind(&options.socket, Config::default())
        .with_context(|| format!("socket {}", options.socket.display()))?;
    tracing::info!(socket = %options.socket.display(), ports = options.wires.len(), queues = options.queues, "ready");

    std::thread::scope(|scope| {
        let engine = std::thread::Builder::new()
            .name("engine".into())
            .spawn_scoped(scope, {
                let shared = shared.clone();
                let stop = stop.clone();
                move || {
                    let result = engine::run(&shared, Pace::default());
                    stop.stop();
                    result
                }
            })?;
        let asker = match (&options.qmp, &query) {
            (Some(path), Some(query)) => Some(ask_qemu(scope, path, &options, query, &shared)?),
            _ => None,
        };
        let clock = std::thread::Builder::new()
            .name("p4-clock".into())
            .spawn_scoped(scope, {
                let shared = shared.clone();
                move || shared.age_entries()
            })?;
        let served = server.run(&mut front, stop);
        shared.stop();
        if let Some(query) = &query {
            query.close();
        }
        if asker.is_some_and(|asker| asker.join().is_err()) {
            anyhow::bail!("the QMP client panicked");
        }
        clock.thread().unpark();
        let engine = engine
            .join()
            .map_err(|_| anyhow::anyhow!("the engine panicked"))?;
        engine.context("the engine")?;
        served.context("the vfio-user server")
    })
}

/// Starts the thread that queries QEMU for the location of the IOMMU's tables. It must be a
/// separate thread: QEMU may be waiting for the thread that serves it.
fn ask_qemu<'scope>(
    scope: &'scope std::thread::Scope<'scope, '_>,
    path: &std::path::Path,
    options: &Options,
    query: &RootQuery,
    shared: &Arc<Shared>,
) -> std::io::Result<std::thread::ScopedJoinHandle<'scope, ()>> {
    let qmp = Qmp {
        path: path.to_owned(),
        pci_id: options.pci_id,
        requester: options.requester.map(|id| id.0),
    };
    let (query, shared) = (query.clone(), shared.clone());
    std::thread::Builder::new()
        .name("qmp".into())
        .spawn_scoped(scope, move || {
            qmp.serve(&query, |era, root| {
                shared.lock().tables_found(era, root);
                shared.wake();
            });
        })
}

/// The device that the vfio-user server calls.
struct Front {
    shared: Arc<Shared>,
    regions: Vec<Region>,
    irqs: Vec<IrqInfo>,
}

/// The regions and interrupts of the function.
fn describe(function: &Function, vectors: u32) -> std::io::Result<(Vec<Region>, Vec<IrqInfo>)> {
    let doorbells = &function.datapath().queues().doorbells;
    let areas = doorbells.windows().map(|w| {
        let range = w.range();
        MmapArea {
            offset: range.start,
            size: range.end - range.start,
        }
    });
    let mmap = RegionMmap {
        fd: Arc::new(doorbells.fd().try_clone_to_owned()?),
        offset: 0,
        areas: areas.collect(),
    };
    let mut regions = vec![Region::absent(); vfio::VFIO_PCI_NUM_REGIONS as usize];
    regions[vfio::VFIO_PCI_BAR0_REGION_INDEX as usize] =
        Region::trapped(function.layout().bar0_len()).with_mmap(mmap);
    regions[vfio::VFIO_PCI_BAR2_REGION_INDEX as usize] = Region::trapped(BAR2_LEN);
    regions[vfio::VFIO_PCI_CONFIG_REGION_INDEX as usize] = Region::trapped(CONFIG_LEN as u64);
    let mut irqs = vec![IrqInfo::absent(); vfio::VFIO_PCI_NUM_IRQS as usize];
    irqs[vfio::VFIO_PCI_MSIX_IRQ_INDEX as usize] = IrqInfo::eventfd(vectors);
    Ok((regions, irqs))
}

/// The aligned 32-bit registers that an access of any size touches: the offset of each, the bytes
/// to skip in it, and the range of the data that belongs to it. PCI lets software access parts of
/// registers.
fn registers(
    offset: u64,
    len: usize,
) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        if at >= len {
            return None;
        }
        let byte = offset + at as u64;
        let (register, skip) = (byte & !3, (byte & 3) as usize);
        let n = (4 - skip).min(len - at);
        let range = at..at + n;
        at += n;
        Some((register, skip, range))
    })
}

impl Device for Front {
    fn info(&self) -> DeviceInfo {
        DeviceInfo::PCI
    }

    fn regions(&self) -> &[Region] {
        &self.regions
    }

    fn irqs(&self) -> &[IrqInfo] {
        &self.irqs
    }

    fn region_read(&mut self, region: u32, offset: u64, data: &mut [u8]) -> Result<(), Errno> {
        let mut function = self.shared.lock();
        match region {
            vfio::VFIO_PCI_CONFIG_REGION_INDEX => function.config_read(offset, data),
            vfio::VFIO_PCI_BAR0_REGION_INDEX => {
                for (register, skip, range) in registers(offset, data.len()) {
                    let value = function.register_read(register).to_le_bytes();
                    let n = range.len();
                    data[range].copy_from_slice(&value[skip..skip + n]);
                }
            }
            vfio::VFIO_PCI_BAR2_REGION_INDEX => function.msix_read(offset, data),
            _ => return Err(Errno::INVAL),
        }
        Ok(())
    }

    fn region_write(&mut self, region: u32, offset: u64, data: &[u8]) -> Result<(), Errno> {
        {
            let mut function = self.shared.lock();
            match region {
                vfio::VFIO_PCI_CONFIG_REGION_INDEX => function.config_write(offset, data),
                vfio::VFIO_PCI_BAR0_REGION_INDEX => {
                    for (register, _, range) in registers(offset, data.len()) {
                        // The registers are 32 bits wide: a narrower write would have to make up
                        // the rest.
                        if let Ok(bytes) = data[range].try_into() {
                            function.register_write(register, u32::from_le_bytes(bytes));
                        }
                    }
                }
                vfio::VFIO_PCI_BAR2_REGION_INDEX => function.msix_write(offset, data),
                _ => return Err(Errno::INVAL),
            }
        }
        // A trapped write may be a doorbell, or may have started or stopped queues.
        self.shared.wake();
        Ok(())
    }

    fn dma_map(&mut self, map: DmaMap) -> Result<(), Errno> {
        let access = Access {
            read: map.prot.readable(),
            write: map.prot.writable(),
        };
        let fd = map.fd.map(|fd| (fd, map.offset));
        self.shared
            .lock()
            .map(map.iova, map.size, access, fd)
            .map_err(|e| {
                warn_throttled!(iova = map.iova, size = map.size, "DMA window refused: {e}");
                Errno::INVAL
            })
    }

    fn dma_unmap(&mut self, iova: u64, size: u64) {
        if let Err(e) = self.shared.lock().unmap(iova, size) {
            warn_throttled!(iova, size, "DMA window not unmapped: {e}");
        }
    }

    fn set_irqs(&mut self, request: IrqRequest) -> Result<(), Errno> {
        if request.index() != vfio::VFIO_PCI_MSIX_IRQ_INDEX {
            return Err(Errno::INVAL);
        }
        let mut function = self.shared.lock();
        match request {
            IrqRequest::DisableAll { .. } => function.clear_triggers(),
            IrqRequest::Assign {
                start,
                action: IrqAction::Trigger,
                eventfds,
                ..
            } => {
                for (vector, eventfd) in (start..).zip(eventfds) {
                    function.set_trigger(VectorId(vector), Some(eventfd));
                }
            }
            IrqRequest::Deassign {
                start,
                count,
                action: IrqAction::Trigger,
                ..
            } => {
                for vector in start..start + count {
                    function.set_trigger(VectorId(vector), None);
                }
            }
            // MSI-X is masked in the MSI-X table, which the client emulates.
            _ => return Err(Errno::OPNOTSUPP),
        }
        drop(function);
        self.shared.wake();
        Ok(())
    }

    fn reset(&mut self) -> Result<(), Errno> {
        self.shared.lock().reset();
        Ok(())
    }

    fn disconnected(&mut self) {
        let mut function = self.shared.lock();
        tracing::info!("counters so far: {}", report::summary(&function));
        function.disconnect();
    }
}
