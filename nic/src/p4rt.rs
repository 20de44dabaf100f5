// SPDX-License-Identifier: Apache-2.0 OR MIT
//! P4Runtime for the device: installs committed programs in the data path. The services of the
//! device's connections and of traces are beside it.

use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use adit_keeper::{file_of, read_file, Store};
use adit_p4runtime::server::{
    listen_with, Address, Limits, Listening, Pipeline, PipelineHandle, Routes, Server, Tls,
};
use adit_pipeline::p4::Engine;
use adit_trace::{Injection, Record, Refused, Tap, Watcher};
use anyhow::{bail, Context};

use crate::function::Shared;
use crate::runtime::Setup;

/// The options of the P4Runtime server.
#[derive(Clone, Debug)]
pub struct P4Rt {
    /// The address to listen on.
    pub address: Address,
    /// The device id that clients use.
    pub device_id: u64,
    /// The certificate, if it is served over TLS.
    pub certificate: Option<PathBuf>,
    /// The certificate's key.
    pub key: Option<PathBuf>,
    /// The CA certificates for clients.
    pub clients: Option<PathBuf>,
}

/// Stores the config of a program that a client has committed, for a successor of this process.
type KeepProgram = Box<dyn Fn(&[u8]) + Send + Sync>;

struct Handle {
    shared: Arc<Shared>,
    keep: KeepProgram,
}

impl PipelineHandle for Handle {
    fn commit(&self, engine: Arc<Engine>) -> Result<(), String> {
        let set = self.shared.set_program(&engine);
        set.map_err(|error| format!("{error}: see `adit-nic --connections`"))
    }

    fn keep(&self, config: &[u8]) {
        (self.keep)(config);
    }

    fn now_ns(&self) -> u64 {
        self.shared.now()
    }

    fn packets_wait(&self) {
        self.shared.wake();
    }
}

/// The name at the keeper of the config of the program that a control plane has loaded.
const PROGRAM: &str = "program";

/// A program that has been compiled.
pub(crate) struct Loaded {
    engine: Arc<Engine>,
    /// The program for clients of P4Runtime; none if it has no valid ids, and is not served.
    pipeline: Option<Pipeline>,
}

impl Loaded {
    /// A program that did not come from a client.
    ///
    /// # Errors
    /// When it has no valid ids for P4Runtime, if that is served.
    pub(crate) fn of_engine(engine: Arc<Engine>, served: bool) -> anyhow::Result<Self> {
        match Pipeline::of_engine(engine.clone()) {
            Ok(pipeline) => Ok(Self {
                engine,
                pipeline: Some(pipeline),
            }),
            Err(why) if served => bail!("the program's ids: {why}"),
            Err(why) => {
                tracing::warn!("the state of the program cannot be handed over: its ids: {why}");
                let pipeline = None;
                Ok(Self { engine, pipeline })
            }
        }
    }

    /// The program of a config that a client has committed.
    ///
    /// # Errors
    /// When it cannot be loaded.
    pub(crate) fn of_config(config: &[u8]) -> anyhow::Result<Self> {
        let pipeline = Pipeline::of_config(config).map_err(anyhow::Error::msg);
        let pipeline = pipeline.context("the program that a control plane has loaded")?;
        Ok(Self {
            engine: pipeline.engine().clone(),
            pipeline: Some(pipeline),
        })
    }

    /// The program of a process: that which a control plane has loaded into its predecessor, if it
    /// takes over that one's state, or else that of the options.
    ///
    /// # Errors
    /// When it cannot be loaded.
    pub(crate) fn of_succession(
        setup: &Setup,
        store: &Store,
        takes_over: bool,
    ) -> anyhow::Result<Self> {
        match store.take(PROGRAM)? {
            Some(config) if takes_over => Self::of_config(&read_file(config)?),
            kept => {
                if kept.is_some() {
                    // After a death, a program that a control plane has loaded may be the cause.
                    store.forget(PROGRAM)?;
                    tracing::warn!(
                        "the process has died: the program is that of the options, and what control \
                         planes have loaded and written is lost"
                    );
                }
                Self::of_engine(setup.load_program()?, setup.p4rt.is_some())
            }
        }
    }

