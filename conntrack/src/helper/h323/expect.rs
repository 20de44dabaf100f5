// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Connections that messages announce, and the addresses in them.

use std::net::IpAddr;

use super::address::Address;
use super::signal::{Kind, Signal};
use super::{indices, H323};
use crate::bits::ExpectFlags;
use crate::expect::{ExpectFunction, ExpectNat};
use crate::helper::{Announced, Helper, Session};
use crate::stats::DropReason;
use crate::tuple::{Endpoint, Family, Protocol};

/// The address in a message, if it is of the connection's family.
pub(super) fn endpoint(
    session: &Session<'_>,
    payload: &[u8],
    address: Address,
) -> Option<Endpoint> {
    address.endpoint(payload, session.this().family())
}

/// The address in a message, if it is the sender's and has a port.
pub(super) fn own(session: &Session<'_>, payload: &[u8], address: Address) -> Option<Endpoint> {
    let found = endpoint(session, payload, address)?;
    (found.address == session.this().src().address && found.part != 0).then_some(found)
}

/// Reports whether addresses in messages are translated: Linux does so for IPv4 only.
pub(super) fn is_translated(session: &Session<'_>) -> bool {
    session.is_translated() && session.this().family() == Family::V4
}

/// Reports whether the sender's address is translated.
pub(super) fn is_own_translated(session: &Session<'_>) -> bool {
    is_translated(session) && session.this().src().address != session.other().dst().address
}

/// Replaces an address of IPv4 in the message.
pub(super) fn set(session: &mut Session<'_>, address: Address, new: Endpoint) {
    if let IpAddr::V4(ip) = new.address {
        let octets = [&ip.octets()[..], &new.part.to_be_bytes()].concat();
        session.replace(address.at..address.at + octets.len(), &octets);
    }
}

/// A connection from the message's receiver to a port of its sender.
pub(super) fn announced(session: &Session<'_>, protocol: Protocol, port: u16) -> Announced {
    let other = session.other();
    let dst = Endpoint {
        part: port,
        ..other.dst()
    };
    Announced::new(protocol, Some(other.src().address), dst)
}

/// The address that the receiver sees of the message's sender, with a port.
pub(super) fn seen(session: &Session<'_>, port: u16) -> Endpoint {
    Endpoint {
        part: port,
        ..session.other().dst()
    }
}

impl H323 {
    /// Expects a connection at the announced port or, if that is taken, another one, which is written
    /// into the message. Returns the port; without any, the message stays as it is.
    pub(super) fn expect_translated(
        session: &mut Session<'_>,
        address: Address,
        mut announced: Announced,
    ) -> Option<u16> {
        let port = session.expect_free_port(&mut announced).ok()?;
        let new = seen(session, port);
        set(session, address, new);
        Some(port)
    }

    /// The port at which the search for a translated one begins: what was announced before keeps its own.
    pub(super) fn first_port(&self, session: &Session<'_>, port: u16) -> u16 {
        let (this, other) = indices(session.packet.direction);
        match self.signalling[this] == port {
            true => self.signalling[other],
            false => port,
        }
    }

    pub(super) fn keep_ports(&mut self, session: &Session<'_>, port: u16, translated: u16) {
        let (this, other) = indices(session.packet.direction);
        (self.signalling[this], self.signalling[other]) = (port, translated);
    }

    /// Expects the connection for H.245 (`expect_h245`, `nat_h245`).
    pub(super) fn expect_control(
        &mut self,
        session: &mut Session<'_>,
        payload: &[u8],
        address: Address,
    ) -> Result<(), DropReason> {
        let Some(Endpoint { part: port, .. }) = own(session, payload, address) else {
            return Ok(());
        };
        let mut control = announced(session, Protocol::TCP, port);
        control.assigned = Some(Helper::H245);
        if !is_own_translated(session) {
            let expected = session.expect(&control);
            return expected.map(|_| ()).map_err(DropReason::Expectation);
        }
        control.nat = Some(session.follow_master(port));
        control.dst.part = self.first_port(session, port);
        if let Some(translated) = H323::expect_translated(session, address, control) {
            self.keep_ports(session, port, translated);
        }
        Ok(())
    }

    /// Expects a connection of T.120 (`expect_t120`, `nat_t120`).
    pub(super) fn expect_t120(
        &mut self,
        session: &mut Session<'_>,
        payload: &[u8],
        address: Address,
    ) -> Result<(), DropReason> {
        let Some(Endpoint { part: port, .. }) = own(session, payload, address) else {
            return Ok(());
        };
        let mut data = announced(session, Protocol::TCP, port);
        data.flags = ExpectFlags::PERMANENT;
        if !is_own_translated(session) {
            let expected = session.expect(&data);
            return expected.map(|_| ()).map_err(DropReason::Expectation);
        }
        data.nat = Some(session.follow_master(port));
        H323::expect_translated(session, address, data);
        Ok(())
    }

    /// Expects the call to the party to which it is forwarded (`expect_callforwarding`,
    /// `nat_callforwarding`). The tracker has no routes that would tell whether the call comes by
    /// (`callforward_do_filter`).
    pub(super) fn expect_forwarded(
        &mut self,
        session: &mut Session<'_>,
        payload: &[u8],
        address: Address,
    ) -> Result<(), DropReason> {
        let target = endpoint(session, payload, address).filter(|target| target.part != 0);
        let Some(target) = target else {
            return Ok(());
        };
        let caller = session.other().src().address;
        let mut call = Announced::new(Protocol::TCP, Some(caller), target);
        call.assigned = Some(Helper::Q931);
        if !is_own_translated(session) {
            let expected = session.expect(&call);
            return expected.map(|_| ()).map_err(DropReason::Expectation);
        }
        call.dst = seen(session, target.part);
        call.nat = Some(ExpectNat {
            direction: session.packet.direction.opposite(),
            target,
            function: ExpectFunction::CallForwarding,
        });
        H323::expect_translated(session, address, call);
        Ok(())
    }

    /// Translates the addresses of a Setup's parties, unless they are those that the receiver sees
    /// (`process_setup`).
    pub(super) fn translate_parties(
        &mut self,
        session: &mut Session<'_>,
        payload: &[u8],
        signal: &Signal,
    ) {
        if signal.kind != Kind::Setup || !is_translated(session) {
            return;
        }
        let other = session.other();
        for (address, new) in [(signal.called, other.src()), (signal.calling, other.dst())] {
            let Some(address) = address else {
                continue;
            };
            let found = endpoint(session, payload, address);
            if found.is_some_and(|found| found.address != new.address) {
                set(session, address, new);
            }
        }
    }
}
