// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Permissions of clients, by the credentials of the peer.
//!
//! The mode of the socket's file decides who can connect, and so who can look. Only some of those
//! may change anything: root, the daemon's own user, and the users and groups that the operator
//! names. The credentials are those of the peer's process when it connected (`SO_PEERCRED`,
//! `SO_PEERGROUPS`, unix(7)): a descriptor that is passed on keeps them.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd};

/// The ids that a kernel shows for users and groups outside of the reader's user namespace
/// (/proc/sys/kernel/overflowuid). They are nobody's in particular.
const OVERFLOW_ID: u32 = 65_534;
/// The maximum number of supplementary groups of a process (NGROUPS_MAX).
const MAX_GROUPS: usize = 65_536;

/// The credentials of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its process; 0 if it is not visible from the daemon's PID namespace.
    pub pid: i32,
    /// Its effective user.
    pub uid: u32,
    /// Its effective group, then its supplementary groups.
    pub groups: Vec<u32>,
}

impl Peer {
    /// The peer of a connected UNIX socket.
    ///
    /// # Errors
    /// Fails when the socket is none.
    pub fn of(socket: impl AsFd) -> io::Result<Self> {
        // Not rustix's socket_peercred: its type for the process cannot be 0.
        let mut credentials = [libc::ucred {
            pid: 0,
            uid: OVERFLOW_ID,
            gid: OVERFLOW_ID,
        }];
        let len = get_option(&socket, libc::SO_PEERCRED, &mut credentials)?;
        let [credentials] = credentials;
        if len != size_of::<libc::ucred>() {
            return Err(io::Error::other("no credentials of the peer"));
        }
        let mut groups = vec![0; 64];
        let len = loop {
            match get_option(&socket, libc::SO_PEERGROUPS, &mut groups) {
                Err(error)
                    if error.raw_os_error() == Some(libc::ERANGE) && groups.len() < MAX_GROUPS =>
                {
                    groups.resize(groups.len() * 4, 0);
                }
                other => break other?,
            }
        };
        groups.truncate(len / size_of::<u32>());
        groups.insert(0, credentials.gid);
        Ok(Self {
            pid: credentials.pid,
            uid: credentials.uid,
            groups,
        })
    }
}

/// Values that a socket option can be read into: every content is valid.
trait Plain {}
impl Plain for libc::ucred {}
impl Plain for u32 {}

/// Reads an option of level `SOL_SOCKET`; returns the length in bytes of what was written.
fn get_option<T: Plain>(socket: impl AsFd, option: i32, value: &mut [T]) -> io::Result<usize> {
    let mut len = libc::socklen_t::try_from(size_of_val(value)).map_err(io::Error::other)?;
    // SAFETY: the descriptor is borrowed for the call; the kernel writes at most `len` bytes, which
    // `value` has, and any bytes are valid for its type.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            option,
            value.as_mut_ptr().cast(),
            &mut len,
        )
    };
    match result {
        0 => Ok(len as usize),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The users and groups that may change something.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// Users, besides root and the daemon's.
    pub users: Vec<u32>,
    /// Groups.
    pub groups: Vec<u32>,
}

impl Access {
    /// Returns whether a client may use the methods that change something.
    #[must_use]
    pub fn may_change(&self, peer: &Peer) -> bool {
        self.is_trusted(peer)
            || (peer.uid != OVERFLOW_ID && self.users.contains(&peer.uid))
            || peer
                .groups
                .iter()
                .any(|group| *group != OVERFLOW_ID && self.groups.contains(group))
    }

    /// Returns whether a client is root or the daemon's own user: limits that others share do not
    /// lock it out.
    #[must_use]
    pub fn is_trusted(&self, peer: &Peer) -> bool {
        let own = rustix::process::geteuid().as_raw();
        peer.uid == 0 || (peer.uid == own && peer.uid != OVERFLOW_ID)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    #[test]
    fn the_peer_of_a_socket_is_this_process() {
        let (one, _other) = UnixStream::pair().unwrap();
        let peer = Peer::of(&one).unwrap();
        assert_eq!(peer.pid, std::process::id() as i32);
        assert_eq!(peer.uid, rustix::process::geteuid().as_raw());
        assert_eq!(peer.groups[0], rustix::process::getegid().as_raw());
        for group in rustix::process::getgroups().unwrap() {
            assert!(peer.groups.contains(&group.as_raw()), "{group:?}");
        }
        assert!(Access::default().may_change(&peer));
    }

    #[test]
    fn what_has_no_peer_is_an_error() {
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(Peer::of(&file).is_err());
    }

    #[test]
    fn others_change_nothing_unless_they_are_named() {
        let own = rustix::process::geteuid().as_raw();
        let peer = |uid: u32, groups: &[u32]| Peer {
            pid: 1,
            uid,
            groups: groups.to_vec(),
        };
        let access = Access {
            users: vec![own + 1, OVERFLOW_ID],
            groups: vec![7_001, OVERFLOW_ID],
        };
        let other = own + 2;
        for (expected, peer) in [
            (true, peer(0, &[0])),
            (true, peer(own, &[])),
            (true, peer(own + 1, &[5])),
            (true, peer(other, &[5, 7_001])),
            (true, peer(other, &[7_001])),
            (false, peer(other, &[5])),
            (false, peer(other, &[0])),
            (false, peer(other, &[])),
            (false, peer(OVERFLOW_ID, &[OVERFLOW_ID])),
        ] {
            assert_eq!(access.may_change(&peer), expected, "{peer:?}");
        }
        assert!(!access.is_trusted(&peer(own + 1, &[7_001])));
    }
}
