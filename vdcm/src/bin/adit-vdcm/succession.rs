// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The daemon between a predecessor and a successor of its process.

use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_keeper::{Begin, Start, Store, Worker, Workload};
use adit_vdcm::manager::Manager;
use adit_vfio_user::handover::InheritedFds;
use adit_vfio_user::{BindError, Listener, StopHandle};
use serde_json::Value;

use crate::backend::Backend;

/// The time for a predecessor to end, and the interval of attempts.
const PREDECESSOR: Duration = Duration::from_secs(10);
const AGAIN: Duration = Duration::from_millis(5);

#[cfg(feature = "embedded")]
pub(crate) use adit_nic::embedded::Succession;

/// The state that outlives the process.
#[cfg(not(feature = "embedded"))]
#[derive(Clone)]
pub(crate) struct Succession {
    pub(crate) store: Arc<Store>,
}

/// The state that a predecessor has left.
pub(crate) fn of(keeper: Option<&(Worker, Start)>) -> anyhow::Result<Succession> {
    let store = keeper.map(|(worker, start)| Store::new(worker, start.kept.clone()));
    let store = Arc::new(store.unwrap_or_default());
    #[cfg(feature = "embedded")]
    return Ok(Succession {
        store,
        clock: match keeper {
            Some((worker, start)) => adit_nic::clock::Clock::of_device(worker, &start.notes)?,
            None => adit_nic::clock::Clock::start(),
        },
        takes_over: keeper.is_some_and(|(_, start)| start.update),
    });
    #[cfg(not(feature = "embedded"))]
    Ok(Succession { store })
}

/// Waits until the predecessor's state is there, and takes it over; or until the devices begin with the
/// state after a reset.
pub(crate) fn begin(worker: &Worker, backend: &Backend, manager: &Manager) -> anyhow::Result<()> {
    match worker.prepared(|copy, fds| preload(backend, copy, fds))? {
        Begin::Anew => {
            manager
                .inherit_pages()
                .map_err(|error| anyhow::anyhow!(error.message))?;
            #[cfg(feature = "embedded")]
            if let Some(embedded) = &backend.nic {
                embedded.nic.nic().begin_anew()?;
            }
            Ok(())
        }
        Begin::TakeOver => {
            if let Err(error) = take_over(worker, backend, manager) {
                // Nothing of the predecessor's, which goes on, may be removed.
                tracing::error!("the predecessor's state is not restored: {error:#}");
                std::process::exit(1);
            }
            Ok(())
        }
    }
}

/// Binds the control socket as soon as the predecessor has ended, and the devices run.
pub(crate) fn after_predecessor(
    manager: &Manager,
    bind: impl Fn() -> Result<Listener, BindError>,
) -> Result<Listener, BindError> {
    let until = Instant::now() + PREDECESSOR;
    loop {
        if !manager.is_frozen() || Instant::now() >= until {
            match bind() {
                Err(_) if Instant::now() < until => {}
                bound => return bound,
            }
        }
        std::thread::sleep(AGAIN);
    }
}

#[cfg(not(feature = "embedded"))]
fn preload(_: &Backend, _: Value, _: InheritedFds) -> Result<(), String> {
    Err("this daemon was built without an embedded NIC".into())
}

/// Restores a copy of what may be large of the predecessor's state.
#[cfg(feature = "embedded")]
fn preload(backend: &Backend, copy: Value, mut fds: InheritedFds) -> Result<(), String> {
    let embedded = backend.nic.as_ref().ok_or("there is no embedded NIC")?;
    let copy: state::DaemonCopy = state::parse(copy).map_err(|error| format!("{error:#}"))?;
    let loaded = embedded.nic.nic().preload(&copy.nic, &mut fds);
    loaded.map_err(|error| format!("{error:#}"))
}

#[cfg(not(feature = "embedded"))]
fn take_over(_: &Worker, _: &Backend, _: &Manager) -> anyhow::Result<()> {
    anyhow::bail!("this daemon was built without an embedded NIC")
}

#[cfg(feature = "embedded")]
fn take_over(worker: &Worker, backend: &Backend, manager: &Manager) -> anyhow::Result<()> {
    use adit_nic::handover::read_file;
    use anyhow::Context;

    let embedded = backend.nic.as_ref().context("there is no embedded NIC")?;
    let nic = embedded.nic.nic();
    nic.hold();
    let (state, mut fds) = worker.state()?;
    let state: state::DaemonState = state::parse(state)?;
    let devices = read_file(fds.take(state.devices)?)?;
    let devices = serde_json::from_slice(&devices).context("the states of devices")?;
    let taken = manager.take_over(devices);
    taken.map_err(|error| anyhow::anyhow!(error.message))?;
    nic.restore(&state.nic, &mut fds)
}

