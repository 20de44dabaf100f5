// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The thread that moves frames: it polls while there is work and sleeps while there is none.
//!
//! The guest rings doorbells by writing memory, which raises no event. So the engine polls them: it
//! spins after recent activity, then sleeps for intervals that grow. A frame on a wire, or a change
//! of the device's state, ends a sleep early.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::MutexGuard;
use rustix::event::{epoll, Timespec};

use crate::function::{Function, Shared};

/// The intervals of the engine's polling.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// The time to spin after activity, as long as that pays off: see [`Spin`].
    pub spin: Duration,
    /// The shortest sleep.
    pub min_sleep: Duration,
    /// The shortest sleep while doorbells ring at long intervals: see [`Doorbells`].
    pub min_steady_sleep: Duration,
    /// The longest sleep.
    pub max_sleep: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            spin: Duration::from_micros(20),
            min_sleep: Duration::from_micros(50),
            min_steady_sleep: Duration::from_micros(125),
            max_sleep: Duration::from_millis(2),
        }
    }
}

/// The divisor of the time since the last activity that gives the length of a sleep.
const SLEEP_SHARE: u64 = 16;

/// The interval for polling wires whose links change without a notification, in nanoseconds.
const LINK_INTERVAL: u64 = 1_000_000_000;
/// The interval at which a busy engine checks for link notifications, in nanoseconds.
const BUSY_INTERVAL: u64 = 10_000_000;

/// The epoll data of the descriptor that belongs to no port.
const WAKE: u64 = u64::MAX;

/// Runs the engine until [`Shared::stop`] is called.
///
/// # Errors
/// When an epoll call fails.
pub fn run(shared: &Arc<Shared>, pace: Pace) -> std::io::Result<()> {
    // Sleeps are tens of microseconds: the default timer slack adds 50 to each.
    let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
    let mut waiter = Waiter::new(shared)?;
    let now = || shared.now();
    let mut last_busy = 0;
    // Set if a descriptor ended the last sleep.
    let mut woken_by_wire = false;
    let mut wires = Wires::default();
    let mut spin = Spin::new(pace.spin);
    let mut doorbells = Doorbells::default();
    let (mut waited_at, mut links_at) = (0, 0);
    let mut function = shared.lock();
    while !shared.stopping() {
        if shared.freezer().is_frozen() {
            MutexGuard::unlocked(&mut function, || shared.freezer().wait());
            continue;
        }
        let began = now();
        if began.saturating_sub(links_at) >= LINK_INTERVAL {
            links_at = began;
            if function.datapath().has_unwatched_links() {
                function.links_changed();
            }
        }
        let read_wires = wires.due(began);
        let progress = function.poll(began, read_wires);
        let at = now();
        wires.polled(read_wires, progress.received, began);
        if progress.busy {
            spin.record_work(began.saturating_sub(last_busy));
            if progress.sent {
                doorbells.record(began);
            }
            last_busy = at;
            woken_by_wire = false;
            // Under load the engine never sleeps, but links still change.
            if at.saturating_sub(waited_at) >= BUSY_INTERVAL {
                waited_at = at;
                waiter.watch(&function)?;
                if waiter.wait(Duration::ZERO)?.link {
                    function.links_changed();
                }
            }
            MutexGuard::bump(&mut function);
            continue;
        }
        if at - last_busy < spin.window() {
            MutexGuard::bump(&mut function);
            std::hint::spin_loop();
            continue;
        }
        waiter.watch(&function)?;
        // The latency of work after an idle period is at most a small part of that period.
        let share = Duration::from_nanos((at - last_busy) / SLEEP_SHARE);
        let sleep = share.clamp(doorbells.min_sleep(&pace), pace.max_sleep);
        let due = progress
            .due
            .map_or(sleep, |d| Duration::from_nanos(d.saturating_sub(at)));
        // Either a wire is readable while the driver has no buffers posted, or a descriptor keeps
        // reporting readiness without any data: the engine must sleep nevertheless.
        let skip_wires = function.datapath().has_waiting_frames() || woken_by_wire;
        let woken = MutexGuard::unlocked(&mut function, || {
            if skip_wires {
                std::thread::sleep(sleep.min(due));
                return Ok(Woken::default());
            }
            waiter.wait(sleep.min(due))
        })?;
        waited_at = now();
        woken_by_wire = woken.wire;
        if woken.wire || skip_wires {
            wires.set_readable();
        } else {
            wires.set_idle(now());
        }
        if woken.link && !shared.freezer().is_frozen() {
            function.links_changed();
        }
    }
    Ok(())
}

