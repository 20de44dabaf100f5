// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Messages of registration, admission and status (RAS).

use super::address::{self, Address};
use super::per::{Chosen, Reader, Result, Shape};
use super::shapes::{
    ALIAS, CALL_MODEL, CALL_TYPE, ENDPOINT, IDENTIFIER, NON_STANDARD, VENDOR, WORD,
};

/// The most addresses of a list that are followed.
const MAX_ADDRESSES: usize = 10;
/// The number of messages that every version has.
const MESSAGES: usize = 25;

/// Addresses of a list; those that are none of IP are absent.
pub(super) type Addresses = Vec<Option<Address>>;

/// The followed parts of a message of RAS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ras {
    /// GatekeeperRequest or LocationRequest: where the answer is to go.
    Ask(Option<Address>),
    /// GatekeeperConfirm: the gatekeeper's address.
    Gatekeeper(Option<Address>),
    /// RegistrationRequest: the addresses for calls, for RAS, and the seconds for which it is to last.
    Register(Addresses, Addresses, Option<u32>),
    /// RegistrationConfirm: the addresses for calls, and the seconds.
    Registered(Addresses, Option<u32>),
    /// UnregistrationRequest: the addresses for calls.
    Unregister(Addresses),
    /// AdmissionRequest: the addresses of the called and the calling party.
    Admit(Option<Address>, Option<Address>),
    /// AdmissionConfirm: the called party's address.
    Admitted(Option<Address>),
    /// LocationConfirm: the address for calls.
    Located(Option<Address>),
    /// InfoRequestResponse: the address for RAS, and those for calls.
    Status(Option<Address>, Addresses),
}

fn addresses(reader: &mut Reader<'_>) -> Result<Addresses> {
    let mut all = Vec::new();
    for _ in 0..reader.length()? {
        let one = address::h225(reader)?;
        if all.len() < MAX_ADDRESSES {
            all.push(one);
        }
    }
    Ok(all)
}

fn skip_if(reader: &mut Reader<'_>, is_there: bool, shape: &Shape) -> Result<()> {
    match is_there {
        true => reader.skip(shape),
        false => Ok(()),
    }
}

/// Reads the time to live among the additions: the second one.
fn lifetime(reader: &mut Reader<'_>, has_additions: bool) -> Result<Option<u32>> {
    let mut seconds = None;
    if has_additions {
        reader.additions(|number, mut value| {
            if number == 1 {
                seconds = Some(value.long()?.saturating_add(1));
            }
            Ok(())
        })?;
    }
    Ok(seconds)
}

/// Reads a message; absent if it is none that is followed.
pub(super) fn message(reader: &mut Reader<'_>) -> Result<Option<Ras>> {
    let Chosen::Root(kind) = reader.choice(MESSAGES)? else {
        return Ok(None);
    };
    let read = match kind {
        0 => gatekeeper_request,
        1 => gatekeeper_confirm,
        3 => registration_request,
        4 => registration_confirm,
        6 => unregistration_request,
        9 => admission_request,
        10 => admission_confirm,
        18 => location_request,
        19 => location_confirm,
        22 => info_request_response,
        _ => return Ok(None),
    };
    read(reader).map(Some)
}

fn gatekeeper_request(reader: &mut Reader<'_>) -> Result<Ras> {
    let (_, mut optional) = reader.sequence(4)?;
    reader.skip(&WORD)?;
    reader.skip(&Shape::Any)?;
    skip_if(reader, optional.next(), &NON_STANDARD)?;
    address::h225(reader).map(Ras::Ask)
}

fn gatekeeper_confirm(reader: &mut Reader<'_>) -> Result<Ras> {
    let (_, mut optional) = reader.sequence(2)?;
    reader.skip(&WORD)?;
    reader.skip(&Shape::Any)?;
    skip_if(reader, optional.next(), &NON_STANDARD)?;
    skip_if(reader, optional.next(), &IDENTIFIER)?;
    address::h225(reader).map(Ras::Gatekeeper)
}

