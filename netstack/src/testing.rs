// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A cable in memory, a client at its end, and a server, for tests.

mod echo;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use adit_adi::{Checksum, Wakeup};
use smoltcp::iface::{Interface, SocketHandle, SocketSet};
use smoltcp::socket::tcp;
use smoltcp::time;
use smoltcp::wire::{EthernetAddress, HardwareAddress};

use crate::phy::{Phy, ETHERNET};
use crate::{Address, Error, Frame, Port};

pub use echo::Echo;

/// The capacity of a buffer in bytes.
const CAPACITY: usize = 2048;

/// A frame in memory.
pub struct MemoryFrame {
    bytes: Vec<u8>,
    completes: bool,
}

impl Deref for MemoryFrame {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl DerefMut for MemoryFrame {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl Frame for MemoryFrame {
    fn set_len(&mut self, len: usize) {
        // What a former user of a buffer has left there.
        self.bytes.resize(len.min(CAPACITY), 0xA5);
    }

    fn checksum(&self) -> Checksum {
        Checksum::Unchecked
    }

    fn request_checksum(&mut self) {
        self.completes = true;
    }
}

type Queue = Arc<Mutex<VecDeque<Vec<u8>>>>;

/// One end of a cable in memory.
pub struct MemoryPort {
    incoming: Queue,
    outgoing: Queue,
    completes: bool,
    /// One of that many frames is lost on its way; 0 for none.
    pub lose_one_of: u32,
    /// The maximum number of frames that [`Port::send`] takes at once.
    pub room: usize,
    /// The timeout of the last [`Port::wait`].
    pub waited: Option<Duration>,
    sent: u32,
}

/// Returns the two ends of a cable; `completes`: the first one completes checksums, as a device does.
#[must_use]
pub fn cable(completes: bool) -> (MemoryPort, MemoryPort) {
    let queues = [Queue::default(), Queue::default()];
    let end = |from: usize, completes| MemoryPort {
        incoming: Arc::clone(&queues[from]),
        outgoing: Arc::clone(&queues[1 - from]),
        completes,
        lose_one_of: 0,
        room: usize::MAX,
        waited: None,
        sent: 0,
    };
    (end(0, completes), end(1, false))
}

impl MemoryPort {
    /// Puts a frame on the cable as it is.
    pub fn put(&self, frame: &[u8]) {
        let mut queue = self.outgoing.lock().unwrap_or_else(PoisonError::into_inner);
        queue.push_back(frame.to_vec());
    }

    /// Takes the next frame from the cable.
    #[must_use]
    pub fn take(&self) -> Option<Vec<u8>> {
        let mut queue = self.incoming.lock().unwrap_or_else(PoisonError::into_inner);
        queue.pop_front()
    }
}

impl Port for MemoryPort {
    type Frame = MemoryFrame;

    fn mtu(&self) -> usize {
        1500
    }

    fn completes_checksums(&self) -> bool {
        self.completes
    }

    fn alloc(&mut self) -> Option<MemoryFrame> {
        Some(MemoryFrame {
            bytes: Vec::new(),
            completes: false,
        })
    }

    fn receive(&mut self, frames: &mut Vec<MemoryFrame>, max: usize) -> Result<usize, Error> {
        let before = frames.len();
        frames.extend(
            std::iter::from_fn(|| self.take())
                .take(max)
                .map(|bytes| MemoryFrame {
                    bytes,
                    completes: false,
                }),
        );
        Ok(frames.len() - before)
    }

    fn send(&mut self, frames: &mut VecDeque<MemoryFrame>) -> Result<usize, Error> {
        let count = frames.len().min(self.room);
        for mut frame in frames.drain(..count) {
            if frame.completes {
                complete(&mut frame.bytes);
            }
            self.sent += 1;
            if self.lose_one_of == 0 || self.sent % self.lose_one_of != 0 {
                self.put(&frame.bytes);
            }
        }
        Ok(count)
    }

    fn wait(&mut self, timeout: Option<Duration>) -> Result<Wakeup, Error> {
        self.waited = timeout;
        Ok(Wakeup::Timeout)
    }

