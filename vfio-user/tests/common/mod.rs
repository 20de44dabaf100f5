// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A server on a real socket, and a client that sends arbitrary messages.
#![allow(dead_code, unreachable_pub)] // Every test binary has its own copy.

use std::io::{IoSlice, Read};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use adit_vfio_user::fuzzing::{message, HELLO};
use adit_vfio_user::header::{Command, Header};
use adit_vfio_user::migration::MigrationSupport;
use adit_vfio_user::testing::ScratchDevice;
use adit_vfio_user::{Config, Errno, Server, Stats, StopHandle};
use rustix::net::{sendmsg, SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use zerocopy::{FromBytes, IntoBytes};

/// A server in a thread of its own.
pub struct Running {
    pub path: PathBuf,
    pub stats: Arc<Stats>,
    stop: StopHandle,
    thread: Option<JoinHandle<ScratchDevice>>,
    _folder: tempfile::TempDir,
}

impl Running {
    /// Starts a server with timeouts that are short enough for a test.
    pub fn start() -> Self {
        let message_timeout = Duration::from_millis(1500);
        Self::with_config(Config {
            message_timeout,
            ..Config::default()
        })
    }

    pub fn with_config(config: Config) -> Self {
        Self::with_device(config, ScratchDevice::new)
    }

    /// Starts a server for a device that can be migrated.
    pub fn migratable(support: MigrationSupport) -> Self {
        let config = Config {
            message_timeout: Duration::from_millis(300),
            max_bitmap_size: 1 << 10,
            ..Config::default()
        };
        Self::with_device(config, move || ScratchDevice::migratable(support))
    }

    pub fn with_device(
        config: Config,
        device: impl FnOnce() -> ScratchDevice + Send + 'static,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("device.sock");
        let server = Server::bind(&path, config).unwrap();
        let stats = server.stats().clone();
        let stop = StopHandle::new().unwrap();
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut device = device();
            server.run(&mut device, &stopped).unwrap();
            device
        });
        Self {
            path,
            stats,
            stop,
            thread: Some(thread),
            _folder: folder,
        }
    }

    /// A client that has not sent anything.
    pub fn connect(&self) -> Client {
        Client::connect(&self.path)
    }

    /// A client that has negotiated the version.
    pub fn client(&self) -> Client {
        Client::negotiated(&self.path)
    }

    /// Stops the server, which must not take long, and returns the device.
    pub fn stop(mut self) -> ScratchDevice {
        let begun = Instant::now();
        self.stop.stop();
        let device = self.thread.take().unwrap().join().unwrap();
        assert!(
            begun.elapsed() < Duration::from_secs(30),
            "stopping took {:?}",
            begun.elapsed()
        );
        assert!(!self.path.exists(), "the socket file is left over");
        device
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.stop();
        if let Some(thread) = self.thread.take() {
            let outcome = thread.join();
            assert!(
                std::thread::panicking() || outcome.is_ok(),
                "the server panicked"
            );
        }
    }
}

/// The client's end of a connection.
pub struct Client {
    pub stream: UnixStream,
}

impl Client {
    /// A client that has not sent anything.
    pub fn connect(path: &Path) -> Self {
        let stream = UnixStream::connect(path).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        Self { stream }
    }

    /// A client that has negotiated the version.
    pub fn negotiated(path: &Path) -> Self {
        let mut client = Self::connect(path);
        client.request(Command::Version, HELLO).unwrap();
        client
    }

    pub fn send(&self, bytes: &[u8]) {
        self.send_with_fds(bytes, &[]);
    }

    pub fn send_with_fds(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            assert!(control.push(SendAncillaryMessage::ScmRights(fds)));
        }
        let parts = [IoSlice::new(bytes)];
        let sent = sendmsg(&self.stream, &parts, &mut control, SendFlags::NOSIGNAL).unwrap();
        assert_eq!(sent, bytes.len());
    }

    /// Returns the next reply, or the errno that it carries.
    pub fn reply(&mut self) -> Result<Vec<u8>, Errno> {
        let mut header = Header::default();
        self.stream
            .read_exact(header.as_mut_bytes())
            .expect("a reply");
        assert_eq!(header.message_type(), Header::TYPE_REPLY);
        let mut payload = vec![0; header.payload_len().unwrap()];
        self.stream
            .read_exact(&mut payload)
            .expect("the rest of a reply");
        match header.flags & Header::ERROR {
            0 => Ok(payload),
            _ => Err(Errno::from_raw_os_error(header.error as i32)),
        }
    }

    pub fn request(&mut self, command: Command, payload: &[u8]) -> Result<Vec<u8>, Errno> {
        self.request_with_fds(command, payload, &[])
    }

    pub fn request_with_fds(
        &mut self,
        command: Command,
        payload: &[u8],
        fds: &[BorrowedFd<'_>],
    ) -> Result<Vec<u8>, Errno> {
        self.send_with_fds(&message(9, command, 0, payload), fds);
        self.reply()
    }

    /// Returns whether the device still replies.
    pub fn is_served(&mut self) -> bool {
        let access = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0];
        self.request(Command::RegionRead, &access)
            .is_ok_and(|reply| reply.len() == 20)
    }

    /// Waits for the next byte or the end of the stream, and returns whether the server has closed
    /// the connection.
    pub fn is_closed(&mut self) -> bool {
        !matches!(self.stream.read(&mut [0]), Ok(1..))
    }
}

pub fn eventfd() -> OwnedFd {
    rustix::event::eventfd(0, rustix::event::EventfdFlags::NONBLOCK).unwrap()
}

/// Returns the number of signals of an eventfd since its last read.
pub fn signals(eventfd: &OwnedFd) -> u64 {
    let mut count = 0u64;
    match rustix::io::read(eventfd, count.as_mut_bytes()) {
        Ok(_) => count,
        Err(e) => {
            assert_eq!(e, Errno::AGAIN);
            0
        }
    }
}

/// Converts a fixed payload to a structure.
pub fn read<T: FromBytes>(bytes: &[u8]) -> T {
    T::read_from_prefix(bytes)
        .map(|(value, _)| value)
        .expect("a longer reply")
}
