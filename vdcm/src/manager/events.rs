// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The thread that handles what happens to the ADIs of all devices: one has gone, a queue was
//! stopped by a fault, a link has changed. It also continues requests that were delayed.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::event::{epoll, eventfd, EventfdFlags, Timespec};
use rustix::io::Errno;

use crate::backend::Adi;
use crate::vdev::Vdev;

/// The interval at which links are read.
const LINK_INTERVAL: Duration = Duration::from_secs(1);
/// The interval at which delayed requests are continued.
const DELAY: Duration = Duration::from_millis(10);
/// The epoll data of the descriptor that wakes the thread.
const WAKE: u64 = u64::MAX;

/// Wakes the thread.
#[derive(Debug)]
pub(crate) struct Waker {
    event: OwnedFd,
    stop: AtomicBool,
    /// Set if a device has a delayed request.
    delayed: AtomicBool,
}

impl Waker {
    /// Notes that a device has a delayed request.
    pub(crate) fn delayed(&self) {
        if !self.delayed.swap(true, Ordering::AcqRel) {
            self.wake();
        }
    }

    fn wake(&self) {
        // The only error is a full counter, and then the thread is awake.
        let _ = rustix::io::write(&self.event, &1_u64.to_ne_bytes());
    }
}

/// The descriptors of an ADI, duplicated: they are removed from the set when they are closed.
#[derive(Debug)]
struct Watched {
    gone: OwnedFd,
    fault: OwnedFd,
}

/// A device whose ADIs are watched.
struct Member {
    vdev: Arc<Vdev>,
    ports: Vec<Option<Watched>>,
}

/// The descriptors that the thread polls.
pub(super) struct Events {
    set: OwnedFd,
    waker: Arc<Waker>,
    members: Mutex<HashMap<u64, Member>>,
}

/// The source of an epoll event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Token {
    device: u64,
    vport: u16,
    fault: bool,
}

impl Token {
    fn pack(self) -> u64 {
        self.device << 17 | u64::from(self.vport) << 1 | u64::from(self.fault)
    }

    fn unpack(data: u64) -> Self {
        Self {
            device: data >> 17,
            vport: (data >> 1) as u16,
            fault: data & 1 != 0,
        }
    }
}

impl Events {
    pub(super) fn new() -> io::Result<Self> {
        let event = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        let set = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let data = epoll::EventData::new_u64(WAKE);
        epoll::add(&set, &event, data, epoll::EventFlags::IN)?;
        Ok(Self {
            set,
            waker: Arc::new(Waker {
                event,
                stop: AtomicBool::new(false),
                delayed: AtomicBool::new(false),
            }),
            members: Mutex::new(HashMap::new()),
        })
    }

    pub(super) fn waker(&self) -> &Arc<Waker> {
        &self.waker
    }

    /// The descriptors of an ADI that is to be watched.
    pub(super) fn prepare(adi: &dyn Adi) -> io::Result<AdiFds> {
        Ok(AdiFds(Watched {
            gone: adi.gone().try_clone_to_owned()?,
            fault: adi.fault().try_clone_to_owned()?,
        }))
    }

    /// Watches the ADIs of a device, which are those of `fds` in the order of its virtual ports.
    pub(super) fn add(&self, device: u64, vdev: &Arc<Vdev>, fds: Vec<AdiFds>) -> io::Result<()> {
        let ports = fds.iter().map(|_| None).collect();
        let vdev = vdev.clone();
        self.members.lock().insert(device, Member { vdev, ports });
        for (vport, fds) in (0..).zip(fds) {
            self.watch(device, vport, fds)?;
        }
        Ok(())
    }

    /// Watches the ADI of a virtual port instead of the previous one.
    pub(super) fn watch(&self, device: u64, vport: u16, fds: AdiFds) -> io::Result<()> {
        let AdiFds(watched) = fds;
        let mut members = self.members.lock();
        let Some(member) = members.get_mut(&device) else {
            return Ok(());
        };
        let Some(port) = member.ports.get_mut(usize::from(vport)) else {
            return Ok(());
        };
        for (fault, fd) in [(false, &watched.gone), (true, &watched.fault)] {
            let token = Token {
                device,
                vport,
                fault,
            };
            let data = epoll::EventData::new_u64(token.pack());
            // An ADI stays gone, and is reported once. Each fault is a new edge, so that nobody has to read the
            // eventfd: its event would be lost for the other process that watches the same ADI in an update.
            let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
            epoll::add(&self.set, fd, data, flags)?;
        }
        if let Some(previous) = port.replace(watched) {
            self.forget(&previous);
        }
        Ok(())
    }

    /// Stops watching the ADIs of a device.
    pub(super) fn remove(&self, device: u64) {
        if let Some(member) = self.members.lock().remove(&device) {
            member.ports.iter().flatten().for_each(|w| self.forget(w));
        }
    }

    fn forget(&self, watched: &Watched) {
        for fd in [&watched.gone, &watched.fault] {
            // A duplicate may be held by the ADI, so closing would not remove it from the set.
            let _ = epoll::delete(&self.set, fd);
        }
    }

