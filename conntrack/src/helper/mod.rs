// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Helpers: they read the payload of a protocol that announces further connections.

mod ftp;
mod tftp;

use std::net::IpAddr;
use std::time::Duration;

use crate::expect::Follow;
use crate::table::Keys;
use crate::tuple::{Direction, Endpoint, Protocol};

use ftp::Ftp;

/// The lifetime of an expectation of FTP and TFTP.
const TIMEOUT: Duration = Duration::from_secs(5 * 60);

/// A helper, which a commit assigns to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Helper {
    /// FTP (`nf_conntrack_ftp.c`): PORT, EPRT, PASV and EPSV. Of connections that are translated
    /// the announced addresses are not rewritten, and nothing is expected.
    Ftp,
    /// TFTP (`nf_conntrack_tftp.c`).
    Tftp,
}

impl Helper {
    /// The name that conntrack(8) shows.
    pub fn name(self) -> &'static str {
        match self {
            Helper::Ftp => "ftp",
            Helper::Tftp => "tftp",
        }
    }

    /// The protocol of the connections to which the helper can be assigned.
    pub fn protocol(self) -> Protocol {
        match self {
            Helper::Ftp => Protocol::TCP,
            Helper::Tftp => Protocol::UDP,
        }
    }
}

/// A helper and what it has seen of its connection.
#[derive(Clone, Debug)]
pub(crate) enum HelperState {
    Ftp(Ftp),
    Tftp,
}

impl From<Helper> for HelperState {
    fn from(helper: Helper) -> Self {
        match helper {
            Helper::Ftp => HelperState::Ftp(Ftp::default()),
            Helper::Tftp => HelperState::Tftp,
        }
    }
}

impl HelperState {
    pub(crate) fn helper(&self) -> Helper {
        match self {
            HelperState::Ftp(_) => Helper::Ftp,
            HelperState::Tftp => Helper::Tftp,
        }
    }
}

/// The packet and its connection, as a helper sees them.
pub(crate) struct Packet<'a> {
    pub(crate) keys: &'a Keys,
    pub(crate) direction: Direction,
    /// Packets were seen in both directions before.
    pub(crate) is_established: bool,
    pub(crate) is_translated: bool,
    /// The transport header and its payload.
    pub(crate) message: &'a [u8],
}

/// The connection that a packet announces.
pub(crate) struct Announced {
    pub(crate) protocol: Protocol,
    pub(crate) src: IpAddr,
    pub(crate) dst: Endpoint,
    pub(crate) timeout: Duration,
    pub(crate) follow: Option<Follow>,
}

/// The result of a helper for a packet.
pub(crate) enum Finding {
    Nothing,
    Expect(Announced),
    /// The packet has the beginning of an announcement. It is to be dropped, so that it comes again
    /// with the rest.
    Partial,
}

/// Reads a packet of a connection with a helper.
pub(crate) fn read(state: &mut HelperState, packet: &Packet<'_>) -> Finding {
    match state {
        HelperState::Ftp(ftp) => ftp.read(packet),
        HelperState::Tftp => tftp::read(packet),
    }
}
