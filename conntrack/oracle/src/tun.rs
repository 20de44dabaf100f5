// SPDX-License-Identifier: Apache-2.0 OR MIT
//! TUN devices: links without a link layer, whose other end is a file (`Documentation/networking/tuntap`).

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;

use anyhow::{Context, Result};
use rustix::fs::{Mode, OFlags};

/// Above the MTU.
const BUFFER: usize = 64 * 1024;

/// A TUN device. It exists until this is dropped.
pub struct Tun {
    file: File,
}

impl Tun {
    /// Creates a device with this name in the network namespace of the thread.
    pub fn create(name: &str) -> Result<Self> {
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::open("/dev/net/tun", flags, Mode::empty())
            .context("/dev/net/tun cannot be opened")?;
        let file = File::from(file);
        attach(&file, name).with_context(|| format!("TUN device {name} cannot be created"))?;
        Ok(Self { file })
    }

    /// Lets a packet arrive from the link. The kernel has forwarded it when this returns.
    pub fn send(&self, packet: &[u8]) -> io::Result<()> {
        (&self.file).write_all(packet)
    }

    /// The packets that have left by the link.
    pub fn receive(&self) -> io::Result<Vec<Vec<u8>>> {
        let mut packets = Vec::new();
        let mut buffer = vec![0; BUFFER];
        loop {
            match (&self.file).read(&mut buffer) {
                Ok(length) => packets.push(buffer[..length].to_vec()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(packets),
                Err(error) => return Err(error),
            }
        }
    }
}

/// `TUNSETIFF`: a device of packets without a header of their own.
fn attach(file: &File, name: &str) -> io::Result<()> {
    // SAFETY: ifreq is plain data of integers, arrays and a pointer; all zeroes is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.len() >= request.ifr_name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
    // SAFETY: TUNSETIFF takes an ifreq, which lives through the call.
    match unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
