// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The part of devlink that ADIs require, over generic netlink: equivalent to three `devlink port`
//! commands.
//!
//! Source: Linux `include/uapi/linux/devlink.h`, `Documentation/netlink/specs/devlink.yaml`.

mod error;
mod handle;
mod message;
mod port;

use std::cell::Cell;
use std::fmt;
use std::io::{self, Cursor};

use neli::consts::genl::Cmd;
use neli::consts::nl::{NlmF, NlmsgerrAttr};
use neli::consts::socket::NlFamily;
use neli::err::{Nlmsgerr, NlmsghdrErr};
use neli::genl::{GenlmsghdrBuilder, NoUserHeader};
use neli::nl::{NlPayload, NlmsghdrBuilder};
use neli::router::synchronous::NlRouter;
use neli::socket::synchronous::NlSocketHandle;
use neli::types::Buffer;
use neli::utils::Groups;
use neli::FromBytesWithInput;

pub(crate) use error::Error;
pub(crate) use handle::Handle;
pub(crate) use message::PortFunction;
pub(crate) use port::Port;

use message::{Answer, Attributes, Command};

/// The version of the devlink family.
const VERSION: u8 = 1;
/// `NLMSG_DONE`: a dump is complete.
const NLMSG_DONE: u16 = 3;

/// `ENODEV`
const ENODEV: i32 = 19;

/// A connection to devlink.
pub(crate) struct Devlink {
    // neli's router would lose the kernel's reasons (neli 0.7.5, `Nlmsgerr::to_typed`).
    socket: NlSocketHandle,
    family: u16,
    sequence: Cell<u32>,
}

impl Devlink {
    /// Connects to devlink.
    pub(crate) fn connect() -> Result<Self, Error> {
        let no_groups = Groups::empty;
        let (router, _) =
            NlRouter::connect(NlFamily::Generic, None, no_groups()).map_err(broken)?;
        let family = router.resolve_genl_family("devlink").map_err(broken)?;
        let socket =
            NlSocketHandle::connect(NlFamily::Generic, None, no_groups()).map_err(broken)?;
        socket.enable_ext_ack(true).map_err(broken)?;
        Ok(Self {
            socket,
            family,
            sequence: Cell::new(0),
        })
    }

    /// Returns all ports of flavour pcisf of all instances.
    pub(crate) fn ports(&self) -> Result<Vec<Port>, Error> {
        let answers = self.request(Command::PortGet, NlmF::DUMP, Attributes::default())?;
        let ports = answers.iter().map(Port::parse);
        ports.filter_map(Result::transpose).collect()
    }

    /// Returns whether there is an instance of this device in the caller's network namespace.
    pub(crate) fn has(&self, handle: &Handle) -> Result<bool, Error> {
        let attributes = Attributes::default().instance(handle);
        match self.request(Command::Get, NlmF::ACK, attributes) {
            Err(error) if error.errno() == Some(ENODEV) => Ok(false),
            result => result.map(|_| true),
        }
    }

    /// Reads a port.
    pub(crate) fn port_get(&self, handle: &Handle, index: u32) -> Result<Port, Error> {
        let attributes = Attributes::default().instance(handle).index(index);
        let answers = self.request(Command::PortGet, NlmF::ACK, attributes)?;
        let port = answers.first().map(Port::parse).transpose()?;
        port.flatten().ok_or(Error::Answer("port"))
    }

    /// Creates a port of flavour pcisf; it is inactive.
    pub(crate) fn port_new(&self, handle: &Handle, sfnum: u32) -> Result<Port, Error> {
        let attributes = Attributes::default().instance(handle).sub_function(sfnum);
        let answers = self.request(Command::PortNew, NlmF::ACK, attributes)?;
        let port = answers.first().map(Port::parse).transpose()?;
        port.flatten().ok_or(Error::Answer("port"))
    }

    /// Configures a port's function; the state is set last, after everything else.
    pub(crate) fn port_set(&self, port: &Port, function: &PortFunction) -> Result<(), Error> {
        let attributes = Attributes::default()
            .instance(&port.handle)
            .index(port.index)
            .function(function);
        self.request(Command::PortSet, NlmF::ACK, attributes)?;
        Ok(())
    }

    /// Deletes a port, and its ADI with it.
    pub(crate) fn port_del(&self, port: &Port) -> Result<(), Error> {
        let attributes = Attributes::default()
            .instance(&port.handle)
            .index(port.index);
        self.request(Command::PortDel, NlmF::ACK, attributes)?;
        Ok(())
    }

    fn request(
        &self,
        command: Command,
        flags: NlmF,
        attributes: Attributes,
    ) -> Result<Vec<Answer>, Error> {
        let payload = GenlmsghdrBuilder::<Command, u16, NoUserHeader>::default()
            .cmd(command)
            .version(VERSION)
            .attrs(attributes.build().map_err(broken)?)
            .build()
            .map_err(broken)?;
        let sequence = self.sequence.get().wrapping_add(1);
        self.sequence.set(sequence);
        let message = NlmsghdrBuilder::default()
            .nl_type(self.family)
            .nl_flags(flags | NlmF::REQUEST)
            .nl_pid(self.socket.pid())
            .nl_seq(sequence)
            .nl_payload(NlPayload::Payload(payload))
            .build()
            .map_err(broken)?;
        self.socket.send(&message).map_err(broken)?;
        let mut answers = Vec::new();
        loop {
            let (messages, _) = self.socket.recv_all::<u16, Buffer>().map_err(broken)?;
            for message in messages.iter().filter(|it| *it.nl_seq() == sequence) {
                match message.nl_payload() {
                    NlPayload::Err(refusal) => return Err(refused(refusal)),
                    NlPayload::Ack(_) => return Ok(answers),
                    _ if *message.nl_type() == NLMSG_DONE => return Ok(answers),
                    NlPayload::Payload(bytes) => answers.push(read(bytes)?),
                    NlPayload::DumpExtAck(_) | NlPayload::Empty => {}
                }
            }
        }
    }
}

fn read(bytes: &Buffer) -> Result<Answer, Error> {
    let mut cursor = Cursor::new(bytes.as_ref());
    Answer::from_bytes_with_input(&mut cursor, bytes.as_ref().len()).map_err(broken)
}

fn broken(error: impl fmt::Display) -> Error {
    Error::Netlink(error.to_string())
}

fn refused(refusal: &Nlmsgerr<NlmsghdrErr<u16, Buffer>>) -> Error {
    let reason = refusal
        .ext_ack()
        .iter()
        .find(|attribute| *attribute.nla_type().nla_type() == NlmsgerrAttr::Msg)
        .map(|attribute| message::text(attribute.nla_payload().as_ref()));
    Error::Refused {
        errno: io::Error::from_raw_os_error(refusal.error().saturating_neg()),
        reason,
    }
}

impl Cmd for Command {}
