// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Helpers: they read the payload of a protocol that announces further connections, and rewrite
//! announcements if the connection is translated.

mod ftp;
mod h323;
mod irc;
mod pptp;
mod session;
mod sip;
mod text;
mod tftp;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::stats::DropReason;
use crate::table::Keys;
use crate::tuple::{Family, Protocol, Tuple};

use ftp::Ftp;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use h323::writer as h323_writer;
use h323::H323;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use pptp::session as pptp_session;
use pptp::Pptp;
pub(crate) use session::{Announced, Packet, Session};
use sip::Sip;
pub(crate) use sip::SIGNALLING;

/// A helper, which a commit assigns to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Helper {
    /// FTP (`nf_conntrack_ftp.c`, `nf_nat_ftp.c`): PORT, EPRT, PASV and EPSV.
    Ftp,
    /// TFTP (`nf_conntrack_tftp.c`).
    Tftp,
    /// IRC (`nf_conntrack_irc.c`, `nf_nat_irc.c`): DCC of a client.
    Irc,
    /// SIP (`nf_conntrack_sip.c`, `nf_nat_sip.c`): registrations, and the media of calls.
    Sip,
    /// PPTP (`nf_conntrack_pptp.c`, `nf_nat_pptp.c`): tunnels of GRE.
    Pptp,
    /// H.323's registration with a gatekeeper (`nf_conntrack_h323_main.c`, `nf_nat_h323.c`): calls.
    Ras,
    /// H.323's call signalling: connections of H.245, and the media of calls.
    Q931,
    /// H.323's control of channels: the media of calls. An expected connection gets it.
    H245,
}

/// The rules for a class of a helper's expectations (`struct nf_conntrack_expect_policy`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Class {
    /// The most expectations of a master.
    pub(crate) max: usize,
    /// The time for which a connection is expected.
    pub(crate) timeout: Duration,
}

const fn class(max: usize, seconds: u64) -> Class {
    Class {
        max,
        timeout: Duration::from_secs(seconds),
    }
}

impl Helper {
    /// All helpers.
    pub const ALL: [Helper; 8] = [
        Helper::Ftp,
        Helper::Tftp,
        Helper::Irc,
        Helper::Sip,
        Helper::Pptp,
        Helper::Ras,
        Helper::Q931,
        Helper::H245,
    ];

    /// The name that conntrack(8) shows.
    pub fn name(self) -> &'static str {
        match self {
            Helper::Ftp => "ftp",
            Helper::Tftp => "tftp",
            Helper::Irc => "irc",
            Helper::Sip => "sip",
            Helper::Pptp => "pptp",
            Helper::Ras => "RAS",
            Helper::Q931 => "Q.931",
            Helper::H245 => "H.245",
        }
    }

    /// The helper with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Helper::ALL.into_iter().find(|helper| helper.name() == name)
    }

    /// Reports whether the helper can be assigned to connections of a protocol and family.
    pub fn applies_to(self, protocol: Protocol, family: Family) -> bool {
        match self {
            Helper::Ftp | Helper::Q931 | Helper::H245 => protocol == Protocol::TCP,
            Helper::Tftp | Helper::Ras => protocol == Protocol::UDP,
            Helper::Irc | Helper::Pptp => (protocol, family) == (Protocol::TCP, Family::V4),
            Helper::Sip => matches!(protocol, Protocol::TCP | Protocol::UDP),
        }
    }

    /// The rules for a class of the helper's expectations. One that there is not has those of class 0.
    pub(crate) fn class(self, number: u8) -> Class {
        match (self, number) {
            (Helper::Ftp | Helper::Tftp, _) => class(1, 5 * 60),
            (Helper::Irc, _) => class(8, 5 * 60),
            // Audio, video, and image: data and control in both directions.
            (Helper::Sip, 1 | 2) => class(4, 3 * 60),
            (Helper::Sip, 3) => class(2, 3 * 60),
            (Helper::Sip, _) => class(1, 3 * 60),
            (Helper::Pptp, _) => class(2, 5 * 60),
            (Helper::Ras, _) => class(32, 4 * 60),
            // Two streams in two directions of four channels, and connections of T.120 and H.245.
            (Helper::Q931, _) => class(20, 4 * 60),
            (Helper::H245, _) => class(18, 4 * 60),
        }
    }
}

/// A helper and what it has seen of its connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum HelperState {
    Ftp(Ftp),
    Tftp,
    Irc,
    Sip(Sip),
    Pptp(Pptp),
    Ras(H323),
    Q931(H323),
    H245(H323),
}

impl From<Helper> for HelperState {
    fn from(helper: Helper) -> Self {
        match helper {
            Helper::Ftp => HelperState::Ftp(Ftp::default()),
            Helper::Tftp => HelperState::Tftp,
            Helper::Irc => HelperState::Irc,
            Helper::Sip => HelperState::Sip(Sip::default()),
            Helper::Pptp => HelperState::Pptp(Pptp::default()),
            Helper::Ras => HelperState::Ras(H323::default()),
            Helper::Q931 => HelperState::Q931(H323::default()),
            Helper::H245 => HelperState::H245(H323::default()),
        }
    }
}

impl HelperState {
    pub(crate) fn helper(&self) -> Helper {
        match self {
            HelperState::Ftp(_) => Helper::Ftp,
            HelperState::Tftp => Helper::Tftp,
            HelperState::Irc => Helper::Irc,
            HelperState::Sip(_) => Helper::Sip,
            HelperState::Pptp(_) => Helper::Pptp,
            HelperState::Ras(_) => Helper::Ras,
            HelperState::Q931(_) => Helper::Q931,
            HelperState::H245(_) => Helper::H245,
        }
    }

    /// The tuples of the connections that end with this one.
    pub(crate) fn siblings(&self, keys: &Keys) -> Option<[Tuple; 2]> {
        match self {
            HelperState::Pptp(pptp) => Some(pptp.tunnels(keys)),
            HelperState::Ftp(_)
            | HelperState::Tftp
            | HelperState::Irc
            | HelperState::Sip(_)
            | HelperState::Ras(_)
            | HelperState::Q931(_)
            | HelperState::H245(_) => None,
        }
    }

    /// Reads a packet of a connection.
    ///
    /// # Errors
    ///
    /// The cause for which the packet is to be dropped. Its sender will repeat it.
    pub(crate) fn read(&mut self, session: &mut Session<'_>) -> Result<(), DropReason> {
        match self {
            HelperState::Ftp(ftp) => ftp.read(session),
            HelperState::Tftp => tftp::read(session),
            HelperState::Irc => irc::read(session),
            HelperState::Sip(sip) => sip.read(session),
            HelperState::Pptp(pptp) => pptp.read(session),
            HelperState::Ras(h323) => h323.read_registration(session),
            HelperState::Q931(h323) => h323.read_signals(session),
            HelperState::H245(h323) => h323.read_control(session),
        }
    }
}
