// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A TAP device in the network namespace of the process.
//!
//! The interface that the host sees is the other end of the wire: `ip link set NAME down` in its
//! namespace takes the link down, deleting the interface removes the socket.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use adit_pipeline::offload::{Checksum, FrameMeta, GsoKind};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use thiserror::Error;
use zerocopy::IntoBytes;

use super::counters::{PortCounters, RxDrop};
use super::link_watch::LinkWatch;
use super::port::{
    checked_len, count_sent, drop_received, LifelineReports, LinkState, Port, PortCaps, Received,
    RecvError, SendError, DEFAULT_SPEED_MBPS, MAX_SLICES, MIN_FRAME_LEN,
};
use super::tap_sys::{self as sys, IfName};
use super::vnet::{VnetHeader, VNET_HEADER_LEN};

const TUN_PATH: &str = "/dev/net/tun";

/// The CWR flag in byte 13 of a TCP header (RFC 3168, section 6.1).
const TCP_FLAGS_OFFSET: usize = 13;
const TCP_FLAG_CWR: u8 = 0x80;

/// The reason that a TAP device could not be opened.
#[derive(Debug, Error)]
pub enum TapError {
    /// The name is not a valid interface name.
    #[error(
        "`{0}` is not an interface name: 1 to 15 bytes, none of them `/`, `%`, `:` or a space, and \
         not `.` or `..`"
    )]
    Name(String),
    /// The clone device cannot be opened.
    #[error(
        "cannot open {TUN_PATH} ({0}): load the `tun` module, or give this process the device"
    )]
    Open(io::Error),
    /// The interface exists and is not a single-queue TAP device.
    #[error(
        "`{0}` exists and is not a TAP device with one queue: delete it or choose another name"
    )]
    NotTap(String),
    /// The device is attached to another process.
    #[error("TAP device `{0}` is in use by another process")]
    Busy(String),
    /// A privilege is missing.
    #[error(
        "no permission to create or attach to TAP device `{0}`: needs CAP_NET_ADMIN in this \
         network namespace, or a device made with `ip tuntap add … user`"
    )]
    Permission(String),
    /// Any other step failed.
    #[error("TAP device `{name}`: {step} failed: {error}")]
    Setup {
        /// The interface.
        name: String,
        /// The operation that failed.
        step: &'static str,
        /// The host's error.
        error: io::Error,
    },
}

/// The reason reported for a deleted device.
const DELETED: &str = "the TAP device was deleted; one of the same name is taken up";

/// A port whose other end is a TAP device.
#[derive(Debug)]
pub struct Tap {
    name: String,
    /// The interface's name at the time of opening, by which a replacement is found if it is
    /// deleted.
    if_name: IfName,
    /// `None` while the device is gone: its descriptor would report an error permanently.
    fd: Option<OwnedFd>,
    generation: u32,
    watch: LinkWatch,
    uso: bool,
    /// The offloads requested for [`recv`](Port::recv), for reattaching to a device.
    wanted: PortCaps,
    /// The reason that the device cannot be used, while it cannot.
    down_reason: Option<String>,
    speed_mbps: u32,
    counters: PortCounters,
    lifelines: LifelineReports,
}

/// Attaches to a TAP device, or creates it; returns its descriptor and whether it supports UDP
/// segmentation.
fn attach(name: &str, if_name: IfName, existed: bool) -> Result<(OwnedFd, bool), TapError> {
    let setup = |step| {
        move |error: io::Error| TapError::Setup {
            name: name.to_owned(),
            step,
            error,
        }
    };
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let fd = rustix::fs::open(TUN_PATH, flags, Mode::empty())
        .map_err(|errno| TapError::Open(errno.into()))?;
    let tun = fd.as_fd();
    sys::attach(tun, if_name).map_err(|error| match error.raw_os_error() {
        Some(libc::EINVAL) if existed => TapError::NotTap(name.to_owned()),
        Some(libc::EBUSY) => TapError::Busy(name.to_owned()),
        Some(libc::EPERM | libc::EACCES) => TapError::Permission(name.to_owned()),
        _ => setup("TUNSETIFF")(error),
    })?;
    sys::set_vnet_header_len(tun, VNET_HEADER_LEN).map_err(setup("TUNSETVNETHDRSZ"))?;
    sys::set_vnet_little_endian(tun).map_err(setup("TUNSETVNETLE"))?;
    // No limit: the host's stack receives a written frame before write returns.
    sys::set_send_buffer(tun, libc::c_int::MAX).map_err(setup("TUNSETSNDBUF"))?;
    let uso = enable_offloads(name, tun)?;
    Ok((fd, uso))
}