    /// Stops the thread.
    pub(super) fn stop(&self) {
        self.waker.stop.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// Handles events until [`stop`](Self::stop) is called.
    pub(super) fn run(&self) -> io::Result<()> {
        let mut events = Vec::with_capacity(64);
        let mut links_due = Instant::now() + LINK_INTERVAL;
        loop {
            let delayed = self.waker.delayed.load(Ordering::Acquire);
            let mut sleep = links_due.saturating_duration_since(Instant::now());
            if delayed {
                sleep = sleep.min(DELAY);
            }
            let sleep = Timespec {
                tv_sec: sleep.as_secs() as i64,
                tv_nsec: sleep.subsec_nanos().into(),
            };
            events.clear();
            let buffer = rustix::buffer::spare_capacity(&mut events);
            match epoll::wait(&self.set, buffer, Some(&sleep)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            if self.waker.stop.load(Ordering::Acquire) {
                return Ok(());
            }
            for event in &events {
                match event.data.u64() {
                    WAKE => {
                        let _ = rustix::io::read(&self.waker.event, &mut [0; 8]);
                    }
                    data => self.handle(Token::unpack(data)),
                }
            }
            if delayed {
                self.continue_delayed();
            }
            if Instant::now() >= links_due {
                links_due = Instant::now() + LINK_INTERVAL;
                self.vdevs().iter().for_each(|vdev| vdev.refresh_links());
            }
        }
    }

    fn vdevs(&self) -> Vec<Arc<Vdev>> {
        let members = self.members.lock();
        members.values().map(|member| member.vdev.clone()).collect()
    }

    fn handle(&self, token: Token) {
        let vdev = match self.members.lock().get(&token.device) {
            Some(member) => member.vdev.clone(),
            None => return,
        };
        match token.fault {
            true => vdev.take_fault(token.vport),
            false => vdev.gone_event(token.vport),
        }
    }

    /// Continues requests that were delayed. The mark is cleared before, so that none is missed.
    fn continue_delayed(&self) {
        self.waker.delayed.store(false, Ordering::Release);
        let mut left = false;
        for vdev in self.vdevs() {
            left |= vdev.continue_delayed();
        }
        if left {
            self.waker.delayed.store(true, Ordering::Release);
        }
    }
}

/// The descriptors of one ADI.
pub(super) struct AdiFds(Watched);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::TraceEvent;
    use crate::testing::{shape, MockAdi};

    /// A device that is watched, whose ADI reports faults by an eventfd.
    fn watched(fault: &OwnedFd) -> (Events, Arc<Vdev>) {
        let adi = MockAdi::new("adi", 1, 2).faulted();
        let fds = AdiFds(Watched {
            gone: adi.gone().try_clone_to_owned().unwrap(),
            fault: fault.try_clone().unwrap(),
        });
        let vdev = Arc::new(Vdev::new(vec![Box::new(adi)], shape()).unwrap());
        let events = Events::new().unwrap();
        events.add(1, &vdev, vec![fds]).unwrap();
        (events, vdev)
    }

    /// Handles the events that wait; returns the number of faults that the device has recorded.
    fn handled(events: &Events, vdev: &Vdev) -> usize {
        let now = Timespec::default();
        let mut waiting = Vec::with_capacity(4);
        let buffer = rustix::buffer::spare_capacity(&mut waiting);
        epoll::wait(&events.set, buffer, Some(&now)).unwrap();
        for event in &waiting {
            events.handle(Token::unpack(event.data.u64()));
        }
        let trace = vdev.trace(0, 100);
        let is_fault = |event: &TraceEvent| matches!(event, TraceEvent::AdiFault { .. });
        trace.iter().filter(|it| is_fault(&it.event)).count()
    }

    #[test]
    fn a_successor_takes_no_fault_away_before_the_device_is_its_own() {
        let fault = eventfd(0, EventfdFlags::NONBLOCK).unwrap();
        let (next_events, next) = watched(&fault);
        let (events, vdev) = watched(&fault);
        next.hand_over(true);
        rustix::io::write(&fault, &1_u64.to_ne_bytes()).unwrap();
        assert_eq!(handled(&next_events, &next), 0);
        assert_eq!(handled(&events, &vdev), 1);
        // It goes on, and finds what nobody has taken: its ADI has a record of its own here.
        next.hand_over(false);
        assert_eq!(handled(&next_events, &next), 1);
        // A later event is one of the same fault.
        rustix::io::write(&fault, &1_u64.to_ne_bytes()).unwrap();
        assert_eq!(handled(&next_events, &next), 1);
        assert_eq!(next.stats().adis[0].faults, 1);
    }

    #[test]
    fn a_token_names_device_port_and_kind() {
        let token = Token {
            device: 1 << 40,
            vport: u16::MAX,
            fault: true,
        };
        assert_eq!(Token::unpack(token.pack()), token);
        let other = Token {
            device: 0,
            vport: 3,
            fault: false,
        };
        assert_eq!(Token::unpack(other.pack()), other);
    }
}