/// The daemon as its keeper sees it.
pub(crate) fn load(backend: &Backend, manager: &Arc<Manager>, stop: &StopHandle) -> impl Workload {
    #[cfg(feature = "embedded")]
    return state::Load {
        manager: manager.clone(),
        nic: backend.nic.as_ref().map(|embedded| embedded.nic.clone()),
        stop: stop.clone(),
        freeze: None,
    };
    #[cfg(not(feature = "embedded"))]
    {
        let _ = (backend, manager);
        let stop = stop.clone();
        adit_keeper::Stateless(move || stop.stop())
    }
}

#[cfg(feature = "embedded")]
mod state {
    use adit_keeper::{Frozen, Unfit};
    use adit_nic::handover::{file_of, frozen, Freeze, NicCopy, NicState};
    use adit_vdcm::embedded::EmbeddedNic;
    use serde::de::DeserializeOwned;
    use serde::{Deserialize, Serialize};
    use serde_json::Value;

    use super::{Arc, Manager, StopHandle, Workload};

    /// The format of the state for a successor. Its parts have versions.
    const FORMAT: &str = "adit-vdcm";

    /// The state of the daemon.
    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(super) struct DaemonState {
        /// [`FORMAT`].
        format: String,
        /// The descriptor of the devices' states: by name, each of the form of `vdcm/STATE.md`.
        pub(super) devices: u32,
        /// The embedded NIC.
        pub(super) nic: NicState,
    }

    /// A copy of what may be large of the state of a daemon that goes on.
    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(super) struct DaemonCopy {
        /// [`FORMAT`].
        format: String,
        /// The embedded NIC.
        pub(super) nic: NicCopy,
    }

    /// Parses a [`DaemonState`] or [`DaemonCopy`].
    pub(super) fn parse<T: DeserializeOwned>(state: Value) -> anyhow::Result<T> {
        match state.get("format").and_then(Value::as_str) {
            Some(FORMAT) => Ok(serde_json::from_value(state)?),
            other => anyhow::bail!("the state has format {other:?}: it is {FORMAT:?}"),
        }
    }

    /// The daemon as its keeper sees it.
    pub(super) struct Load {
        pub(super) manager: Arc<Manager>,
        pub(super) nic: Option<Arc<EmbeddedNic>>,
        pub(super) stop: StopHandle,
        /// Set while it is frozen for a successor.
        pub(super) freeze: Option<Freeze>,
    }

    impl Load {
        /// The state, and what keeps the NIC frozen. The devices are suspended.
        fn state(&self) -> Result<(Frozen, Freeze), Unfit> {
            let Some(nic) = &self.nic else {
                return Err(Unfit::reset("ADIs over VFIO end with their process"));
            };
            let busy = |error: anyhow::Error| Unfit::busy(format!("{error:#}"));
            let devices = self.manager.freeze()?;
            let freeze = nic.nic().freeze().map_err(Unfit::busy)?;
            let devices = serde_json::to_vec(&devices).map_err(|error| busy(error.into()))?;
            let devices = file_of("devices", &devices).map_err(|error| busy(error.into()))?;
            let mut fds = vec![devices];
            let nic = nic.nic().save(&freeze, &mut fds).map_err(busy)?;
            let format = FORMAT.to_owned();
            let state = DaemonState {
                format,
                devices: 0,
                nic,
            };
            Ok((frozen(state, fds)?, freeze))
        }
    }

    impl Workload for Load {
        fn precopy(&mut self) -> Option<Frozen> {
            let mut fds = Vec::new();
            match self.nic.as_ref()?.nic().precopy(&mut fds) {
                Ok(nic) => {
                    let format = FORMAT.to_owned();
                    frozen(DaemonCopy { format, nic }, fds).ok()
                }
                Err(error) => {
                    tracing::warn!("nothing is copied for the successor in advance: {error:#}");
                    None
                }
            }
        }

        fn freeze(&mut self) -> Result<Frozen, Unfit> {
            match self.state() {
                Ok((state, freeze)) => {
                    self.freeze = Some(freeze);
                    Ok(state)
                }
                Err(error) => {
                    self.manager.thaw();
                    Err(error)
                }
            }
        }

        fn go_on(&mut self) {
            self.freeze = None;
            if let Some(nic) = &self.nic {
                nic.nic().go_on();
            }
            self.manager.thaw();
        }

        fn abandoned(&mut self) {
            self.stop.stop();
        }
    }
}
