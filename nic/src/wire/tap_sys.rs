// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Safe wrappers of the ioctls of TAP devices (`include/uapi/linux/if_tun.h`) and of network
//! interfaces (netdevice(7), `include/uapi/linux/ethtool.h`).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// `IFNAMSIZ`: the size of an interface name with its terminating zero.
pub(super) const IFNAMSIZ: usize = libc::IFNAMSIZ;

/// `ETHTOOL_GSET`: the link settings, in the layout of `struct ethtool_cmd`.
const ETHTOOL_GSET: u32 = 1;

/// An interface name, zero-terminated: at most 15 bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct IfName([u8; IFNAMSIZ]);

impl IfName {
    /// Converts a name that fits and contains no zero.
    pub(super) fn new(name: &str) -> Option<Self> {
        let mut bytes = [0; IFNAMSIZ];
        let fits = !name.is_empty() && name.len() < IFNAMSIZ && !name.contains('\0');
        fits.then(|| {
            bytes[..name.len()].copy_from_slice(name.as_bytes());
            Self(bytes)
        })
    }

    fn request(self) -> libc::ifreq {
        // SAFETY: ifreq is plain data of integers, arrays and a pointer; all zeroes is a valid
        // value.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        for (to, from) in request.ifr_name.iter_mut().zip(self.0) {
            *to = from as libc::c_char;
        }
        request
    }
}

/// Returns whether an interface of this name exists in the namespace of `socket`.
pub(super) fn exists(socket: BorrowedFd<'_>, name: IfName) -> io::Result<bool> {
    let mut request = name.request();
    // SAFETY: SIOCGIFINDEX takes an ifreq, which lives through the call, and fills its index.
    let rc = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFINDEX, &raw mut request) };
    match check(rc) {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The interface's `IFF_*` flags.
pub(super) fn flags(socket: BorrowedFd<'_>, name: IfName) -> io::Result<libc::c_short> {
    let mut request = name.request();
    // SAFETY: SIOCGIFFLAGS takes an ifreq, which lives through the call, and fills its flags.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS, &raw mut request) })?;
    // SAFETY: after success the flags are the union's live field (and any bits are valid in it).
    Ok(unsafe { request.ifr_ifru.ifru_flags })
}

/// Sets the interface's `IFF_*` flags.
pub(super) fn set_flags(
    socket: BorrowedFd<'_>,
    name: IfName,
    flags: libc::c_short,
) -> io::Result<()> {
    let mut request = name.request();
    request.ifr_ifru.ifru_flags = flags;
    // SAFETY: SIOCSIFFLAGS reads an ifreq, which lives through the call.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw mut request) })
}

/// The interface's speed in Mbit/s, if its driver reports one.
pub(super) fn speed(socket: BorrowedFd<'_>, name: IfName) -> Option<u32> {
    // struct ethtool_cmd: 44 bytes, eleven words; the speed's low half is the 16-bit field at
    // byte 12, its high half the one at byte 28.
    let mut settings = [0_u32; 11];
    settings[0] = ETHTOOL_GSET;
    let mut request = name.request();
    request.ifr_ifru.ifru_data = settings.as_mut_ptr().cast();
    // SAFETY: SIOCETHTOOL takes an ifreq that points to a command. For ETHTOOL_GSET that is a
    // struct ethtool_cmd of 44 bytes, which fits into `settings`; both live through the call.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) }).ok()?;
    let half = |word: u32| {
        u32::from(u16::from_ne_bytes([
            word.to_ne_bytes()[0],
            word.to_ne_bytes()[1],
        ]))
    };
    match half(settings[7]) << 16 | half(settings[3]) {
        // SPEED_UNKNOWN is all ones, in 16 bits in old drivers.
        0 | 0xffff | u32::MAX => None,
        speed => Some(speed),
    }
}

/// `TUNSETIFF`: creates the TAP device or attaches to it, with a virtio-net header.
pub(super) fn attach(tun: BorrowedFd<'_>, name: IfName) -> io::Result<()> {
    let mut request = name.request();
    request.ifr_ifru.ifru_flags =
        (libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR) as libc::c_short;
    // SAFETY: TUNSETIFF takes an ifreq, which lives through the call.
    check(unsafe { libc::ioctl(tun.as_raw_fd(), libc::TUNSETIFF, &raw mut request) })
}

/// `TUNGETIFF`: the device's current name; fails with `EBADFD` when the device is gone.
pub(super) fn attached_name(tun: BorrowedFd<'_>) -> io::Result<IfName> {
    // SAFETY: as in `IfName::request`.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // SAFETY: TUNGETIFF fills an ifreq, which lives through the call.
    check(unsafe { libc::ioctl(tun.as_raw_fd(), libc::TUNGETIFF, &raw mut request) })?;
    let mut name = [0; IFNAMSIZ];
    for (to, from) in name.iter_mut().zip(request.ifr_name) {
        *to = from as u8;
    }
    Ok(IfName(name))
}

/// `TUNSETVNETHDRSZ`: the length of the header before each frame, in bytes.
pub(super) fn set_vnet_header_len(tun: BorrowedFd<'_>, len: usize) -> io::Result<()> {
    let len =
        libc::c_int::try_from(len).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    // SAFETY: TUNSETVNETHDRSZ reads an int, which lives through the call.
    check(unsafe { libc::ioctl(tun.as_raw_fd(), libc::TUNSETVNETHDRSZ, &raw const len) })
}

/// `TUNSETVNETLE`: the header is little-endian on any host.
pub(super) fn set_vnet_little_endian(tun: BorrowedFd<'_>) -> io::Result<()> {
    let yes: libc::c_int = 1;
    // SAFETY: TUNSETVNETLE reads an int, which lives through the call.
    check(unsafe { libc::ioctl(tun.as_raw_fd(), libc::TUNSETVNETLE, &raw const yes) })
}

/// `TUNSETSNDBUF`: the maximum number of bytes of sent frames queued in the kernel.
pub(super) fn set_send_buffer(tun: BorrowedFd<'_>, bytes: libc::c_int) -> io::Result<()> {
    // SAFETY: TUNSETSNDBUF reads an int, which lives through the call.
    check(unsafe { libc::ioctl(tun.as_raw_fd(), libc::TUNSETSNDBUF, &raw const bytes) })
}

/// `TUNSETOFFLOAD`: the `TUN_F_*` offloads that the reader of this device supports.
pub(super) fn set_offload(tun: BorrowedFd<'_>, offload: libc::c_uint) -> io::Result<()> {
    // SAFETY: TUNSETOFFLOAD takes its argument by value; no memory is involved.
    check(unsafe {
        libc::ioctl(
            tun.as_raw_fd(),
            libc::TUNSETOFFLOAD,
            libc::c_ulong::from(offload),
        )
    })
}

fn check(rc: libc::c_int) -> io::Result<()> {
    if rc < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