/// The adaptive spin time: the full allowed time where spinning finds work, none where work never
/// arrives that soon, as from a guest without hardware virtualization, which needs the CPU itself.
struct Spin {
    max: u64,
    /// The credit earned by recent spins.
    credit: u32,
    /// Idle periods since the last trial.
    idle_periods: u32,
}

impl Spin {
    /// The credit gained by a success; each failure costs one.
    const GAIN: u32 = 4;
    const MAX_CREDIT: u32 = 16;
    /// The interval between trials, in idle periods, while there is no credit.
    const TRIAL: u32 = 32;

    fn new(max: Duration) -> Self {
        Self {
            max: max.as_nanos() as u64,
            credit: Self::MAX_CREDIT,
            idle_periods: 0,
        }
    }

    /// The time to spin after activity, in nanoseconds.
    fn window(&self) -> u64 {
        if self.credit > 0 || self.idle_periods % Self::TRIAL == 0 {
            self.max
        } else {
            0
        }
    }

    /// Records that there was work again after `idle` nanoseconds. Within a burst that is not
    /// evidence.
    fn record_work(&mut self, idle: u64) {
        if idle < Self::SOON {
            return;
        }
        if idle <= self.max {
            self.credit = (self.credit + Self::GAIN).min(Self::MAX_CREDIT);
        } else {
            self.credit = self.credit.saturating_sub(1);
            self.idle_periods = self.idle_periods.wrapping_add(1);
        }
    }

    /// The shortest gap between two polls that counts as an idle period, in nanoseconds.
    const SOON: u64 = 1_000;
}

/// The rate at which doorbells ring. A guest that streams large frames rings at intervals of
/// hundreds of microseconds, and each wake-up without a doorbell takes CPU time from it.
#[derive(Default)]
struct Doorbells {
    last_at: u64,
    /// The average interval between two doorbells, in nanoseconds.
    interval: u64,
}

impl Doorbells {
    /// The longest interval between two doorbells of a stream, in nanoseconds.
    const PAUSE: u64 = 2_000_000;

    fn record(&mut self, now: u64) {
        let interval = now.saturating_sub(self.last_at);
        self.last_at = now;
        self.interval = if interval > Self::PAUSE {
            0
        } else {
            self.interval - self.interval / 8 + interval / 8
        };
    }

    /// The shortest useful sleep: half of the interval.
    fn min_sleep(&self, pace: &Pace) -> Duration {
        Duration::from_nanos(self.interval / 2).clamp(pace.min_sleep, pace.min_steady_sleep)
    }
}

/// The schedule of reads from wires. A read is a system call, so one that found nothing is not
/// repeated immediately: while the engine sleeps, descriptors announce frames.
#[derive(Default)]
struct Wires {
    /// The time of the last read.
    read_at: u64,
    /// Set if there is, or probably is, data to read.
    readable: bool,
}

impl Wires {
    /// The interval at which an awake engine reads idle wires, in nanoseconds.
    const INTERVAL: u64 = 10_000;

    fn due(&self, now: u64) -> bool {
        self.readable || now.saturating_sub(self.read_at) >= Self::INTERVAL
    }

    fn polled(&mut self, read: bool, received: bool, now: u64) {
        if read {
            (self.read_at, self.readable) = (now, received);
        }
    }

    /// Notes that a descriptor announces frames, or that none was polled.
    fn set_readable(&mut self) {
        self.readable = true;
    }

    /// Notes that no descriptor announces frames.
    fn set_idle(&mut self, now: u64) {
        (self.read_at, self.readable) = (now, false);
    }
}

/// The events that ended a sleep.
#[derive(Default)]
struct Woken {
    wire: bool,
    link: bool,
}

