// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `adit-vdcm`: the daemon that composes devices out of ADIs.

mod args;
mod backend;
mod configured;
mod descriptors;
mod service;
mod succession;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use adit_function::logging;
use adit_keeper::{Begin, Keeper, Start, Worker};
use adit_vdcm::config::Config;
use adit_vdcm::control::server::{Server, Settings};
use adit_vdcm::manager::{Kept, Manager, ManagerOptions};
use adit_vfio_user::{Listener, StopHandle};
use anyhow::{bail, Context};

use args::Args;
use backend::Backend;

/// The number of connections to the control socket that wait.
const BACKLOG: i32 = 128;

fn main() -> ExitCode {
    let args = Args::of_process();
    let started = logging::start().map_err(anyhow::Error::from);
    match started.and_then(|()| run(&args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("adit-vdcm: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> anyhow::Result<()> {
    // Before a keeper holds the descriptors of all devices, or a worker receives those of its predecessor.
    descriptors::raise_limit();
    if args.keeper && !args.worker {
        #[cfg(feature = "embedded")]
        args.embedded.nic.clone().setup().check_keepable()?;
        let keeper = Keeper::of_this_program("--worker").context("this program's file")?;
        return Ok(keeper.run()?);
    }
    let keeper = args.worker.then(Worker::begin).transpose()?;
    let config = match &args.config {
        Some(path) => Config::read(path)?,
        None => Config::default(),
    };
    match &keeper {
        // The predecessor goes on until then, if there is one.
        Some((worker, start)) if !start.update => {
            match worker.prepared(|_, _| Err("there is no predecessor".into()))? {
                Begin::Anew => {}
                Begin::TakeOver => bail!("the keeper sends a state to a daemon that expects none"),
            }
        }
        _ => {}
    }
    serve(args, config, keeper)
}

/// Runs the daemon, possibly as the worker of a keeper.
fn serve(args: &Args, config: Config, keeper: Option<(Worker, Start)>) -> anyhow::Result<()> {
    let stop = StopHandle::new()?;
    let signals = service::Signals::catch()?;
    let takes_over = keeper.as_ref().is_some_and(|(_, start)| start.update);
    let permissions = config.control.permissions();
    let bind = || Listener::bind(&args.control, permissions, BACKLOG);
    // Another daemon at the same path is found before anything else is set up; a predecessor has it
    // until it ends.
    let listener = (!takes_over).then(bind).transpose()?;
    let succession = succession::of(keeper.as_ref())?;
    let (worker, notes) = keeper.map(|(worker, start)| (worker, start.notes)).unzip();
    let store = succession.store.clone();
    let backend = Backend::prepare(args, &config, succession, notes.as_ref())?;
    let kept = worker.as_ref().zip(notes);
    let kept = kept.map(|(worker, notes)| Arc::new(Kept::new(worker, store, notes, takes_over)));
    let options = ManagerOptions {
        sockets: sockets_folder(args, &config),
        permissions: config.sockets.permissions(),
        limits: config.limits,
        max_devices: config.max_devices,
    };
    let manager =
        Manager::new(backend.provider.clone(), options).context("starting the manager")?;
    let manager = Arc::new(match kept {
        Some(kept) => manager.with_keeper(kept),
        None => manager,
    });
    let settings = Settings {
        access: config.control.access(),
        ..Settings::default()
    };
    manager.recreate();
    let operate = || {
        if let Some(worker) = worker.as_ref().filter(|_| takes_over) {
            succession::begin(worker, &backend, &manager)?;
        }
        backend.run(&stop)?;
        if let Some(worker) = &worker {
            worker.ready(succession::load(&backend, &manager, &stop))?;
        }
        let listener = match listener {
            Some(listener) => listener,
            None => succession::after_predecessor(&manager, &stop, bind)?,
        };
        let made = configured::make(&*manager, &config);
        let reload = configured::Reload::new(args.config.clone(), config, manager.clone());
        let signals = signals.handle(stop.clone(), reload)?;
        tracing::info!(control = %args.control.display(), devices = made, "ready");
        service::ready(&format!("{made} devices of the configuration"));

        let mut server = Server::new(listener, manager.clone(), settings);
        let served = server.run(&stop).context("the control socket");
        let served = backend.check().and(served);
        succession::close(&manager, &served);
        service::stopping();
        // No new requests, then no devices.
        drop(server);
        stop.stop();
        signals.finish();
        served
    };
    let operated = operate();
    succession::close(&manager, &operated);
    manager.shut_down();
    operated.inspect(|()| tracing::info!("stopped"))
}

/// The folder for the sockets of devices.
fn sockets_folder(args: &Args, config: &Config) -> PathBuf {
    let own = args.control.parent().filter(|it| *it != Path::new(""));
    let chosen = args.sockets.as_deref().or(config.sockets.folder.as_deref());
    chosen.or(own).unwrap_or(Path::new(".")).to_owned()
}
