// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Messages of call signalling: those of H.225 in an information element of Q.931.

use super::address::{self, Address};
use super::channel::{self, Opened};
use super::per::{Chosen, Malformed, Reader, Result, Shape};
use super::shapes::{ALIAS, CALL_TYPE, ENDPOINT, GOAL, NON_STANDARD, SERVICES, WORD};

/// The protocol discriminator of Q.931.
const Q931: u8 = 8;
/// The information element that carries a message of H.225.
const USER_USER: u8 = 0x7e;
/// The most channels of a fast start, and the most messages of H.245 beside a message.
const MAX_CHANNELS: usize = 30;
const MAX_TUNNELLED: usize = 4;

/// The kind of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Kind {
    /// One of which addresses are followed as of others.
    #[default]
    Other,
    Setup,
    /// A Facility that forwards the call.
    Forwarded,
}

/// The followed parts of a message of Q.931.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Signal {
    pub(super) kind: Kind,
    /// The address of the connection for H.245.
    pub(super) h245: Option<Address>,
    /// The addresses of a Setup's called and calling party.
    pub(super) called: Option<Address>,
    pub(super) calling: Option<Address>,
    /// The address to which a call is forwarded.
    pub(super) forwarded: Option<Address>,
    /// The channels of a fast start.
    pub(super) fast_start: Vec<Opened>,
    /// Messages of H.245 that open channels.
    pub(super) tunnelled: Vec<Opened>,
}

/// A reader of the message of H.225 in one of Q.931.
pub(super) fn user_user<'a>(mut q931: Reader<'a>, payload: &'a [u8]) -> Result<Reader<'a>> {
    if q931.bits(8)? != u32::from(Q931) {
        return Err(Malformed);
    }
    let reference = q931.bits(8)?;
    q931.octets(reference as usize)?;
    // The type of the message.
    q931.bits(8)?;
    if q931.peek()? & 0x80 != 0 {
        q931.bits(8)?;
    }
    loop {
        let element = q931.bits(8)? as u8;
        if element != USER_USER {
            let length = q931.bits(8)?;
            q931.octets(length as usize)?;
            continue;
        }
        let length = q931.bits(16)? as usize;
        let element = q931.octets(length)?;
        // Behind the protocol discriminator of the element.
        let start = element.start + 1;
        if start >= element.end {
            return Err(Malformed);
        }
        return Reader::new(payload, start..element.end);
    }
}

/// Reads an H323-UserInformation.
pub(super) fn user_information(reader: &mut Reader<'_>) -> Result<Signal> {
    reader.sequence(1)?;
    let (has_additions, mut optional) = reader.sequence(1)?;
    let mut signal = body(reader)?;
    if optional.next() {
        reader.skip(&NON_STANDARD)?;
    }
    if has_additions {
        reader.additions(|number, mut value| {
            if number == TUNNELLED {
                for _ in 0..value.length()?.min(MAX_TUNNELLED) {
                    let message = channel::message(&mut value.open()?)?;
                    signal.tunnelled.extend(message);
                }
            }
            Ok(())
        })?;
    }
    Ok(signal)
}

/// The number of the tunnelled messages among the additions to a PDU.
const TUNNELLED: usize = 2;
/// The number of kinds of messages that every version has.
const BODIES: usize = 7;

fn body(reader: &mut Reader<'_>) -> Result<Signal> {
    match reader.choice(BODIES)? {
        Chosen::Root(0) => setup(reader),
        // CallProceeding and Alerting.
        Chosen::Root(1 | 3) => proceeding(reader),
        Chosen::Root(2) => connect(reader),
        Chosen::Root(6) => facility(reader),
        Chosen::Root(number) => {
            other(reader, number)?;
            Ok(Signal::default())
        }
        Chosen::Added(0, mut value) => progress(&mut value),
        Chosen::Added(..) => Ok(Signal::default()),
    }
}

/// Passes over an Information or a ReleaseComplete: messages of H.245 may follow.
fn other(reader: &mut Reader<'_>, number: usize) -> Result<()> {
    /// The reasons of a ReleaseComplete that every version has.
    const REASON: Shape = Shape::Choice(true, &[const { Shape::Nothing }; 12]);
    const RELEASE: Shape = Shape::Sequence(true, &[(false, Shape::Any), (true, REASON)]);
    const INFORMATION: Shape = Shape::Sequence(true, &[(false, Shape::Any)]);
    reader.skip(if number == 5 { &RELEASE } else { &INFORMATION })
}

/// Reads a TransportAddress, if it is there.
fn optional_address(reader: &mut Reader<'_>, is_there: bool) -> Result<Option<Address>> {
    match is_there {
        true => address::h225(reader),
        false => Ok(None),
    }
}