/// Enables all offloads that the host supports; returns whether UDP segmentation is among them.
fn enable_offloads(name: &str, tun: BorrowedFd<'_>) -> Result<bool, TapError> {
    // UDP segmentation was added in Linux 6.2; an older kernel rejects the whole set.
    if sys::set_offload(tun, tun_flags(ALL)).is_ok() {
        return Ok(true);
    }
    let no_uso = PortCaps { uso: false, ..ALL };
    match sys::set_offload(tun, tun_flags(no_uso)) {
        Ok(()) => Ok(false),
        Err(error) => Err(TapError::Setup {
            name: name.to_owned(),
            step: "TUNSETOFFLOAD",
            error,
        }),
    }
}

const ALL: PortCaps = PortCaps {
    checksum: true,
    tso4: true,
    tso6: true,
    uso: true,
};

impl Tap {
    /// Attaches to the TAP device `name`, or creates it and brings it up. A device created by this
    /// call is removed with the port. If the device is deleted, the link is down until a device of
    /// that name exists again.
    ///
    /// # Errors
    /// Fails with the step that failed and the missing prerequisite.
    pub fn open(name: &str) -> Result<Self, TapError> {
        let if_name = interface_name(name).ok_or_else(|| TapError::Name(name.to_owned()))?;
        let setup = |step| {
            move |error: io::Error| TapError::Setup {
                name: name.to_owned(),
                step,
                error,
            }
        };
        let watch = LinkWatch::open().map_err(setup("listening for link changes (rtnetlink)"))?;
        let existed = sys::exists(watch.as_fd(), if_name).map_err(setup("SIOCGIFINDEX"))?;
        let (fd, uso) = attach(name, if_name, existed)?;
        if !existed {
            let flags = sys::flags(watch.as_fd(), if_name).map_err(setup("SIOCGIFFLAGS"))?;
            sys::set_flags(
                watch.as_fd(),
                if_name,
                flags | libc::IFF_UP as libc::c_short,
            )
            .map_err(setup("bringing it up"))?;
        }
        Ok(Self::attached(name, if_name, Some(fd), watch, uso))
    }

    /// Takes over a descriptor that another process had for the device `name`, which has ended. If
    /// the device was deleted meanwhile, that is handled as in an open port.
    ///
    /// # Errors
    /// Fails with the step that failed and the missing prerequisite.
    pub fn adopt(name: &str, fd: OwnedFd) -> Result<Self, TapError> {
        let if_name = interface_name(name).ok_or_else(|| TapError::Name(name.to_owned()))?;
        let watch = LinkWatch::open().map_err(|error| TapError::Setup {
            name: name.to_owned(),
            step: "listening for link changes (rtnetlink)",
            error,
        })?;
        let exists = sys::attached_name(fd.as_fd()).is_ok();
        let uso = exists && enable_offloads(name, fd.as_fd())?;
        let fd = exists.then_some(fd);
        Ok(Self::attached(name, if_name, fd, watch, uso))
    }

    fn attached(
        name: &str,
        if_name: IfName,
        fd: Option<OwnedFd>,
        watch: LinkWatch,
        uso: bool,
    ) -> Self {
        Self {
            name: format!("tap:{name}"),
            if_name,
            down_reason: fd.is_none().then(|| DELETED.to_owned()),
            fd,
            generation: 0,
            watch,
            uso,
            wanted: ALL,
            speed_mbps: DEFAULT_SPEED_MBPS,
            counters: PortCounters::default(),
            lifelines: LifelineReports::default(),
        }
    }

    /// Releases the device, which is gone.
    fn lose(&mut self) {
        self.fd = None;
        self.down_reason = Some(DELETED.to_owned());
    }