fn registration_request(reader: &mut Reader<'_>) -> Result<Ras> {
    let (has_additions, mut optional) = reader.sequence(3)?;
    reader.skip(&WORD)?;
    reader.skip(&Shape::Any)?;
    skip_if(reader, optional.next(), &NON_STANDARD)?;
    reader.flag()?;
    let calls = addresses(reader)?;
    let ras = addresses(reader)?;
    reader.skip(&ENDPOINT)?;
    skip_if(reader, optional.next(), &Shape::List(&ALIAS))?;
    skip_if(reader, optional.next(), &IDENTIFIER)?;
    reader.skip(&VENDOR)?;
    Ok(Ras::Register(calls, ras, lifetime(reader, has_additions)?))
}

fn registration_confirm(reader: &mut Reader<'_>) -> Result<Ras> {
    let (has_additions, mut optional) = reader.sequence(3)?;
    reader.skip(&WORD)?;
    reader.skip(&Shape::Any)?;
    skip_if(reader, optional.next(), &NON_STANDARD)?;
    let calls = addresses(reader)?;
    skip_if(reader, optional.next(), &Shape::List(&ALIAS))?;
    skip_if(reader, optional.next(), &IDENTIFIER)?;
    reader.skip(&IDENTIFIER)?;
    Ok(Ras::Registered(calls, lifetime(reader, has_additions)?))
}

fn unregistration_request(reader: &mut Reader<'_>) -> Result<Ras> {
    reader.sequence(3)?;
    reader.skip(&WORD)?;
    addresses(reader).map(Ras::Unregister)
}

fn admission_request(reader: &mut Reader<'_>) -> Result<Ras> {
    let (_, mut optional) = reader.sequence(7)?;
    reader.skip(&WORD)?;
    reader.skip(&CALL_TYPE)?;
    skip_if(reader, optional.next(), &CALL_MODEL)?;
    reader.skip(&IDENTIFIER)?;
    skip_if(reader, optional.next(), &Shape::List(&ALIAS))?;
    let called = match optional.next() {
        true => address::h225(reader)?,
        false => None,
    };
    skip_if(reader, optional.next(), &Shape::List(&ALIAS))?;
    reader.skip_list(&ALIAS)?;
    let calling = match optional.next() {
        true => address::h225(reader)?,
        false => None,
    };
    Ok(Ras::Admit(called, calling))
}

fn admission_confirm(reader: &mut Reader<'_>) -> Result<Ras> {
    reader.sequence(2)?;
    reader.skip(&WORD)?;
    reader.skip(&Shape::Long)?;
    reader.skip(&CALL_MODEL)?;
    address::h225(reader).map(Ras::Admitted)
}

fn location_request(reader: &mut Reader<'_>) -> Result<Ras> {
    let (_, mut optional) = reader.sequence(2)?;
    reader.skip(&WORD)?;
    skip_if(reader, optional.next(), &IDENTIFIER)?;
    reader.skip_list(&ALIAS)?;
    skip_if(reader, optional.next(), &NON_STANDARD)?;
    address::h225(reader).map(Ras::Ask)
}

fn location_confirm(reader: &mut Reader<'_>) -> Result<Ras> {
    reader.sequence(1)?;
    reader.skip(&WORD)?;
    address::h225(reader).map(Ras::Located)
}

fn info_request_response(reader: &mut Reader<'_>) -> Result<Ras> {
    let (_, mut optional) = reader.sequence(3)?;
    skip_if(reader, optional.next(), &NON_STANDARD)?;
    reader.skip(&WORD)?;
    reader.skip(&ENDPOINT)?;
    reader.skip(&IDENTIFIER)?;
    let ras = address::h225(reader)?;
    Ok(Ras::Status(ras, addresses(reader)?))
}
