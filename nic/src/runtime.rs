// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The threads of a NIC: the engine, the aging of table entries, the expiry of connections.

mod servers;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use adit_conntrack::{ReservedPorts, ReservedRange, Tracker};
use adit_keeper::Store;
use adit_pipeline::p4::Engine;
use anyhow::Context;
use parking_lot::Mutex;

use crate::connections;
use crate::engine::{self, Pace};
use crate::function::Shared;
use crate::mac::MacAddr;
use crate::p4rt::P4Rt;
use crate::program::Program;
use crate::wire::{LifelineReports, Port, WireSpec};

pub(crate) use servers::{Later, Servers};

/// The options of a NIC that do not depend on how it is attached.
#[derive(Clone)]
pub struct Setup {
    /// The wires, one for each port.
    pub wires: Vec<WireSpec>,
    /// The MAC address of the first port; the others have the following ones.
    pub mac: MacAddr,
    /// The P4 program; `None` for the standard one.
    pub p4: Option<PathBuf>,
    /// Its macros and architecture.
    pub p4_options: adit_p4_frontend::Options,
    /// The maximum number of tracked connections.
    pub connections: u32,
    /// The ports that no source is translated to.
    pub reserved_ports: Vec<ReservedRange>,
    /// The address at which P4Runtime is served, if any.
    pub p4rt: Option<P4Rt>,
    /// The address at which metrics are served, if any.
    pub metrics: Option<SocketAddr>,
}

impl Setup {
    /// The MAC addresses of the ports.
    #[must_use]
    pub fn macs(&self) -> Vec<[u8; 6]> {
        let ports = 0..self.wires.len() as u32;
        ports.map(|n| self.mac.nth(n).0).collect()
    }

    /// Opens the wires. Their lifelines are kept in `store`, and those of a predecessor of this process
    /// are taken from it. If that one is still running, its wires have to be
    /// [claimed](crate::datapath::Datapath::claim_wires) later.
    ///
    /// # Errors
    /// When one of them cannot be opened.
    pub fn open_wires(&self, store: &Arc<Store>) -> anyhow::Result<Vec<Option<Box<dyn Port>>>> {
        let open = |(n, spec): (usize, &WireSpec)| {
            open_wire(n, spec, store).with_context(|| format!("wire `{spec}`"))
        };
        self.wires.iter().enumerate().map(open).collect()
    }

    /// Checks that the NIC can run under a keeper.
    ///
    /// # Errors
    /// When a wire would begin anew with each process: a capture.
    pub fn check_keepable(&self) -> anyhow::Result<()> {
        let capture = |spec: &&WireSpec| matches!(spec, WireSpec::Pcap { .. });
        if let Some(spec) = self.wires.iter().find(capture) {
            anyhow::bail!(
                "wire `{spec}`: with a keeper, a device that is started again would replay a capture \
                 from its beginning, and overwrite the recording: use another wire, or no keeper"
            );
        }
        Ok(())
    }

    /// Creates the tracker of connections.
    ///
    /// # Errors
    /// When the system has no random numbers, or too many ranges of ports are reserved.
    pub fn tracker(&self) -> anyhow::Result<Arc<Tracker>> {
        let tracker = connections::tracker(self.connections);
        let tracker = tracker.context("the key of the table of connections")?;
        let ports = ReservedPorts::new(self.reserved_ports.clone());
        tracker.set_reserved_ports(ports.context("--reserve-ports")?);
        Ok(tracker)
    }

    /// The P4Runtime device id: 1 unless it is served.
    pub(crate) fn device_id(&self) -> u64 {
        self.p4rt.as_ref().map_or(1, |p4rt| p4rt.device_id)
    }

    /// Loads the program.
    ///
    /// # Errors
    /// When it cannot be read or compiled.
    pub fn load_program(&self) -> anyhow::Result<Arc<Engine>> {
        match &self.p4 {
            Some(path) => Program::engine_of_file(path, &self.p4_options),
            None => Program::standard_engine(),
        }
        .context("the P4 program")
    }
}