    /// Attaches to a device of the old one's name, if there is one: this port must not recreate a
    /// device that was deleted deliberately.
    fn take_up_again(&mut self) {
        if !sys::exists(self.watch.as_fd(), self.if_name).unwrap_or(false) {
            return;
        }
        let name = self.name.trim_start_matches("tap:").to_owned();
        match attach(&name, self.if_name, true) {
            Ok((fd, uso)) => {
                self.lifelines.report(fd.as_fd());
                (self.fd, self.uso, self.down_reason) = (Some(fd), uso, None);
                self.generation = self.generation.wrapping_add(1);
                self.set_wanted_offloads();
            }
            Err(error) => self.down_reason = Some(error.to_string()),
        }
    }

    /// Selects the offloads again that were selected last.
    fn set_wanted_offloads(&mut self) {
        let wanted = self.wanted;
        if let Err(error) = self.set_recv_offloads(wanted) {
            tracing::warn!(wire = self.name, %error, "cannot change the offloads of a wire");
        }
    }

    /// Handles the error of a failed read or write; returns `true` if it means that the link is
    /// down.
    fn link_lost(&mut self, errno: Errno) -> bool {
        // EBADFD: the device was deleted. EIO: it is down.
        if matches!(errno, Errno::BADFD | Errno::NODEV) {
            self.lose();
        }
        self.fd.is_none() || errno == Errno::IO
    }

    fn write(&mut self, frame: &[IoSlice<'_>], meta: &FrameMeta) -> Result<usize, SendError> {
        let len = checked_len(frame)?;
        let Some(fd) = &self.fd else {
            return Err(SendError::Down);
        };
        let header = VnetHeader::encode(meta, has_cwr(frame, meta));
        let mut slices = [IoSlice::new(&[]); MAX_SLICES + 1];
        slices[0] = IoSlice::new(header.as_bytes());
        slices[1..=frame.len()].copy_from_slice(frame);
        match rustix::io::writev(fd, &slices[..=frame.len()]) {
            Ok(_) => Ok(len),
            Err(Errno::AGAIN | Errno::INTR | Errno::NOBUFS) => Err(SendError::Full),
            Err(Errno::INVAL) => Err(SendError::Refused),
            Err(errno) if self.link_lost(errno) => Err(SendError::Down),
            Err(errno) => Err(SendError::Io(errno.into())),
        }
    }
}

impl Port for Tap {
    fn name(&self) -> &str {
        &self.name
    }

    fn poll_fd(&self) -> Option<BorrowedFd<'_>> {
        self.fd.as_ref().map(AsFd::as_fd)
    }