/// The descriptors that end a sleep.
struct Waiter {
    epoll: OwnedFd,
    shared: Arc<Shared>,
    /// The descriptors in the epoll set for each virtual port: its wire's and its link's, with
    /// their generation.
    watched: Vec<[Option<(RawFd, u32)>; 2]>,
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

    /// Updates the epoll set from the ports. The kernel removes a descriptor that is closed.
    fn watch(&mut self, function: &Function) -> std::io::Result<()> {
        let datapath = function.datapath();
        self.watched
            .resize(datapath.vport_count() as usize, [None; 2]);
        for (vport, watched) in datapath.vports().zip(&mut self.watched) {
            let Some(wire) = datapath.wire(vport) else {
                continue;
            };
            for (kind, fd) in [wire.poll_fd(), wire.link_fd()].into_iter().enumerate() {
                let generation = wire.generation();
                let raw = fd.as_ref().map(|fd| (fd.as_raw_fd(), generation));
                if watched[kind] == raw {
                    continue;
                }
                watched[kind] = raw;
                if let Some(fd) = fd {
                    let data = epoll::EventData::new_u64(u64::from(vport.0) * 2 + kind as u64);
                    match epoll::add(&self.epoll, fd, data, epoll::EventFlags::IN) {
                        Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                        Err(e) => return Err(e.into()),
                    }
                }
            }
        }
        Ok(())
    }

    fn wait(&mut self, sleep: Duration) -> std::io::Result<Woken> {
        let timeout = Timespec {
            tv_sec: 0,
            tv_nsec: sleep.as_nanos().min(999_999_999) as i64,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spinning_continues_where_it_finds_work_and_is_tried_at_intervals_where_not() {
        let mut spin = Spin::new(Duration::from_micros(20));
        assert_eq!(spin.window(), 20_000);
        for _ in 0..Spin::MAX_CREDIT {
            spin.record_work(100_000);
        }
        let trials = |spin: &mut Spin| {
            let mut trials = 0;
            for _ in 0..10 * Spin::TRIAL {
                trials += u32::from(spin.window() > 0);
                spin.record_work(100_000);
            }
            trials
        };
        assert_eq!(trials(&mut spin), 10);
        // Frames within a burst follow each other immediately: they earn no credit.
        for _ in 0..1000 {
            spin.record_work(100);
        }
        assert_eq!(trials(&mut spin), 10);
        spin.record_work(15_000);
        assert_eq!(spin.window(), 20_000);
    }

    #[test]
    fn sleeps_are_longer_while_doorbells_ring_at_long_intervals() {
        let pace = Pace::default();
        let mut doorbells = Doorbells::default();
        assert_eq!(doorbells.min_sleep(&pace), pace.min_sleep);
        let mut now = 10_000_000;
        let mut ring = |doorbells: &mut Doorbells, interval| {
            for _ in 0..50 {
                now += interval;
                doorbells.record(now);
            }
        };
        ring(&mut doorbells, 180_000);
        let sleep = doorbells.min_sleep(&pace).as_micros();
        assert!((80..=90).contains(&sleep), "{sleep} us");
        ring(&mut doorbells, 1_500_000);
        assert_eq!(doorbells.min_sleep(&pace), pace.min_steady_sleep);
        ring(&mut doorbells, 5_000_000);
        assert_eq!(
            doorbells.min_sleep(&pace),
            pace.min_sleep,
            "occasional doorbells are not a stream"
        );
        ring(&mut doorbells, 2_000);
        assert_eq!(doorbells.min_sleep(&pace), pace.min_sleep);
    }

    #[test]
    fn wires_are_read_when_readable_or_due() {
        let mut wires = Wires::default();
        assert!(wires.due(Wires::INTERVAL));
        wires.polled(true, false, 20_000);
        assert!(!wires.due(20_001), "the last read found no frame");
        assert!(wires.due(20_000 + Wires::INTERVAL));
        wires.polled(true, true, 31_000);
        assert!(wires.due(31_001), "after one frame there may be more");
        wires.set_idle(50_000);
        assert!(!wires.due(50_001));
        wires.set_readable();
        assert!(wires.due(50_001));
    }
}
