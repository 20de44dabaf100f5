// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Registrations with a gatekeeper, and the calls that they announce.

use std::net::IpAddr;
use std::time::Duration;

use super::address::Address;
use super::expect::{announced, endpoint, is_translated, own, set};
use super::per::Reader;
use super::registration::{self, Addresses, Ras};
use super::{indices, H323};
use crate::bits::{ExpectFlags, Status};
use crate::expect::ExpectFunction;
use crate::helper::{Announced, Helper, Session};
use crate::stats::DropReason;
use crate::tuple::{Endpoint, Protocol};

/// The seconds of a registration that does not have any (`default_rrq_ttl`).
const DEFAULT_LIFETIME: u32 = 300;
/// The longest time for which a registration keeps its connection: that of an established one of TCP.
const MAX_LIFETIME: u32 = 432_000;
/// The time in which a registration that is to end is answered.
const ENDING: Duration = Duration::from_secs(30);

impl H323 {
    /// Reads a datagram (`ras_help`).
    pub(in crate::helper) fn read_registration(
        &mut self,
        session: &mut Session<'_>,
    ) -> Result<(), DropReason> {
        let Some(payload) = session.received() else {
            return Ok(());
        };
        let message = Reader::new(payload, 0..payload.len())
            .and_then(|mut reader| registration::message(&mut reader));
        let Ok(Some(message)) = message else {
            return Ok(());
        };
        match message {
            Ras::Ask(address) => self.translate_ras(session, payload, &[address]),
            Ras::Gatekeeper(address) => return expect_gatekeeper(session, payload, address),
            Ras::Register(calls, ras, lifetime) => {
                self.expect_calls(session, payload, &calls)?;
                self.translate_ras(session, payload, &ras);
                self.lifetime = lifetime.unwrap_or(DEFAULT_LIFETIME);
            }
            Ras::Registered(calls, lifetime) => {
                self.translate_calls(session, payload, &calls);
                self.lifetime = lifetime.unwrap_or(self.lifetime);
                if self.lifetime > 0 {
                    let seconds = self.lifetime.min(MAX_LIFETIME);
                    session.timeout = Some(Duration::from_secs(seconds.into()));
                }
                // Linux means to set the timeout of the expected calls as well, but looks for one from
                // no address, and never finds it.
            }
            Ras::Unregister(calls) => {
                self.translate_calls(session, payload, &calls);
                session.forget(usize::MAX, |_| true);
                self.signalling = [0; 2];
                session.timeout = Some(ENDING);
            }
            Ras::Admit(called, calling) => {
                self.translate_admission(session, payload, called, calling)
            }
            Ras::Admitted(address) => {
                let found = address.and_then(|address| endpoint(session, payload, address));
                let Some(found) = found else {
                    return Ok(());
                };
                if found.address != session.this().dst().address {
                    return expect_call(session, found);
                }
                self.translate_calls(session, payload, &[address]);
            }
            Ras::Located(address) => {
                let found = address.and_then(|address| endpoint(session, payload, address));
                if let Some(found) = found {
                    return expect_call(session, found);
                }
            }
            Ras::Status(ras, calls) => {
                self.translate_ras(session, payload, &[ras]);
                self.translate_calls(session, payload, &calls);
            }
        }
        Ok(())
    }

    /// Expects calls to the first address that is the sender's (`expect_q931`, `nat_q931`).
    fn expect_calls(
        &mut self,
        session: &mut Session<'_>,
        payload: &[u8],
        addresses: &Addresses,
    ) -> Result<(), DropReason> {
        let found = addresses.iter().enumerate().find_map(|(number, address)| {
            let address = (*address)?;
            own(session, payload, address).map(|found| (number, address, found.part))
        });
        let Some((number, address, port)) = found else {
            return Ok(());
        };
        let mut calls = announced(session, Protocol::TCP, port);
        calls.assigned = Some(Helper::Q931);
        calls.flags = ExpectFlags::PERMANENT;
        if !is_translated(session) {
            session.expect(&calls).map_err(DropReason::Expectation)?;
            self.signalling[session.packet.direction as usize] = port;
            return Ok(());
        }
        let mut nat = session.follow_master(port);
        nat.function = ExpectFunction::Q931;
        calls.nat = Some(nat);
        calls.dst.part = self.first_port(session, port);
        if let Some(translated) = H323::expect_translated(session, address, calls) {
            self.keep_ports(session, port, translated);
            if number > 0 {
                set_local(session, payload, addresses, translated);
            }
        }
        Ok(())
    }