fn open_wire(
    n: usize,
    spec: &WireSpec,
    store: &Arc<Store>,
) -> anyhow::Result<Option<Box<dyn Port>>> {
    let name = format!("wire {n} {spec}");
    let mut port = match store.take(&name)? {
        Some(lifeline) => spec.adopt(lifeline)?,
        None => {
            let port = spec.open()?;
            if let Some(lifeline) = port.as_ref().and_then(|port| port.lifeline()) {
                store.keep(&name, lifeline)?;
            }
            port
        }
    };
    if let Some(port) = &mut port {
        let (store, spec) = (store.clone(), spec.clone());
        port.report_lifelines(LifelineReports::new(move |lifeline| {
            if let Err(error) = store.keep(&name, lifeline) {
                tracing::error!(wire = %spec, "the wire is not kept for a successor: {error}");
            }
        }));
    }
    Ok(port)
}

/// The running threads. [`Threads::stop`] ends them; so does dropping this.
pub struct Threads {
    shared: Arc<Shared>,
    engine: Option<JoinHandle<std::io::Result<()>>>,
    /// The aging of table entries, and the expiry of connections.
    timers: Vec<JoinHandle<()>>,
}

/// The name of a thread, and its function, which returns when the device is stopped.
type Timer = (&'static str, fn(&Shared));

/// Calls a function when it is dropped, at the end of a thread that may panic.
struct AtEnd<F: FnMut()>(F);

impl<F: FnMut()> Drop for AtEnd<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Runs the function of a timer; `panicked` is called if it panics, so that the device does not go on
/// without it.
fn watched(timer: impl FnOnce(), mut panicked: impl FnMut()) {
    let _at_end = AtEnd(|| {
        if std::thread::panicking() {
            panicked();
        }
    });
    timer();
}

impl Threads {
    /// Starts them. `ended` is called when the engine ends, for whatever reason, or another thread panics.
    ///
    /// # Errors
    /// When the host has no threads left.
    pub fn start(
        shared: &Arc<Shared>,
        ended: impl FnMut() + Send + 'static,
    ) -> anyhow::Result<Self> {
        let mut threads = Self {
            shared: shared.clone(),
            engine: None,
            timers: Vec::new(),
        };
        let ended = Arc::new(Mutex::new(ended));
        let thread = |name: &str| std::thread::Builder::new().name(name.into());
        threads.engine = Some(thread("engine").spawn({
            let (shared, ended) = (shared.clone(), ended.clone());
            move || {
                let _at_end = AtEnd(|| (ended.lock())());
                engine::run(&shared, Pace::default())
            }
        })?);
        let timers: [Timer; 2] = [
            ("p4-clock", Shared::age_entries),
            ("connections", Shared::expire_connections),
        ];
        for (name, timer) in timers {
            let (shared, ended) = (shared.clone(), ended.clone());
            let run = move || watched(|| timer(&shared), || (ended.lock())());
            threads.timers.push(thread(name).spawn(run)?);
        }
        Ok(threads)
    }

    /// Stops the threads and waits for their end.
    ///
    /// # Errors
    /// When the engine has failed.
    pub fn stop(mut self) -> anyhow::Result<()> {
        self.join()
    }

    fn join(&mut self) -> anyhow::Result<()> {
        self.shared.stop();
        for timer in self.timers.drain(..) {
            let name = timer.thread().name().unwrap_or_default().to_owned();
            timer.thread().unpark();
            if timer.join().is_err() {
                anyhow::bail!("the thread `{name}` panicked");
            }
        }
        let Some(engine) = self.engine.take() else {
            return Ok(());
        };
        let ended = engine.join();
        let ended = ended.map_err(|_| anyhow::anyhow!("the engine panicked"))?;
        ended.context("the engine")
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if let Err(error) = self.join() {
            tracing::error!("{error:#}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_that_panics_is_noticed() {
        let (sender, receiver) = std::sync::mpsc::channel();
        let run = |timer: fn()| {
            let sender = sender.clone();
            let thread = std::thread::spawn(move || watched(timer, || sender.send(()).unwrap()));
            thread.join().is_ok()
        };
        assert!(run(|| {}));
        assert!(receiver.try_recv().is_err());
        assert!(!run(|| panic!("a test")));
        assert!(receiver.try_recv().is_ok());
    }
}
