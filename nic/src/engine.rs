// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The thread that moves frames: it polls while there is work and naps when there is none.
//!
//! The guest rings doorbells by writing memory, which wakes nobody. So the engine looks at them
//! again and again: at once while something moved lately, then after naps that grow. A frame on
//! a wire, or a change of the device's state, ends a nap early.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::MutexGuard;
use rustix::event::{epoll, Timespec};

use crate::function::{Function, Shared};

/// How the engine divides its time.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// How long it looks again at once after something moved.
    pub spin: Duration,
    /// The shortest nap.
    pub nap: Duration,
    /// The longest nap.
    pub max_nap: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            spin: Duration::from_micros(20),
            nap: Duration::from_micros(50),
            max_nap: Duration::from_millis(2),
        }
    }
}

/// A nap is this part of the time since something moved.
const NAP_SHARE: u64 = 16;

/// The number of a descriptor in the epoll set that is not a port's.
const WAKE: u64 = u64::MAX;

/// Runs until [`Shared::stop`] is called.
///
/// # Errors
/// When the host refuses to wait for descriptors.
pub fn run(shared: &Arc<Shared>, pace: Pace) -> std::io::Result<()> {
    // Naps are tens of microseconds: without this the host adds 50 to each.
    let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
    let mut waiter = Waiter::new(shared)?;
    let start = Instant::now();
    let now = || start.elapsed().as_nanos() as u64;
    let mut last_busy = 0;
    // A descriptor ended the last nap.
    let mut alarmed = false;
    let mut function = shared.lock();
    while !shared.stopping() {
        let progress = function.poll(now());
        let at = now();
        if progress.busy {
            last_busy = at;
            alarmed = false;
            MutexGuard::bump(&mut function);
            continue;
        }
        if at - last_busy < pace.spin.as_nanos() as u64 {
            MutexGuard::bump(&mut function);
            std::hint::spin_loop();
            continue;
        }
        waiter.watch(&function)?;
        // What comes after a while of silence waits for a small part of that while at most.
        let nap = Duration::from_nanos((at - last_busy) / NAP_SHARE).clamp(pace.nap, pace.max_nap);
        let due = progress
            .due
            .map_or(nap, |d| Duration::from_nanos(d.saturating_sub(at)));
        // Either a wire is readable and a driver's buffers are waited for, or a descriptor keeps
        // saying that there is something when there is not: neither is to keep the engine awake.
        let deaf = function.datapath().holding() || alarmed;
        let woken = MutexGuard::unlocked(&mut function, || {
            if deaf {
                std::thread::sleep(nap.min(due));
                return Ok(Woken::default());
            }
            waiter.wait(nap.min(due))
        })?;
        alarmed = woken.wire;
        if woken.link {
            function.links_changed();
        }
    }
    Ok(())
}

/// What ended a nap.
#[derive(Default)]
struct Woken {
    wire: bool,
    link: bool,
}

/// The descriptors that end a nap.
struct Waiter {
    epoll: OwnedFd,
    shared: Arc<Shared>,
    /// For each virtual port, what is in the set: its wire and its link.
    watched: Vec<[Option<RawFd>; 2]>,
    events: Vec<epoll::Event>,
}

impl Waiter {
    fn new(shared: &Arc<Shared>) -> std::io::Result<Self> {
        let set = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(
            &set,
            shared.wake_fd(),
            epoll::EventData::new_u64(WAKE),
            epoll::EventFlags::IN,
        )?;
        Ok(Self {
            epoll: set,
            shared: shared.clone(),
            watched: Vec::new(),
            events: Vec::with_capacity(16),
        })
    }

    /// Brings the set up to date with the ports. A descriptor that was closed has left it by
    /// itself.
    fn watch(&mut self, function: &Function) -> std::io::Result<()> {
        let datapath = function.datapath();
        self.watched
            .resize(datapath.vport_count() as usize, [None; 2]);
        for (vport, watched) in self.watched.iter_mut().enumerate() {
            let Some(wire) = datapath.wire(vport as u32) else {
                continue;
            };
            for (what, fd) in [wire.poll_fd(), wire.link_fd()].into_iter().enumerate() {
                let raw = fd.as_ref().map(AsRawFd::as_raw_fd);
                if watched[what] == raw {
                    continue;
                }
                watched[what] = raw;
                if let Some(fd) = fd {
                    let data = epoll::EventData::new_u64(vport as u64 * 2 + what as u64);
                    match epoll::add(&self.epoll, fd, data, epoll::EventFlags::IN) {
                        Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                        Err(e) => return Err(e.into()),
                    }
                }
            }
        }
        Ok(())
    }

    fn wait(&mut self, nap: Duration) -> std::io::Result<Woken> {
        let timeout = Timespec {
            tv_sec: 0,
            tv_nsec: nap.as_nanos().min(999_999_999) as i64,
        };
        self.events.clear();
        let buffer = rustix::buffer::spare_capacity(&mut self.events);
        match epoll::wait(&self.epoll, buffer, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
        let mut woken = Woken::default();
        for event in &self.events {
            match event.data.u64() {
                WAKE => self.shared.drain_wake(),
                data if data % 2 == 1 => woken.link = true,
                _ => woken.wire = true,
            }
        }
        Ok(woken)
    }
}