    /// Translates the address at which the sender receives answers (`set_ras_addr`).
    fn translate_ras(
        &self,
        session: &mut Session<'_>,
        payload: &[u8],
        addresses: &[Option<Address>],
    ) {
        if !is_translated(session) {
            return;
        }
        let (src, new) = (session.this().src(), session.other().dst());
        let mut all = addresses.iter().flatten();
        if let Some(own) = all.find(|address| endpoint(session, payload, **address) == Some(src)) {
            set(session, *own, new);
        }
    }

    /// Translates the address of the connection for calls that was announced (`set_sig_addr`).
    fn translate_calls(
        &self,
        session: &mut Session<'_>,
        payload: &[u8],
        addresses: &[Option<Address>],
    ) {
        if !is_translated(session) {
            return;
        }
        let (this, other) = indices(session.packet.direction);
        let (known, translated) = (self.signalling[this], self.signalling[other]);
        let with_port = |end: Endpoint| Endpoint {
            part: translated,
            ..end
        };
        for (number, address) in addresses.iter().enumerate() {
            let Some(address) = *address else {
                continue;
            };
            let found = endpoint(session, payload, address);
            let Some(found) = found.filter(|found| found.part == known) else {
                continue;
            };
            if found.address == session.this().src().address {
                let is_local = number > 0 && set_local(session, payload, addresses, translated);
                if !is_local {
                    let new = with_port(session.other().dst());
                    set(session, address, new);
                }
                return;
            }
            if found.address == session.this().dst().address {
                let new = with_port(session.other().src());
                set(session, address, new);
                return;
            }
        }
    }

    /// Translates the sender's address in a request to call or to be called (`process_arq`).
    fn translate_admission(
        &self,
        session: &mut Session<'_>,
        payload: &[u8],
        called: Option<Address>,
        calling: Option<Address>,
    ) {
        if !is_translated(session) {
            return;
        }
        let (this, other) = indices(session.packet.direction);
        let src = session.this().src().address;
        let sender = |address: Option<Address>| {
            let address = address?;
            let found = endpoint(session, payload, address)?;
            (found.address == src).then_some((address, found.part))
        };
        let is_known = |&(_, port): &(Address, u16)| port == self.signalling[this];
        let answering = sender(called).filter(is_known);
        let answering = answering.map(|(address, _)| (address, self.signalling[other]));
        if let Some((address, port)) = answering.or_else(|| sender(calling)) {
            let new = super::expect::seen(session, port);
            set(session, address, new);
        }
    }
}

/// Writes the translated address in place of the first one, if that is one of the host itself: Gnomemeeting
/// announces it. Returns whether it is.
fn set_local(
    session: &mut Session<'_>,
    payload: &[u8],
    addresses: &[Option<Address>],
    port: u16,
) -> bool {
    let first = addresses.first().copied().flatten();
    let local = first.filter(|first| {
        let found = endpoint(session, payload, *first);
        found.is_some_and(|found| matches!(found.address, IpAddr::V4(ip) if ip.is_loopback()))
    });
    if let Some(first) = local {
        let new = super::expect::seen(session, port);
        set(session, first, new);
    }
    local.is_some()
}

/// Expects registrations with the gatekeeper that was found, unless it is the one that answers
/// (`process_gcf`).
fn expect_gatekeeper(
    session: &Session<'_>,
    payload: &[u8],
    address: Option<Address>,
) -> Result<(), DropReason> {
    let found = address.and_then(|address| endpoint(session, payload, address));
    let is_expected = session.packet.status.contains(Status::EXPECTED);
    let Some(found) = found.filter(|found| *found != session.this().src() && !is_expected) else {
        return Ok(());
    };
    let client = session.other().src().address;
    let mut registration = Announced::new(Protocol::UDP, Some(client), found);
    registration.assigned = Some(Helper::Ras);
    let expected = session.expect(&registration);
    expected.map(|_| ()).map_err(DropReason::Expectation)
}

/// Expects calls to an address that the gatekeeper names (`process_acf`, `process_lcf`).
fn expect_call(session: &Session<'_>, called: Endpoint) -> Result<(), DropReason> {
    let caller = session.other().src().address;
    let mut call = Announced::new(Protocol::TCP, Some(caller), called);
    call.assigned = Some(Helper::Q931);
    call.flags = ExpectFlags::PERMANENT;
    session
        .expect(&call)
        .map(|_| ())
        .map_err(DropReason::Expectation)
}