fn fast_start(mut value: Reader<'_>) -> Result<Vec<Opened>> {
    let count = value.length()?;
    let mut all = Vec::new();
    for _ in 0..count.min(MAX_CHANNELS) {
        all.push(channel::open(&mut value.open()?)?);
    }
    Ok(all)
}

/// Reads the additions of a message, of which the fast start has a number.
fn additions(reader: &mut Reader<'_>, signal: &mut Signal, number_of_start: usize) -> Result<()> {
    reader.additions(|number, value| {
        if number == number_of_start {
            signal.fast_start = fast_start(value)?;
        }
        Ok(())
    })
}

fn setup(reader: &mut Reader<'_>) -> Result<Signal> {
    let (has_additions, mut optional) = reader.sequence(7)?;
    reader.skip(&Shape::Any)?;
    let mut signal = Signal {
        kind: Kind::Setup,
        h245: optional_address(reader, optional.next())?,
        ..Signal::default()
    };
    if optional.next() {
        reader.skip_list(&ALIAS)?;
    }
    reader.skip(&ENDPOINT)?;
    if optional.next() {
        reader.skip_list(&ALIAS)?;
    }
    signal.called = optional_address(reader, optional.next())?;
    if optional.next() {
        reader.skip_list(&ALIAS)?;
    }
    if optional.next() {
        reader.skip_list(&WORD)?;
    }
    reader.flag()?;
    reader.octets(16)?;
    reader.skip(&GOAL)?;
    if optional.next() {
        reader.skip(&SERVICES)?;
    }
    reader.skip(&CALL_TYPE)?;
    if has_additions {
        reader.additions(|number, mut value| {
            match number {
                0 => signal.calling = address::h225(&mut value)?,
                6 => signal.fast_start = fast_start(value)?,
                _ => {}
            }
            Ok(())
        })?;
    }
    Ok(signal)
}

fn proceeding(reader: &mut Reader<'_>) -> Result<Signal> {
    let (has_additions, mut optional) = reader.sequence(1)?;
    reader.skip(&Shape::Any)?;
    reader.skip(&ENDPOINT)?;
    let mut signal = Signal {
        h245: optional_address(reader, optional.next())?,
        ..Signal::default()
    };
    if has_additions {
        additions(reader, &mut signal, 4)?;
    }
    Ok(signal)
}

fn connect(reader: &mut Reader<'_>) -> Result<Signal> {
    let (has_additions, mut optional) = reader.sequence(1)?;
    reader.skip(&Shape::Any)?;
    let mut signal = Signal {
        h245: optional_address(reader, optional.next())?,
        ..Signal::default()
    };
    reader.skip(&ENDPOINT)?;
    reader.octets(16)?;
    if has_additions {
        additions(reader, &mut signal, 4)?;
    }
    Ok(signal)
}

fn facility(reader: &mut Reader<'_>) -> Result<Signal> {
    /// The reasons that every version has, and the one of a forwarded call.
    const REASONS: usize = 4;
    const CALL_FORWARDED: usize = 1;
    let (has_additions, mut optional) = reader.sequence(3)?;
    reader.skip(&Shape::Any)?;
    let mut signal = Signal {
        forwarded: optional_address(reader, optional.next())?,
        ..Signal::default()
    };
    if optional.next() {
        reader.skip_list(&ALIAS)?;
    }
    if optional.next() {
        reader.octets(16)?;
    }
    if let Chosen::Root(CALL_FORWARDED) = reader.choice(REASONS)? {
        signal.kind = Kind::Forwarded;
    }
    if has_additions {
        reader.additions(|number, mut value| {
            match number {
                6 => signal.h245 = address::h225(&mut value)?,
                7 => signal.fast_start = fast_start(value)?,
                _ => {}
            }
            Ok(())
        })?;
    }
    Ok(signal)
}

/// Reads a Progress. With security modes or tokens, nothing behind the address for H.245 is read.
fn progress(reader: &mut Reader<'_>) -> Result<Signal> {
    let (_, mut optional) = reader.sequence(5)?;
    reader.skip(&Shape::Any)?;
    reader.skip(&ENDPOINT)?;
    let mut signal = Signal {
        h245: optional_address(reader, optional.next())?,
        ..Signal::default()
    };
    reader.skip(&Shape::Sequence(true, &[(false, Shape::Octets(16))]))?;
    let is_secured = [optional.next(), optional.next(), optional.next()].contains(&true);
    if !is_secured && optional.next() {
        signal.fast_start = fast_start(*reader)?;
    }
    Ok(signal)
}
