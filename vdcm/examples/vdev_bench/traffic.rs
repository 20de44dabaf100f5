// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Frames from one queue pair to another of the same NIC.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use adit_adi::{Adi, Buffer, Config, Device, MemorySource, QueuePair, Wakeup};
use anyhow::{bail, ensure, Context, Result};

/// The maximum number of frames moved at once.
const BURST: usize = 32;
/// The maximum number of frames between sender and receiver: fewer than there are buffers.
const WINDOW: u64 = 192;
/// The timeout of a frame.
const TIMEOUT: Duration = Duration::from_secs(60);
/// The interval at which a thread that sleeps checks for the end of the measurement.
const NAP: Duration = Duration::from_millis(50);
/// The IEEE's EtherType for local experiments, and the length of a frame without its FCS.
const ETHERTYPE: [u8; 2] = [0x88, 0xB5];
const FRAME_LEN: usize = 60;

/// A queue pair.
pub(crate) struct End {
    pair: QueuePair,
    mac: [u8; 6],
    /// Dropped after its queue pair.
    _adi: Adi,
}

impl End {
    /// Starts the first queue pair of a device.
    pub(crate) fn start(device: Box<dyn Device>) -> Result<Self> {
        let adi = Adi::new(device)?;
        let config = Config {
            pairs: 1,
            memory: MemorySource::Process,
            ..Config::default()
        };
        let mut pairs = adi.start(&config)?;
        Ok(Self {
            pair: pairs.pop().context("a queue pair")?,
            mac: adi.info().mac,
            _adi: adi,
        })
    }

    fn frame_to(&self, other: &Self) -> Vec<u8> {
        let mut frame = [&other.mac[..], &self.mac, &ETHERTYPE].concat();
        frame.resize(FRAME_LEN, 0x5A);
        frame
    }
}

/// Two queue pairs.
pub(crate) struct Ends {
    a: End,
    b: End,
}

impl Ends {
    pub(crate) fn new(a: End, b: End) -> Self {
        Self { a, b }
    }

    /// Sends frames from the first to the second for a time, or a number of them, whichever comes
    /// first; returns the number that arrived, which is that of the frames sent. Both ends poll, in
    /// this thread.
    pub(crate) fn stream(&mut self, time: Duration, count: u64) -> Result<u64> {
        let frame = self.a.frame_to(&self.b);
        let (a, b) = (&mut self.a.pair, &mut self.b.pair);
        let pool = a.pool().clone();
        let mut burst: Vec<Buffer> = Vec::with_capacity(BURST);
        let mut arrived = Vec::with_capacity(BURST);
        let (mut sent, mut received) = (0, 0);
        let (start, mut progress) = (Instant::now(), Instant::now());
        loop {
            let now = Instant::now();
            let ended = now - start >= time || sent >= count;
            if ended && sent == received {
                return Ok(received);
            }
            if !ended {
                let room = (WINDOW - (sent - received)).min(count - sent);
                while (burst.len() as u64) < room.min(BURST as u64) {
                    match pool.copy(&frame) {
                        Some(buffer) => burst.push(buffer),
                        None => break,
                    }
                }
                sent += a.tx.send(&mut burst.drain(..))? as u64;
            }
            a.tx.reclaim()?;
            let got = b.rx.receive(&mut arrived, BURST)? as u64;
            arrived.clear();
            received += got;
            if got > 0 {
                progress = now;
            }
            ensure!(
                now - progress < TIMEOUT,
                "{} of {sent} frames do not arrive",
                sent - received
            );
        }
    }

    /// Returns the round-trip times of frames in nanoseconds; both ends poll, in this thread.
    pub(crate) fn round_trips(&mut self, count: usize) -> Result<Vec<u64>> {
        let (to, back) = (self.a.frame_to(&self.b), self.b.frame_to(&self.a));
        let (a, b) = (&mut self.a.pair, &mut self.b.pair);
        let mut times = Vec::with_capacity(count);
        for _ in 0..count {
            let start = Instant::now();
            send(a, &to)?;
            poll(b)?;
            send(b, &back)?;
            poll(a)?;
            times.push(start.elapsed().as_nanos() as u64);
        }
        Ok(times)
    }

    /// Returns the round-trip times of frames in nanoseconds, where both ends sleep until their
    /// interrupts, in threads of their own.
    pub(crate) fn round_trips_asleep(&mut self, count: usize) -> Result<Vec<u64>> {
        let (to, back) = (self.a.frame_to(&self.b), self.b.frame_to(&self.a));
        let (a, b) = (&mut self.a.pair, &mut self.b.pair);
        let ended = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let reflector = scope.spawn(|| {
                let mut arrived = Vec::with_capacity(BURST);
                while !ended.load(Ordering::Relaxed) {
                    if b.rx.receive(&mut arrived, BURST)? == 0 {
                        sleep(b, NAP)?;
                    }
                    for _ in arrived.drain(..) {
                        send(b, &back)?;
                    }
                }
                anyhow::Ok(())
            });
            let mut measure = || {
                let mut times = Vec::with_capacity(count);
                let mut arrived = Vec::with_capacity(BURST);
                for _ in 0..count {
                    let start = Instant::now();
                    send(a, &to)?;
                    while a.rx.receive(&mut arrived, BURST)? == 0 {
                        ensure!(start.elapsed() < TIMEOUT, "a frame does not return");
                        sleep(a, NAP)?;
                    }
                    times.push(start.elapsed().as_nanos() as u64);
                    arrived.clear();
                }
                anyhow::Ok(times)
            };
            let times = measure();
            ended.store(true, Ordering::Relaxed);
            match reflector.join() {
                Ok(reflected) => reflected.and(times),
                Err(_) => bail!("the reflecting thread has panicked"),
            }
        })
    }
}

fn send(pair: &mut QueuePair, frame: &[u8]) -> Result<()> {
    pair.tx.reclaim()?;
    let buffer = pair.pool().copy(frame).context("no buffer is free")?;
    let sent = pair.tx.send(&mut std::iter::once(buffer))?;
    ensure!(sent == 1, "the TX ring is full");
    Ok(())
}

/// Waits for a frame.
fn poll(pair: &mut QueuePair) -> Result<()> {
    let start = Instant::now();
    let mut arrived = Vec::with_capacity(1);
    while pair.rx.receive(&mut arrived, 1)? == 0 {
        ensure!(start.elapsed() < TIMEOUT, "a frame does not arrive");
        std::hint::spin_loop();
    }
    Ok(())
}

fn sleep(pair: &mut QueuePair, time: Duration) -> Result<()> {
    match pair.wait(Some(time))? {
        Wakeup::Fault => bail!("a queue was stopped by a fault"),
        Wakeup::Released => bail!("the device is taken away"),
        Wakeup::Ready | Wakeup::Timeout => Ok(()),
    }
}
