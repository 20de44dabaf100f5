// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `adit svc watch`: keeps services what files say.

use std::collections::BTreeMap;
use std::io::Write;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_node::device::{Scope, Setup};
use adit_node::model::Services;
use adit_node::nic::{Nic, Report};
use anyhow::{Context, Result};
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use signal_hook::consts::{SIGINT, SIGTERM};

use super::args::Watch;
use super::change::Outcome;
use super::files;
use crate::output::Format;

/// The time between two looks at whether the NIC still has what was written.
const LOOK: Duration = Duration::from_secs(1);
/// The time after which the NIC is read again, whatever has happened.
const READ_AGAIN: Duration = Duration::from_secs(60);
/// The time in which further changes of files are awaited, since files are written one after another.
const SETTLE: Duration = Duration::from_millis(20);
/// The time after which files are read although changes go on, as in a folder that others write to.
const SETTLE_AT_MOST: Duration = Duration::from_millis(500);
/// The most events that are taken at once.
const MAX_EVENTS: usize = 1024;

/// Folders whose changes are seen.
struct Folders {
    inotify: OwnedFd,
    folders: Vec<PathBuf>,
    /// The numbers of the watches.
    watched: BTreeMap<PathBuf, i32>,
}

impl Folders {
    fn new(folders: Vec<PathBuf>) -> Result<Folders> {
        let flags = CreateFlags::CLOEXEC | CreateFlags::NONBLOCK;
        Ok(Folders {
            inotify: inotify::init(flags).context("inotify")?,
            folders,
            watched: BTreeMap::new(),
        })
    }

    /// Watches folders that are there, or are there again. Returns whether any is new.
    fn renew(&mut self) -> bool {
        let flags = WatchFlags::CLOSE_WRITE
            | WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MOVE
            | WatchFlags::ONLYDIR;
        let mut is_new = false;
        for folder in &self.folders {
            let known = match inotify::add_watch(&self.inotify, folder, flags) {
                Ok(number) => self.watched.insert(folder.clone(), number) == Some(number),
                Err(_) => self.watched.remove(folder).is_none(),
            };
            is_new |= !known;
        }
        is_new
    }

    /// Waits for a change. Returns whether there was one.
    fn wait(&self, timeout: Duration) -> Result<bool> {
        let timeout = Timespec::try_from(timeout)?;
        let mut ready = [PollFd::new(&self.inotify, PollFlags::IN)];
        match poll(&mut ready, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(&self.inotify, &mut buffer);
        // An overflow of the queue is an event, too.
        let mut count = 0;
        while count < MAX_EVENTS && events.next().is_ok() {
            count += 1;
        }
        Ok(count > 0)
    }

    /// Waits until nothing has changed for a while, or until changes have gone on for long enough.
    fn settle(&self, stop: &AtomicBool) -> Result<()> {
        let deadline = Instant::now() + SETTLE_AT_MOST;
        while Instant::now() < deadline && !stop.load(Relaxed) && self.wait(SETTLE)? {}
        Ok(())
    }
}

/// The NIC, and what it was last made.
struct Kept<'w> {
    watch: &'w Watch,
    setup: Setup,
    format: Format,
    nic: Option<Nic>,
    applied: Services,
    /// Set if a part of it is skipped.
    is_contested: bool,
    read: Instant,
    /// The last message about what fails, which is not repeated.
    failing: String,
}

impl Kept<'_> {
    /// Makes the NIC what it should be; what fails is tried again.
    fn step(&mut self, services: &Services) -> Result<()> {
        let result = self.change(services);
        match result {
            Ok(()) => {
                if !std::mem::take(&mut self.failing).is_empty() {
                    eprintln!("adit: the NIC is reached again");
                }
                Ok(())
            }
            Err(error) if crate::output::reader_is_gone(&error) => Err(error),
            Err(error) => {
                self.nic = None;
                let message = format!("{error:#}");
                if message != self.failing {
                    eprintln!("adit: {message}; trying again");
                    self.failing = message;
                }
                Ok(())
            }
        }
    }

    fn change(&mut self, services: &Services) -> Result<()> {
        if let Some(nic) = &mut self.nic {
            if !nic.is_current()? {
                eprintln!("adit: the NIC has lost its services: they are written anew");
                self.nic = None;
            } else if self.read.elapsed() >= READ_AGAIN {
                nic.read()?;
                self.read = Instant::now();
                let report = nic.apply(&Scope::All, services)?;
                if report.is_empty() {
                    return Ok(());
                }
                return self.done(services, &report);
            }
        }
        if let Some(nic) = &mut self.nic {
            let names = self.applied.changed(services);
            if names.is_empty() {
                return Ok(());
            }
            // Of a frontend that several services claim, the change of one may give it to another.
            let mut report = match self.is_contested {
                true => nic.apply(&Scope::All, services)?,
                false => nic.apply(&Scope::Only(names), services)?,
            };
            if !report.skipped.is_empty() && !self.is_contested {
                report.and(nic.apply(&Scope::All, services)?);
            }
            return self.done(services, &report);
        }
        let mut nic = self.watch.nic.writer(self.setup.clone())?;
        let mut report = nic.apply(&Scope::All, services)?;
        report.and(nic.sweep()?);
        self.read = Instant::now();
        self.nic = Some(nic);
        self.done(services, &report)
    }

    /// Tells what was done.
    fn done(&mut self, services: &Services, report: &Report) -> Result<()> {
        self.applied = services.clone();
        self.is_contested = !report.skipped.is_empty();
        files::print(&report.skipped);
        let outcome = Outcome::new(report);
        let mut out = std::io::stdout().lock();
        match self.format {
            Format::Json => writeln!(out, "{}", serde_json::to_string(&outcome)?)?,
            Format::Table => writeln!(out, "{}", outcome.line())?,
        }
        Ok(out.flush()?)
    }
}

pub(super) fn watch(watch: &Watch, format: Format) -> Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // The second one ends a call that lasts.
        signal_hook::flag::register_conditional_shutdown(signal, 1, Arc::clone(&stop))?;
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    let mut folders = Folders::new(files::folders(&watch.files)?)?;
    folders.renew();
    let files::Read {
        mut services,
        mut notes,
        ..
    } = files::read(&watch.files)?;
    files::print(&notes);
    let mut wrong = String::new();
    let mut kept = Kept {
        watch,
        setup: watch.node.setup(),
        format,
        nic: None,
        applied: Services::default(),
        is_contested: false,
        read: Instant::now(),
        failing: String::new(),
    };
    while !stop.load(Relaxed) {
        kept.step(&services)?;
        let has_changed = folders.wait(LOOK)?;
        if !folders.renew() && !has_changed {
            continue;
        }
        folders.settle(&stop)?;
        match files::read(&watch.files) {
            Ok(read) => {
                if read.notes != notes {
                    files::print(&read.notes);
                }
                (services, notes) = (read.services, read.notes);
                wrong.clear();
            }
            // Once, however often something else is written beside it.
            Err(error) => {
                let error = format!("{error:#}");
                if error != wrong {
                    eprintln!("adit: {error}");
                    wrong = error;
                }
            }
        }
    }
    Ok(())
}