    fn lifeline(&self) -> Option<BorrowedFd<'_>> {
        self.poll_fd()
    }

    fn report_lifelines(&mut self, to: LifelineReports) {
        self.lifelines = to;
    }

    fn claim(&mut self) {
        // The other process has selected its own: they are the device's.
        self.set_wanted_offloads();
    }

    fn next_due(&self) -> Option<Instant> {
        None
    }

    fn capabilities(&self) -> PortCaps {
        PortCaps {
            checksum: true,
            tso4: true,
            tso6: true,
            uso: self.uso,
        }
    }

    fn set_recv_offloads(&mut self, offloads: PortCaps) -> io::Result<()> {
        let supported = PortCaps {
            uso: offloads.uso && self.uso,
            ..offloads
        };
        self.wanted = offloads;
        match &self.fd {
            Some(fd) => sys::set_offload(fd.as_fd(), tun_flags(supported)),
            None => Ok(()),
        }
    }

    fn recv(&mut self, buf: &mut [u8]) -> Result<Option<Received>, RecvError> {
        let Some(fd) = &self.fd else {
            return Err(RecvError::Down);
        };
        let mut header = VnetHeader::default();
        // The byte after the buffer distinguishes a frame that fills it from one that was
        // truncated.
        let mut beyond = [0_u8; 1];
        let read = rustix::io::readv(
            fd,
            &mut [
                IoSliceMut::new(header.as_mut_bytes()),
                IoSliceMut::new(buf),
                IoSliceMut::new(&mut beyond),
            ],
        );
        let len = match read {
            Ok(read) => read.saturating_sub(VNET_HEADER_LEN),
            Err(Errno::AGAIN | Errno::INTR) => return Ok(None),
            Err(errno) if self.link_lost(errno) => return Err(RecvError::Down),
            Err(errno) => return Err(RecvError::Io(errno.into())),
        };
        if len < MIN_FRAME_LEN {
            return Err(drop_received(&mut self.counters, RxDrop::Runt));
        }
        let Some(frame) = buf.get(..len) else {
            return Err(drop_received(&mut self.counters, RxDrop::TooBig));
        };
        let Ok(meta) = header.decode(frame) else {
            return Err(drop_received(&mut self.counters, RxDrop::BadOffload));
        };
        self.counters.received(meta.on_wire(len));
        Ok(Some(Received { len, meta }))
    }

    fn send(&mut self, frame: &[IoSlice<'_>], meta: &FrameMeta) -> Result<(), SendError> {
        let outcome = self.write(frame, meta);
        count_sent(&mut self.counters, frame, meta, outcome)
    }

    fn link(&mut self) -> LinkState {
        self.watch.drain();
        if self.fd.is_none() {
            self.take_up_again();
        }
        // The name is queried each time, because an interface can be renamed.
        let up = match self.fd.as_ref().map(|fd| sys::attached_name(fd.as_fd())) {
            Some(Ok(name)) => {
                self.speed_mbps =
                    sys::speed(self.watch.as_fd(), name).unwrap_or(DEFAULT_SPEED_MBPS);
                let flags = sys::flags(self.watch.as_fd(), name).unwrap_or(0);
                i32::from(flags) & libc::IFF_UP != 0
            }
            Some(Err(_)) => {
                self.lose();
                false
            }
            None => false,
        };
        LinkState {
            up,
            speed_mbps: self.speed_mbps,
        }
    }

    fn link_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.watch.as_fd())
    }

    // A device that returned before the loss of the old one was detected has already been
    // announced.
    fn is_unwatched(&self) -> bool {
        self.fd.is_none()
    }

    fn generation(&self) -> u32 {
        self.generation
    }

    fn down_reason(&self) -> Option<&str> {
        self.down_reason.as_deref()
    }

    fn counters(&self) -> &PortCounters {
        &self.counters
    }

    fn counters_mut(&mut self) -> &mut PortCounters {
        &mut self.counters
    }
}

/// Parses a name that the kernel accepts literally (`dev_valid_name`), without `%`, which would
/// make it a pattern.
pub(super) fn interface_name(name: &str) -> Option<IfName> {
    let bad = |c: char| matches!(c, '/' | ':' | '%' | ',') || c.is_whitespace();
    if matches!(name, "." | "..") || name.contains(bad) {
        return None;
    }
    IfName::new(name)
}

fn tun_flags(offloads: PortCaps) -> libc::c_uint {
    // Segmentation requires checksum offload; the kernel rejects it otherwise.
    if !offloads.checksum {
        return 0;
    }
    let mut flags = libc::TUN_F_CSUM;
    if offloads.tso4 {
        flags |= libc::TUN_F_TSO4;
    }
    if offloads.tso6 {
        flags |= libc::TUN_F_TSO6;
    }
    if offloads.tso4 || offloads.tso6 {
        flags |= libc::TUN_F_TSO_ECN;
    }
    if offloads.uso {
        flags |= libc::TUN_F_USO4 | libc::TUN_F_USO6;
    }
    flags
}

/// Returns whether the TCP header of a frame to be segmented has the CWR flag set.
fn has_cwr(frame: &[IoSlice<'_>], meta: &FrameMeta) -> bool {
    let (Some(gso), Checksum::Partial { start, .. }) = (meta.gso, meta.checksum) else {
        return false;
    };
    let flags = byte_at(frame, usize::from(start) + TCP_FLAGS_OFFSET);
    gso.kind != GsoKind::Udp && flags.is_some_and(|flags| flags & TCP_FLAG_CWR != 0)
}

fn byte_at(frame: &[IoSlice<'_>], mut at: usize) -> Option<u8> {
    for slice in frame {
        match slice.get(at) {
            Some(byte) => return Some(*byte),
            None => at -= slice.len(),
        }
    }
    None
}
