// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `adit pktgen`: sends and receives frames on an ADI as fast as possible.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_adi::{Adi, Buffer, Config, QueuePair, Wakeup};
use anyhow::{bail, ensure, Context, Result};
use etherparse::PacketBuilder;
use serde::Serialize;

use crate::capture::{Capture, Recorder};
use crate::output::{counted, Format};
use crate::traffic_args::{Mode, Pktgen};

/// The maximum number of frames moved at once.
const BURST: usize = 32;
/// The maximum time to sleep, so that signals and the end are noticed.
const NAP: Duration = Duration::from_millis(100);
/// The maximum number of frames of a pcap file that are kept.
const MAX_RECORDING: usize = 65_536;

/// The frames and bytes moved by one queue pair, or by all together.
#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Count {
    sent: u64,
    sent_bytes: u64,
    received: u64,
    received_bytes: u64,
}

#[derive(Debug, Serialize)]
struct Report {
    seconds: f64,
    #[serde(flatten)]
    count: Count,
    sent_per_second: f64,
    received_per_second: f64,
}

pub(crate) fn run(args: &Pktgen, format: Format) -> Result<ExitCode> {
    let adi = Adi::open(&args.adi.resolve()?)?;
    let config = Config {
        pairs: args.queues,
        ring_len: args.ring,
        ..Config::default()
    };
    let pairs = adi.start(&config)?;
    let keeps = matches!(&args.mode, Mode::Receive { pcap: Some(_), .. });
    ensure!(
        pairs.len() == 1 || !keeps,
        "--pcap writes what one queue receives: use --queues 1"
    );
    let frames = frames(&args.mode, adi.info().mac)?;
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    let start = Instant::now();
    let counts = std::thread::scope(|scope| {
        let threads: Vec<_> = pairs
            .into_iter()
            .map(|pair| scope.spawn(|| work(pair, args, &frames, &stop, start + args.seconds)))
            .collect();
        let joined = threads.into_iter().map(|t| match t.join() {
            Ok(result) => result,
            Err(_) => bail!("a thread has panicked"),
        });
        joined.collect::<Result<Vec<_>>>()
    })?;
    report(format, start.elapsed(), &counts)?;
    Ok(ExitCode::SUCCESS)
}

fn report(format: Format, elapsed: Duration, counts: &[Count]) -> Result<()> {
    let count = counts.iter().fold(Count::default(), |sum, c| Count {
        sent: sum.sent + c.sent,
        sent_bytes: sum.sent_bytes + c.sent_bytes,
        received: sum.received + c.received,
        received_bytes: sum.received_bytes + c.received_bytes,
    });
    let seconds = elapsed.as_secs_f64();
    let report = Report {
        seconds,
        count,
        sent_per_second: count.sent as f64 / seconds,
        received_per_second: count.received as f64 / seconds,
    };
    // Not with `println!`, which panics when the reader has closed the pipe.
    let mut out = io::stdout().lock();
    if format == Format::Json {
        writeln!(out, "{}", serde_json::to_string(&report)?)?;
        return Ok(());
    }
    let mut line = |what, frames: u64, bytes: u64| {
        let (pps, mbps) = (frames as f64 / seconds, bytes as f64 * 8e-6 / seconds);
        writeln!(
            out,
            "{what}: {}, {pps:.0} frames/s, {mbps:.1} Mbit/s",
            counted(frames, "frame")
        )
    };
    line("sent", count.sent, count.sent_bytes)?;
    line("received", count.received, count.received_bytes)?;
    Ok(())
}

/// Returns the frames to send: a single one, or those of a capture file.
fn frames(mode: &Mode, mac: [u8; 6]) -> Result<Vec<Vec<u8>>> {
    let Mode::Send { to, size, pcap, .. } = mode else {
        return Ok(Vec::new());
    };
    if let Some(path) = pcap {
        return recording(path, mac);
    }
    // The headers of Ethernet, IPv4 and UDP take 42 bytes. The addresses are in the network for
    // benchmarks (RFC 2544), the port is "discard".
    let packet = PacketBuilder::ethernet2(mac, to.map_or([0xFF; 6], |to| to.0))
        .ipv4([198, 18, 0, 1], [198, 18, 0, 2], 64)
        .udp(9, 9);
    let payload = vec![0; usize::from(*size) - 42];
    let mut frame = Vec::with_capacity(packet.size(payload.len()));
    packet.write(&mut frame, &payload)?;
    Ok(vec![frame])
}

fn recording(path: &Path, mac: [u8; 6]) -> Result<Vec<Vec<u8>>> {
    let mut capture = Capture::open(path)?;
    let mut frames = Vec::new();
    while let Some(packet) = capture.read()? {
        let mut frame = packet.data;
        ensure!(
            frame.len() >= 14,
            "{}: record {} is shorter than an Ethernet header",
            path.display(),
            frames.len() + 1
        );
        // An ADI can only send from its own address.
        frame[6..12].copy_from_slice(&mac);
        frames.push(frame);
        ensure!(
            frames.len() <= MAX_RECORDING,
            "{} has more than {MAX_RECORDING} frames",
            path.display()
        );
    }
    ensure!(!frames.is_empty(), "{} has no frames", path.display());
    Ok(frames)
}

