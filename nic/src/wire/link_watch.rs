// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A monitor of changes to network interfaces (rtnetlink, group `RTNLGRP_LINK`).
//!
//! The notifications themselves are discarded: they only signal a change, and their users query the
//! interface. Nothing is parsed, and a lost notification (`ENOBUFS`) loses nothing.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{bind, recv, socket_with, AddressFamily, RecvFlags, SocketFlags, SocketType};

/// The maximum number of notifications discarded per call; any others keep the descriptor readable.
const MAX_DRAINED: usize = 1024;

/// A subscription to the link changes of the network namespace in which it was opened.
#[derive(Debug)]
pub(super) struct LinkWatch {
    socket: OwnedFd,
}

impl LinkWatch {
    /// Subscribes.
    pub(super) fn open() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        // Protocol 0 of netlink is NETLINK_ROUTE.
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
        let groups = libc::RTMGRP_LINK.unsigned_abs();
        bind(&socket, &SocketAddrNetlink::new(0, groups))?;
        Ok(Self { socket })
    }

    /// Discards the pending notifications.
    pub(super) fn drain(&self) {
        // A datagram longer than the buffer is truncated, which is fine: it is not read.
        let mut scrap = [0_u8; 16];
        for _ in 0..MAX_DRAINED {
            match recv(&self.socket, &mut scrap, RecvFlags::empty()) {
                Ok(_) | Err(Errno::NOBUFS | Errno::INTR) => {}
                Err(_) => return,
            }
        }
    }
}

impl AsFd for LinkWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
