// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The daemon between a predecessor and a successor of its process.

use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_keeper::{read_file, Begin, Start, Store, Worker, Workload};
use adit_vdcm::manager::Manager;
use adit_vfio_user::handover::InheritedFds;
use adit_vfio_user::{BindError, Listener, StopHandle};
use anyhow::{bail, Context};
use serde_json::Value;

use crate::backend::Backend;

/// The time for a predecessor to end, which its keeper kills before, and the interval of attempts.
const PREDECESSOR: Duration = adit_keeper::END.saturating_mul(2);
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

/// Has the devices wait for their end. If they are frozen, this process ends at once: another one goes on with
/// them, or may, and an orderly end would zero the doorbell pages that their clients have mapped, and reset ADIs
/// that stay open.
pub(crate) fn close(manager: &Manager, ended: &anyhow::Result<()>) {
    if !manager.close() {
        return;
    }
    if let Err(error) = ended {
        tracing::error!("the devices are left to another process: {error:#}");
        std::process::exit(1);
    }
    tracing::info!("stopped, and the devices are left to another process");
    std::process::exit(0);
}

/// Binds the control socket as soon as the predecessor has ended, and the devices run; or fails at the end of
/// this process, which has no keeper any more.
pub(crate) fn after_predecessor(
    manager: &Manager,
    stop: &StopHandle,
    bind: impl Fn() -> Result<Listener, BindError>,
) -> anyhow::Result<Listener> {
    let until = Instant::now() + PREDECESSOR;
    loop {
        if stop.is_stopped() {
            bail!("stopped before the predecessor has ended");
        }
        if !manager.is_frozen() || Instant::now() >= until {
            match bind() {
                Err(_) if Instant::now() < until => {}
                bound => return Ok(bound?),
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

fn take_over(worker: &Worker, backend: &Backend, manager: &Manager) -> anyhow::Result<()> {
    #[cfg(feature = "embedded")]
    if let Some(embedded) = &backend.nic {
        embedded.nic.nic().hold();
    }
    let (state, mut fds) = worker.state()?;
    let state: state::DaemonState = state::parse(state)?;
    let devices = read_file(fds.take(state.devices)?)?;
    let devices = serde_json::from_slice(&devices).context("the states of devices")?;
    let taken = manager.take_over(devices, &state.registered);
    taken.map_err(|error| anyhow::anyhow!(error.message))?;
    #[cfg(feature = "embedded")]
    match (&backend.nic, &state.nic) {
        (Some(embedded), Some(nic)) => embedded.nic.nic().restore(nic, &mut fds)?,
        (None, None) => {}
        (Some(_), None) => bail!("the state has no embedded NIC, this daemon has one"),
        (None, Some(_)) => bail!("the state has an embedded NIC, this daemon has none"),
    }
    let _ = backend;
    Ok(())
}

/// The daemon as its keeper sees it.
pub(crate) fn load(backend: &Backend, manager: &Arc<Manager>, stop: &StopHandle) -> impl Workload {
    let _ = backend;
    state::Load {
        manager: manager.clone(),
        stop: stop.clone(),
        #[cfg(feature = "embedded")]
        nic: backend.nic.as_ref().map(|embedded| embedded.nic.clone()),
        #[cfg(feature = "embedded")]
        freeze: None,
    }
}

mod state {
    use adit_keeper::{file_of, frozen, Frozen, Unfit};
    #[cfg(feature = "embedded")]
    use adit_nic::handover::{Freeze, NicCopy, NicState};
    #[cfg(feature = "embedded")]
    use adit_vdcm::embedded::EmbeddedNic;
    use adit_vdcm::manager::Registered;
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
        /// The windows that are registered for ADIs which stay open.
        #[serde(default, skip_serializing_if = "Registered::is_empty")]
        pub(super) registered: Registered,
        /// The embedded NIC, if there is one.
        #[cfg(feature = "embedded")]
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub(super) nic: Option<NicState>,
    }

    /// A copy of what may be large of the state of a daemon that goes on.
    #[cfg(feature = "embedded")]
    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(super) struct DaemonCopy {
        /// [`FORMAT`].
        format: String,
        /// The embedded NIC.
        pub(super) nic: NicCopy,
    }

    /// Parses a [`DaemonState`] or `DaemonCopy`.
    pub(super) fn parse<T: DeserializeOwned>(state: Value) -> anyhow::Result<T> {
        match state.get("format").and_then(Value::as_str) {
            Some(FORMAT) => Ok(serde_json::from_value(state)?),
            other => anyhow::bail!("the state has format {other:?}: it is {FORMAT:?}"),
        }
    }

    /// The daemon as its keeper sees it.
    pub(super) struct Load {
        pub(super) manager: Arc<Manager>,
        pub(super) stop: StopHandle,
        #[cfg(feature = "embedded")]
        pub(super) nic: Option<Arc<EmbeddedNic>>,
        /// Set while the NIC is frozen for a successor.
        #[cfg(feature = "embedded")]
        pub(super) freeze: Option<Freeze>,
    }

    fn busy(error: anyhow::Error) -> Unfit {
        Unfit::busy(format!("{error:#}"))
    }

    impl Load {
        /// Suspends the devices, freezes the NIC, and describes both.
        fn state(&mut self) -> Result<Frozen, Unfit> {
            let devices = self.manager.freeze()?;
            #[cfg(feature = "embedded")]
            if let Some(nic) = &self.nic {
                self.freeze = Some(nic.nic().freeze().map_err(Unfit::busy)?);
            }
            let devices = serde_json::to_vec(&devices).map_err(|error| busy(error.into()))?;
            let devices = file_of("devices", &devices).map_err(|error| busy(error.into()))?;
            #[cfg_attr(not(feature = "embedded"), expect(unused_mut))]
            let mut fds = vec![devices];
            let state = DaemonState {
                format: FORMAT.to_owned(),
                devices: 0,
                registered: self.manager.registered(),
                #[cfg(feature = "embedded")]
                nic: self.save_nic(&mut fds)?,
            };
            frozen(state, fds)
        }

        #[cfg(feature = "embedded")]
        fn save_nic(&self, fds: &mut Vec<std::os::fd::OwnedFd>) -> Result<Option<NicState>, Unfit> {
            let saved = self.nic.as_ref().zip(self.freeze.as_ref());
            let saved = saved.map(|(nic, freeze)| nic.nic().save(freeze, fds));
            saved.transpose().map_err(busy)
        }
    }

    impl Workload for Load {
        #[cfg(feature = "embedded")]
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
            let state = self.state();
            if state.is_err() {
                #[cfg(feature = "embedded")]
                drop(self.freeze.take());
                self.manager.thaw();
            }
            state
        }

        fn go_on(&mut self) {
            #[cfg(feature = "embedded")]
            {
                self.freeze = None;
                if let Some(nic) = &self.nic {
                    nic.nic().go_on();
                }
            }
            self.manager.thaw();
        }

        fn abandoned(&mut self) {
            // A NIC that is frozen stays so until the process has ended: another one receives from its wires.
            #[cfg(feature = "embedded")]
            std::mem::forget(self.freeze.take());
            self.stop.stop();
        }
    }
}