fn work(
    mut pair: QueuePair,
    args: &Pktgen,
    frames: &[Vec<u8>],
    stop: &AtomicBool,
    end: Instant,
) -> Result<Count> {
    let going = || !stop.load(Ordering::Relaxed) && Instant::now() < end;
    let idle = Idle::new(Duration::from_micros(args.spin));
    match &args.mode {
        Mode::Send { count, rate, .. } => send(&mut pair, frames, *count, *rate, idle, going)?,
        Mode::Receive { count, pcap } => {
            receive(&mut pair, *count, pcap.as_deref(), idle, going)?;
        }
        Mode::Reflect => reflect(&mut pair, idle, going)?,
    }
    let (tx, rx) = (pair.tx.stats(), pair.rx.stats());
    Ok(Count {
        sent: tx.frames,
        sent_bytes: tx.bytes,
        received: rx.frames,
        received_bytes: rx.bytes,
    })
}

/// The idle behaviour of a queue: it polls for a time, then sleeps.
struct Idle {
    spin: Duration,
    since: Option<Instant>,
}

impl Idle {
    fn new(spin: Duration) -> Self {
        Self { spin, since: None }
    }

    /// Notes that there was work.
    fn busy(&mut self) {
        self.since = None;
    }

    /// Polls or sleeps, since there was no work.
    fn rest(&mut self, pair: &mut QueuePair) -> Result<()> {
        if self.since.get_or_insert_with(Instant::now).elapsed() < self.spin {
            std::hint::spin_loop();
            return Ok(());
        }
        match pair.wait(Some(NAP))? {
            Wakeup::Released => bail!("the ADI is taken away"),
            Wakeup::Fault => bail!("a queue of the ADI was stopped by a fault"),
            Wakeup::Ready | Wakeup::Timeout => Ok(()),
        }
    }
}

fn send(
    pair: &mut QueuePair,
    frames: &[Vec<u8>],
    count: u64,
    rate: u64,
    mut idle: Idle,
    going: impl Fn() -> bool,
) -> Result<()> {
    let pool = pair.pool().clone();
    let start = Instant::now();
    let mut burst: Vec<Buffer> = Vec::with_capacity(BURST);
    let mut next = frames.iter().cycle();
    let mut sent = 0;
    let mut received = Vec::with_capacity(BURST);
    while going() && (count == 0 || sent < count) {
        let mut room = BURST as u64;
        if count != 0 {
            room = room.min(count - sent);
        }
        if rate != 0 {
            let due = (start.elapsed().as_secs_f64() * rate as f64) as u64;
            room = room.min(due.saturating_sub(sent));
        }
        while (burst.len() as u64) < room {
            let Some(buffer) = next.next().and_then(|frame| pool.copy(frame)) else {
                break;
            };
            burst.push(buffer);
        }
        let taken = pair.tx.send(&mut burst.drain(..))?;
        sent += taken as u64;
        if taken != 0 || pair.tx.reclaim()? != 0 {
            idle.busy();
        } else if rate == 0 {
            idle.rest(pair)?;
        } else {
            std::thread::sleep(Duration::from_micros(50));
        }
        // A generator discards the frames that it receives.
        pair.rx.receive(&mut received, BURST)?;
        received.clear();
    }
    while pair.tx.in_flight() != 0 && going() {
        match pair.tx.reclaim()? {
            0 => idle.rest(pair)?,
            _ => idle.busy(),
        }
    }
    Ok(())
}

fn receive(
    pair: &mut QueuePair,
    count: u64,
    pcap: Option<&Path>,
    mut idle: Idle,
    going: impl Fn() -> bool,
) -> Result<()> {
    let mut writer = match pcap {
        Some(path) => Some(Recorder::create(path)?),
        None => None,
    };
    let start = Instant::now();
    let mut frames = Vec::with_capacity(BURST);
    while going() && (count == 0 || pair.rx.stats().frames < count) {
        if pair.rx.receive(&mut frames, BURST)? == 0 {
            idle.rest(pair)?;
            continue;
        }
        idle.busy();
        for frame in frames.drain(..) {
            if let Some(writer) = &mut writer {
                let written = writer.write(start.elapsed(), &frame);
                written.context("cannot write the recording")?;
            }
        }
    }
    Ok(())
}

fn reflect(pair: &mut QueuePair, mut idle: Idle, going: impl Fn() -> bool) -> Result<()> {
    let mut frames: Vec<Buffer> = Vec::with_capacity(BURST);
    while going() {
        if pair.rx.receive(&mut frames, BURST)? == 0 {
            idle.rest(pair)?;
            continue;
        }
        idle.busy();
        for frame in &mut frames {
            if let Some((to, rest)) = frame.split_at_mut_checked(6) {
                if let Some(from) = rest.get_mut(..6) {
                    to.swap_with_slice(from);
                }
            }
        }
        // Frames for which there is no space are dropped, as on a wire.
        pair.tx.send(&mut frames.drain(..))?;
    }
    Ok(())
}
