// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A driver of a device out of a group of two ADIs, and the frames of its tests.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::{Duration, Instant};

use adit_function::vport::RSS_KEY_LEN;
use adit_uapi::virtchnl2::{op, RssKey};
use etherparse::PacketBuilder;
use zerocopy::little_endian::U16;
use zerocopy::IntoBytes;

use crate::device::Device;
use crate::queues::Pair;
use crate::vf::Vf;

pub(crate) const STATION: [u8; 6] = [2, 0, 0, 0, 9, 9];
pub(crate) const TIMEOUT: Duration = Duration::from_secs(60);
/// The queues of a device, of two ADIs.
pub(crate) const QUEUES: u16 = 4;
/// The flows from the wire: enough for each queue to get some. The key is constant, so this does not
/// depend on chance.
pub(crate) const FLOWS: u16 = 64;

/// A driver of a device out of a group, whose queues run.
pub(crate) struct Driver {
    pub(crate) vf: Vf,
    pub(crate) pairs: Vec<Pair>,
}

impl Driver {
    pub(crate) fn start(socket: &Path) -> Self {
        let device = Device::connect(socket).unwrap();
        let vf = Vf::start_with(device, QUEUES).unwrap();
        let pairs = Vec::new();
        let mut this = Self { vf, pairs };
        this.set_up();
        this
    }

    /// Sets the key of the hash: with the initial one all flows have the same.
    fn set_key(&mut self) {
        let header = RssKey {
            key_len: U16::new(RSS_KEY_LEN as u16),
            ..RssKey::default()
        };
        let key: Vec<_> = (1..=RSS_KEY_LEN as u8).collect();
        let message = [header.as_bytes(), &key].concat();
        self.vf.ok(op::SET_RSS_KEY, &message).unwrap();
    }

    /// Sets the queues up again, after a reset.
    pub(crate) fn set_up(&mut self) {
        self.pairs = Pair::start_all(&mut self.vf, QUEUES).unwrap();
        self.set_key();
    }

    /// The address of the device.
    pub(crate) fn mac(&self) -> [u8; 6] {
        self.pairs[0].mac
    }

    /// Receives until it has as many frames or the time is over; returns the number by queue.
    fn receive(&mut self, count: usize) -> Vec<usize> {
        let mut seen = vec![0; self.pairs.len()];
        let end = Instant::now() + TIMEOUT;
        while seen.iter().sum::<usize>() < count && Instant::now() < end {
            for (pair, seen) in self.pairs.iter_mut().zip(&mut seen) {
                while pair.receive(&mut self.vf).unwrap().is_some() {
                    *seen += 1;
                }
            }
        }
        seen
    }
}

pub(crate) fn udp(from: [u8; 6], to: [u8; 6], port: u16) -> Vec<u8> {
    let packet = PacketBuilder::ethernet2(from, to)
        .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
        .udp(port, 9);
    let mut frame = Vec::new();
    packet.write(&mut frame, &[0x5A; 32]).unwrap();
    frame
}

/// Sends a frame of each flow from the wire; returns the numbers that arrived, by queue.
pub(crate) fn flows(driver: &mut Driver, wire: &UnixDatagram) -> Vec<usize> {
    let mut seen = vec![0; driver.pairs.len()];
    for port in 0..FLOWS {
        wire.send(&udp(STATION, driver.mac(), 1000 + port)).unwrap();
        for (sum, seen) in seen.iter_mut().zip(driver.receive(1)) {
            *sum += seen;
        }
    }
    seen
}

/// Sends a frame from each queue, each of which must arrive at the wire.
pub(crate) fn answers(driver: &mut Driver, wire: &UnixDatagram) {
    let mac = driver.mac();
    let Driver { vf, pairs } = driver;
    for (n, pair) in (0..).zip(pairs) {
        let sent = udp(mac, STATION, n);
        pair.send(vf, &sent).unwrap();
        pair.settle(vf).unwrap();
        let mut frame = [0; 2048];
        let len = wire.recv(&mut frame).unwrap();
        assert_eq!(frame[..len], sent, "queue {n}");
    }
}

pub(crate) fn assert_all(seen: &[usize]) {
    assert_eq!(seen.iter().sum::<usize>(), usize::from(FLOWS), "{seen:?}");
    assert!(seen.iter().all(|&seen| seen > 0), "{seen:?}");
}

/// Sends a frame from each queue, each of which must signal the queue's own vector.
pub(crate) fn interrupts(driver: &mut Driver, wire: &UnixDatagram) {
    let mac = driver.mac();
    let Driver { vf, pairs } = driver;
    for (n, pair) in pairs.iter_mut().enumerate() {
        // Takes a signal that has not been waited for.
        pair.wait(vf, Duration::ZERO).unwrap();
        let before = pair.interrupts;
        pair.send(vf, &udp(mac, STATION, 1)).unwrap();
        pair.settle(vf).unwrap();
        pair.wait(vf, TIMEOUT).unwrap();
        assert!(pair.interrupts > before, "queue {n}");
        wire.recv(&mut [0; 2048]).unwrap();
    }
}
