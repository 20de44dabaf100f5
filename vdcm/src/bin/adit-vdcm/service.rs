// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The process as a service: signals, and notifications to the service manager (sd_notify(3)).

use std::thread::JoinHandle;

use adit_vdcm::control::devices::Devices;
use adit_vfio_user::StopHandle;
use sd_notify::NotifyState;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals as Iterator};

use crate::configured::Reload;

/// The signals of the process, which wait to be handled.
pub(crate) struct Signals(Iterator);

impl Signals {
    /// Catches signals from now on.
    pub(crate) fn catch() -> std::io::Result<Self> {
        Iterator::new([SIGHUP, SIGINT, SIGTERM]).map(Self)
    }

    /// Handles them in a thread: SIGHUP reads the configuration again; SIGINT and SIGTERM stop.
    pub(crate) fn handle<D: Devices + Send + Sync + 'static>(
        mut self,
        stop: StopHandle,
        mut reload: Reload<D>,
    ) -> std::io::Result<Handling> {
        let handle = self.0.handle();
        let thread = std::thread::Builder::new()
            .name("signals".into())
            .spawn(move || {
                for signal in self.0.forever() {
                    match signal {
                        SIGHUP => {
                            notify(&[NotifyState::Reloading]);
                            let outcome = reload.reload();
                            ready(&outcome);
                        }
                        _ => {
                            tracing::info!("stopping");
                            stop.stop();
                            return;
                        }
                    }
                }
            })?;
        Ok(Handling { handle, thread })
    }
}

/// The thread that handles signals.
pub(crate) struct Handling {
    handle: Handle,
    thread: JoinHandle<()>,
}

impl Handling {
    /// Stops handling signals; one that is being handled is finished.
    pub(crate) fn finish(self) {
        self.handle.close();
        if self.thread.join().is_err() {
            tracing::error!("the thread of signals panicked");
        }
    }
}

/// Reports to the service manager that the daemon is ready.
pub(crate) fn ready(status: &str) {
    notify(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// Reports to the service manager that the daemon stops.
pub(crate) fn stopping() {
    notify(&[NotifyState::Stopping]);
}

fn notify(state: &[NotifyState<'_>]) {
    // Without a service manager this does nothing.
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!("cannot notify the service manager: {error}");
    }
}