    fn waker(&self) -> Result<Option<OwnedFd>, Error> {
        Ok(None)
    }
}

/// Completes the checksum of a TCP segment, whose field has the sum of the pseudo header.
fn complete(frame: &mut [u8]) {
    let l4 = ETHERNET + if frame[12] == 8 { 20 } else { 40 };
    let segment = &mut frame[l4..];
    let words = segment.chunks(2);
    let mut sum: u32 = words
        .map(|w| u32::from(w[0]) << 8 | w.get(1).map_or(0, |b| u32::from(*b)))
        .sum();
    while sum > 0xFFFF {
        sum = (sum >> 16) + (sum & 0xFFFF);
    }
    let checksum = !(sum as u16);
    segment[16..18].copy_from_slice(&checksum.to_be_bytes());
}

/// A TCP client on a port, with a clock of its own.
pub struct Client {
    interface: Interface,
    phy: Phy<MemoryPort>,
    sockets: SocketSet<'static>,
    next_port: u16,
}

impl Client {
    /// A client with these addresses.
    ///
    /// # Panics
    /// Panics when the addresses are not possible.
    #[must_use]
    pub fn new(port: MemoryPort, mac: [u8; 6], addresses: &[Address]) -> Self {
        let mut phy = Phy::new(port);
        let config = smoltcp::iface::Config::new(HardwareAddress::Ethernet(EthernetAddress(mac)));
        let mut interface = Interface::new(config, &mut phy, time::Instant::ZERO);
        interface.update_ip_addrs(|list| {
            for address in addresses {
                list.push(address.cidr()).expect("few addresses");
            }
        });
        Self {
            interface,
            phy,
            sockets: SocketSet::new(Vec::new()),
            next_port: 49_152,
        }
    }

    /// Returns its port.
    pub fn port(&mut self) -> &mut MemoryPort {
        &mut self.phy.port
    }

    /// Begins a connection.
    ///
    /// # Panics
    /// Panics when the address cannot be connected to.
    pub fn connect(&mut self, to: SocketAddr) -> SocketHandle {
        let port = self.next_port;
        self.next_port += 1;
        self.connect_from(port, to)
    }

    /// Begins a connection from a port.
    ///
    /// # Panics
    /// Panics when the address cannot be connected to.
    pub fn connect_from(&mut self, port: u16, to: SocketAddr) -> SocketHandle {
        let buffer = || tcp::SocketBuffer::new(vec![0; 64 << 10]);
        let mut socket = tcp::Socket::new(buffer(), buffer());
        socket
            .connect(self.interface.context(), (to.ip(), to.port()), port)
            .expect("an address to connect to");
        self.sockets.add(socket)
    }

    /// Drops a connection without a word to its peer.
    pub fn forget(&mut self, handle: SocketHandle) {
        self.sockets.remove(handle);
    }

    /// Returns the socket of a connection.
    pub fn socket(&mut self, handle: SocketHandle) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(handle)
    }

    /// Receives and sends.
    ///
    /// # Panics
    /// Panics when the port fails, which one in memory does not.
    pub fn turn(&mut self, now: Duration) {
        let now = time::Instant::from_micros(now.as_micros() as i64);
        let mut frames = Vec::new();
        self.phy
            .port
            .receive(&mut frames, usize::MAX)
            .expect("a port in memory");
        for frame in frames {
            self.phy.received = Some(frame);
            self.interface
                .poll_ingress_single(now, &mut self.phy, &mut self.sockets);
        }
        self.interface
            .poll_egress(now, &mut self.phy, &mut self.sockets);
        self.phy
            .port
            .send(&mut self.phy.out)
            .expect("a port in memory");
    }
}

/// The clock of a test: it moves when the test says so.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
    passed: Duration,
}

impl Default for Clock {
    fn default() -> Self {
        Self {
            start: Instant::now(),
            passed: Duration::ZERO,
        }
    }
}

impl Clock {
    /// Moves it.
    pub fn pass(&mut self, time: Duration) {
        self.passed += time;
    }

    /// Returns the time.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.start + self.passed
    }

    /// Returns the time since its start.
    #[must_use]
    pub fn passed(&self) -> Duration {
        self.passed
    }
}
