// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The part of devlink that ADIs need, over generic netlink: what `devlink port` does in three
//! commands.
//!
//! Source: Linux `include/uapi/linux/devlink.h`, `Documentation/netlink/specs/devlink.yaml`.

mod message;
mod port;

use std::fmt;
use std::io;

use neli::consts::genl::Cmd;
use neli::consts::nl::{NlmF, NlmsgerrAttr};
use neli::consts::socket::NlFamily;
use neli::err::RouterError;
use neli::genl::{Genlmsghdr, GenlmsghdrBuilder, NoUserHeader};
use neli::nl::{NlPayload, Nlmsghdr};
use neli::router::synchronous::NlRouter;
use neli::types::{Buffer, GenlBuffer};
use neli::utils::Groups;
use thiserror::Error;

pub(crate) use port::{Port, PortFunction};

use message::{Attributes, Command};

/// The version of the devlink family.
const VERSION: u8 = 1;

/// An answer of the family.
type Answer = Genlmsghdr<Command, u16>;

/// A devlink instance, as devlink writes it: `BUS/DEVICE`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Handle {
    /// The bus: `pci`.
    pub(crate) bus: String,
    /// The device on it: `0000:00:05.0`.
    pub(crate) device: String,
}

impl Handle {
    /// A PCI function.
    pub(crate) fn pci(device: &str) -> Self {
        Self {
            bus: "pci".into(),
            device: device.into(),
        }
    }

    /// Reads what devlink writes.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (bus, device) = text.split_once('/')?;
        let whole = |part: &str| !part.is_empty() && !part.contains('/');
        (whole(bus) && whole(device)).then(|| Self {
            bus: bus.into(),
            device: device.into(),
        })
    }
}

impl fmt::Display for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.bus, self.device)
    }
}

/// Why devlink did not do it.
#[derive(Debug, Error)]
pub(crate) enum Error {
    /// The kernel refused, with its reason if it gave one.
    #[error("{}", refusal(.source, .reason))]
    Refused {
        /// The errno.
        source: io::Error,
        /// The extended acknowledgement.
        reason: Option<String>,
    },
    /// There is no devlink to speak to.
    #[error("cannot speak devlink: {0}")]
    Netlink(String),
    /// The kernel's answer is not what the family promises.
    #[error("devlink's answer has no {0}")]
    Answer(&'static str),
}

impl Error {
    /// The kernel's errno.
    pub(crate) fn errno(&self) -> Option<i32> {
        match self {
            Self::Refused { source, .. } => source.raw_os_error(),
            _ => None,
        }
    }
}

fn refusal(source: &io::Error, reason: &Option<String>) -> String {
    match reason {
        Some(reason) => format!("{reason} ({source})"),
        None => source.to_string(),
    }
}

/// A connection to devlink.
pub(crate) struct Devlink {
    router: NlRouter,
    family: u16,
}

impl Devlink {
    /// Connects.
    pub(crate) fn connect() -> Result<Self, Error> {
        let broken = |error: &dyn fmt::Display| Error::Netlink(error.to_string());
        let (router, _) = NlRouter::connect(NlFamily::Generic, None, Groups::empty())
            .map_err(|error| broken(&error))?;
        router
            .enable_ext_ack(true)
            .map_err(|error| broken(&error))?;
        let family = router
            .resolve_genl_family("devlink")
            .map_err(|error| broken(&error))?;
        Ok(Self { router, family })
    }

    /// All ports of flavour pcisf of all instances.
    pub(crate) fn ports(&self) -> Result<Vec<Port>, Error> {
        let answers = self.request(Command::PortGet, NlmF::DUMP, Attributes::default())?;
        let ports = answers.iter().map(Port::parse);
        ports.filter_map(Result::transpose).collect()
    }

    /// Makes a port of flavour pcisf; it is inactive.
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

    /// Takes a port away, and its ADI with it.
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
        let build = |error: &dyn fmt::Display| Error::Netlink(error.to_string());
        let attributes: GenlBuffer<u16, Buffer> =
            attributes.build().map_err(|error| build(&error))?;
        let message = GenlmsghdrBuilder::<Command, u16, NoUserHeader>::default()
            .cmd(command)
            .version(VERSION)
            .attrs(attributes)
            .build()
            .map_err(|error| build(&error))?;
        let answers = self
            .router
            .send::<_, _, u16, Answer>(self.family, flags, NlPayload::Payload(message))
            .map_err(|error| build(&error))?;
        let mut payloads = Vec::new();
        for answer in answers {
            let answer: Nlmsghdr<u16, Answer> = answer.map_err(refused)?;
            if let Some(payload) = answer.get_payload() {
                payloads.push(payload.clone());
            }
        }
        Ok(payloads)
    }
}

fn refused(error: RouterError<u16, Answer>) -> Error {
    let RouterError::Nlmsgerr(refusal) = error else {
        return Error::Netlink(error.to_string());
    };
    let reason = refusal
        .ext_ack()
        .iter()
        .find(|attribute| *attribute.nla_type().nla_type() == NlmsgerrAttr::Msg)
        .map(|attribute| message::text(attribute.nla_payload().as_ref()));
    Error::Refused {
        source: io::Error::from_raw_os_error(refusal.error().saturating_neg()),
        reason,
    }
}

impl Cmd for Command {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_are_read_as_devlink_writes_them() {
        let handle = Handle::parse("pci/0000:00:05.0").unwrap();
        assert_eq!(handle, Handle::pci("0000:00:05.0"));
        assert_eq!(handle.to_string(), "pci/0000:00:05.0");
        for bad in ["", "pci", "pci/", "/0000:00:05.0", "pci/0000:00:05.0/1"] {
            assert_eq!(Handle::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_refusal_tells_the_kernels_reason() {
        let busy = |reason: Option<&str>| Error::Refused {
            source: io::Error::from_raw_os_error(16),
            reason: reason.map(Into::into),
        };
        assert_eq!(busy(None).errno(), Some(16));
        let text = busy(Some("the ADI is in use")).to_string();
        assert!(text.starts_with("the ADI is in use (Device"), "{text}");
    }
}
