// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Messages of H.245 that open channels.

use super::address::{self, Address};
use super::per::{Chosen, Reader, Result, Shape};
use super::shapes::{
    AUDIO, DATA_PROTOCOL, ENCRYPTION, H222, H223, NLPID, NON_STANDARD_245, T84, V76, VIDEO, WORD,
};

/// The addresses of a channel's media and of their control.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Channel {
    pub(super) media: Option<Address>,
    pub(super) control: Option<Address>,
}

/// A message that opens a channel, or its answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Opened {
    /// The channels of both directions.
    pub(super) channels: [Option<Channel>; 2],
    /// The address of a T.120 server.
    pub(super) t120: Option<Address>,
}

/// The number of alternatives of a message, a request, a response and a type of data that every version has.
const MESSAGES: usize = 4;
const REQUESTS: usize = 11;
const RESPONSES: usize = 19;
const DATA_TYPES: usize = 6;
const APPLICATIONS: usize = 10;
/// The alternatives that are followed.
const REQUEST: usize = 0;
const RESPONSE: usize = 1;
const OPEN: usize = 3;
const OPEN_ACK: usize = 5;
/// A connection of its own, among the additions to the protocols of data.
const SEPARATE_STACK: usize = 3;

/// Reads a message of H.245; absent if it opens no channel.
pub(super) fn message(reader: &mut Reader<'_>) -> Result<Option<Opened>> {
    let Chosen::Root(kind) = reader.choice(MESSAGES)? else {
        return Ok(None);
    };
    match kind {
        REQUEST => match reader.choice(REQUESTS)? {
            Chosen::Root(OPEN) => open(reader).map(Some),
            Chosen::Root(_) | Chosen::Added(..) => Ok(None),
        },
        RESPONSE => match reader.choice(RESPONSES)? {
            Chosen::Root(OPEN_ACK) => acknowledgement(reader).map(Some),
            Chosen::Root(_) | Chosen::Added(..) => Ok(None),
        },
        _ => Ok(None),
    }
}

/// Reads an OpenLogicalChannel.
pub(super) fn open(reader: &mut Reader<'_>) -> Result<Opened> {
    let (has_additions, mut optional) = reader.sequence(1)?;
    reader.skip(&WORD)?;
    let (is_t120, forward) = forward(reader)?;
    let reverse = match optional.next() {
        true => reverse(reader)?,
        false => None,
    };
    let mut opened = Opened {
        channels: [forward, reverse],
        t120: None,
    };
    if has_additions {
        reader.additions(|number, mut value| {
            if number == 0 && is_t120 {
                opened.t120 = separate_stack(&mut value)?;
            }
            Ok(())
        })?;
    }
    Ok(opened)
}

/// Reads the forward parameters: whether they are those of T.120 in a connection of its own, and the channel.
fn forward(reader: &mut Reader<'_>) -> Result<(bool, Option<Channel>)> {
    let (has_additions, mut optional) = reader.sequence(1)?;
    if optional.next() {
        reader.skip(&WORD)?;
    }
    let is_t120 = data_type(reader)?;
    let channel = multiplex(reader, &[&H222, &H223, &V76])?;
    if has_additions {
        reader.additions(|_, _| Ok(()))?;
    }
    Ok((is_t120, channel))
}

fn reverse(reader: &mut Reader<'_>) -> Result<Option<Channel>> {
    let (has_additions, mut optional) = reader.sequence(1)?;
    data_type(reader)?;
    let channel = match optional.next() {
        true => multiplex(reader, &[&H223, &V76])?,
        false => None,
    };
    if has_additions {
        reader.additions(|_, _| Ok(()))?;
    }
    Ok(channel)
}

/// Reads the parameters of a multiplex: those of H.225 are the first ones that were added.
fn multiplex(reader: &mut Reader<'_>, others: &[&Shape]) -> Result<Option<Channel>> {
    match reader.choice(others.len())? {
        Chosen::Root(number) => reader.skip(others[number]).map(|()| None),
        Chosen::Added(0, mut value) => channel(&mut value).map(Some),
        Chosen::Added(..) => Ok(None),
    }
}

/// Reads the type of data. Returns whether it is T.120 in a connection of its own.
fn data_type(reader: &mut Reader<'_>) -> Result<bool> {
    let Chosen::Root(kind) = reader.choice(DATA_TYPES)? else {
        return Ok(false);
    };
    match kind {
        0 => reader.skip(&NON_STANDARD_245)?,
        1 => {}
        2 => reader.skip(&VIDEO)?,
        3 => reader.skip(&AUDIO)?,
        4 => return data(reader),
        _ => reader.skip(&ENCRYPTION)?,
    }
    Ok(false)
}