    /// Has a device run the program; returns its P4Runtime server, which does not listen yet. Programs
    /// that clients commit are kept in `store`.
    ///
    /// # Errors
    /// When the program needs more connections than the device has.
    pub(crate) fn run(
        self,
        shared: &Arc<Shared>,
        device_id: u64,
        store: &Arc<Store>,
    ) -> anyhow::Result<Arc<Server>> {
        shared.set_program(&self.engine).context("the P4 program")?;
        let store = store.clone();
        let keep = move |config: &[u8]| {
            let kept = file_of(PROGRAM, config).map_err(anyhow::Error::from);
            let kept = kept.and_then(|file| Ok(store.keep(PROGRAM, file.as_fd())?));
            if let Err(error) = kept {
                tracing::error!("the program is not kept for a successor: {error:#}");
            }
        };
        Ok(server(device_id, shared, self.pipeline, Box::new(keep)))
    }
}

/// Creates the P4Runtime server of a device, which does not listen yet. `keep` is called with the
/// config of each program that a client commits.
fn server(
    device_id: u64,
    shared: &Arc<Shared>,
    pipeline: Option<Pipeline>,
    keep: KeepProgram,
) -> Arc<Server> {
    let shared = shared.clone();
    let handle = Arc::new(Handle { shared, keep });
    Arc::new(Server::new(device_id, handle, pipeline))
}

/// The data path, for the service of traces.
struct Traces(Arc<Shared>);

impl Traces {
    /// Makes the program with trace points, so that no packet has to wait for that.
    fn prepare(&self) {
        let engine = self.0.lock().datapath().engine().cloned();
        if let Some(engine) = engine {
            engine.prepare_trace();
        }
    }
}

impl Tap for Traces {
    fn add(&self, watcher: Watcher) -> Result<u64, Refused> {
        self.prepare();
        self.0.lock().datapath_mut().add_watcher(watcher)
    }

    fn remove(&self, client: u64) {
        self.0.lock().datapath_mut().remove_watcher(client);
    }

    fn inject(&self, injection: &Injection) -> Result<Record, Refused> {
        self.prepare();
        // What it changes would not reach a successor.
        let injected = self.0.freezer().step(|| {
            let now = self.0.now();
            self.0.lock().datapath_mut().inject(now, injection)
        });
        // Its interrupts are signalled in a turn of the engine.
        self.0.wake();
        injected.unwrap_or(Err(Refused::Frozen))
    }

    fn start_date(&self) -> Duration {
        self.0.clock().start_date()
    }
}

impl P4Rt {
    /// Listens; the server runs until the returned handle is dropped.
    pub(crate) fn serve(
        &self,
        shared: &Arc<Shared>,
        server: &Arc<Server>,
    ) -> anyhow::Result<Listening> {
        let connections = adit_conntrack_rpc::service(
            shared.connections().clone(),
            shared.clock(),
            shared.gate().clone(),
        );
        let traces = adit_trace::service(Traces(shared.clone()));
        let further = Routes::default()
            .add_service(connections)
            .add_service(traces);
        let limits = Limits::default();
        let listening = listen_with(server.clone(), &self.address, self.tls()?, limits, further)
            .with_context(|| format!("serving P4Runtime at {:?}", self.address))?;
        tracing::info!(address = %listening.address, "P4Runtime");
        Ok(listening)
    }

    fn tls(&self) -> anyhow::Result<Option<Tls>> {
        let (Some(certificate), Some(key)) = (&self.certificate, &self.key) else {
            return Ok(None);
        };
        let read = |path: &PathBuf| {
            std::fs::read(path).with_context(|| format!("reading {}", path.display()))
        };
        Ok(Some(Tls {
            certificate: read(certificate)?,
            key: read(key)?,
            clients: self.clients.as_ref().map(read).transpose()?,
        }))
    }
}