/// Reads a DataApplicationCapability.
fn data(reader: &mut Reader<'_>) -> Result<bool> {
    let (has_additions, _) = reader.sequence(0)?;
    let mut is_t120 = false;
    if let Chosen::Root(application) = reader.choice(APPLICATIONS)? {
        match application {
            0 => reader.skip(&NON_STANDARD_245)?,
            1 => is_t120 = has_separate_stack(reader)?,
            2 | 3 | 5 | 6 | 9 => reader.skip(&DATA_PROTOCOL)?,
            4 => reader.skip(&T84)?,
            7 => reader.skip(&NLPID)?,
            _ => {}
        }
    }
    reader.skip(&Shape::Long)?;
    if has_additions {
        reader.additions(|_, _| Ok(()))?;
    }
    Ok(is_t120)
}

/// Reads a DataProtocolCapability.
fn has_separate_stack(reader: &mut Reader<'_>) -> Result<bool> {
    let Shape::Choice(_, alternatives) = DATA_PROTOCOL else {
        return Ok(false);
    };
    match reader.choice(alternatives.len())? {
        Chosen::Root(number) => reader.skip(&alternatives[number]).map(|()| false),
        Chosen::Added(number, _) => Ok(number == SEPARATE_STACK),
    }
}

/// Reads the H2250LogicalChannelParameters up to the addresses.
fn channel(reader: &mut Reader<'_>) -> Result<Channel> {
    let (_, mut optional) = reader.sequence(10)?;
    if optional.next() {
        reader.skip_list(&NON_STANDARD_245)?;
    }
    reader.octets(1)?;
    if optional.next() {
        reader.bits(8)?;
    }
    let mut channel = Channel::default();
    if optional.next() {
        channel.media = address::h245(reader)?;
    }
    if optional.next() {
        reader.flag()?;
    }
    if optional.next() {
        channel.control = address::h245(reader)?;
    }
    Ok(channel)
}

/// Reads an OpenLogicalChannelAck.
fn acknowledgement(reader: &mut Reader<'_>) -> Result<Opened> {
    let (has_additions, mut optional) = reader.sequence(1)?;
    reader.skip(&WORD)?;
    let mut opened = Opened::default();
    if optional.next() {
        let (has_additions, mut optional) = reader.sequence(2)?;
        reader.skip(&WORD)?;
        if optional.next() {
            reader.skip(&WORD)?;
        }
        if optional.next() {
            opened.channels[0] = multiplex(reader, &[&H222])?;
        }
        if has_additions {
            reader.additions(|_, _| Ok(()))?;
        }
    }
    if has_additions {
        reader.additions(|number, mut value| {
            match number {
                0 => opened.t120 = separate_stack(&mut value)?,
                1 => opened.channels[1] = acknowledged(&mut value)?,
                _ => {}
            }
            Ok(())
        })?;
    }
    Ok(opened)
}

/// Reads the parameters of an acknowledged channel.
fn acknowledged(reader: &mut Reader<'_>) -> Result<Option<Channel>> {
    let Chosen::Root(_) = reader.choice(1)? else {
        return Ok(None);
    };
    let (_, mut optional) = reader.sequence(5)?;
    if optional.next() {
        reader.skip_list(&NON_STANDARD_245)?;
    }
    if optional.next() {
        reader.bits(8)?;
    }
    let mut channel = Channel::default();
    if optional.next() {
        channel.media = address::h245(reader)?;
    }
    if optional.next() {
        channel.control = address::h245(reader)?;
    }
    Ok(Some(channel))
}

/// Reads the address of NetworkAccessParameters, if it is one of a local network.
fn separate_stack(reader: &mut Reader<'_>) -> Result<Option<Address>> {
    /// Q2931Address: a number or an address of OSI, and a subaddress.
    const NUMBER: Shape = Shape::Sequence(
        true,
        &[
            (
                false,
                Shape::Choice(
                    true,
                    &[
                        Shape::String {
                            length: 4,
                            least: 1,
                            unit: 4,
                        },
                        super::shapes::NSAP,
                    ],
                ),
            ),
            (true, super::shapes::NSAP),
        ],
    );
    let (_, mut optional) = reader.sequence(2)?;
    if optional.next() {
        reader.skip(&Shape::Choice(true, &[Shape::Nothing, Shape::Nothing]))?;
    }
    match reader.choice(3)? {
        Chosen::Root(2) => address::h245(reader),
        Chosen::Root(0) => reader.skip(&NUMBER).map(|()| None),
        // Nothing is read behind a number of digits.
        Chosen::Root(_) | Chosen::Added(..) => Ok(None),
    }
}
