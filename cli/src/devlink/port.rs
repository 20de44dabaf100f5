// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A port of flavour pcisf.

use neli::attr::Attribute;
use neli::err::DeError;

use super::error::Error;
use super::handle::Handle;
use super::message::{
    attr, function_attr, text, Answer, FLAVOUR_PCI_SF, OPSTATE_ATTACHED, STATE_ACTIVE,
};

/// A port, as devlink reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Port {
    /// The instance that it belongs to.
    pub(crate) handle: Handle,
    /// Its index on the instance.
    pub(crate) index: u32,
    /// The sub-function number, chosen by its creator.
    pub(crate) sfnum: u32,
    /// The Ethernet address; zeros until there is one.
    pub(crate) hw_addr: [u8; 6],
    /// Event queues: one for each queue pair.
    pub(crate) max_io_eqs: u32,
    /// Set while its administrative state is active.
    pub(crate) active: bool,
    /// Set while its operational state is attached.
    pub(crate) attached: bool,
}

impl Port {
    /// Parses a reply; `None` if the port is of another flavour.
    pub(super) fn parse(answer: &Answer) -> Result<Option<Self>, Error> {
        let attributes = answer.attrs().get_attr_handle();
        let raw = |attribute: u16| {
            attributes
                .get_attribute(attribute)
                .map(|found| found.nla_payload().as_ref())
        };
        let string = |attribute, name| raw(attribute).map(text).ok_or(Error::Answer(name));
        let flavour = raw(attr::PORT_FLAVOUR).and_then(|bytes| bytes.first_chunk());
        if flavour.map(|&bytes| u16::from_ne_bytes(bytes)) != Some(FLAVOUR_PCI_SF) {
            return Ok(None);
        }
        let number = |attribute, name| {
            raw(attribute)
                .and_then(|bytes| bytes.first_chunk())
                .map(|&bytes| u32::from_ne_bytes(bytes))
                .ok_or(Error::Answer(name))
        };
        let mut port = Self {
            handle: Handle {
                bus: string(attr::BUS_NAME, "bus")?,
                device: string(attr::DEV_NAME, "device")?,
            },
            index: number(attr::PORT_INDEX, "port index")?,
            sfnum: number(attr::PORT_PCI_SF_NUMBER, "sub-function number")?,
            hw_addr: [0; 6],
            max_io_eqs: 0,
            active: false,
            attached: false,
        };
        let Some(function) = attributes.get_attribute(attr::PORT_FUNCTION) else {
            return Ok(Some(port));
        };
        let nested = function
            .get_attr_handle::<u16>()
            .map_err(|_: DeError| Error::Answer("function that can be read"))?;
        for attribute in nested.iter() {
            let value: &[u8] = attribute.payload().as_ref();
            match *attribute.nla_type().nla_type() {
                function_attr::HW_ADDR => {
                    port.hw_addr = value.first_chunk().copied().unwrap_or_default();
                }
                function_attr::STATE => port.active = value.first() == Some(&STATE_ACTIVE),
                function_attr::OPSTATE => port.attached = value.first() == Some(&OPSTATE_ATTACHED),
                function_attr::MAX_IO_EQS => {
                    let bytes = value.first_chunk().copied().unwrap_or_default();
                    port.max_io_eqs = u32::from_ne_bytes(bytes);
                }
                _ => {}
            }
        }
        Ok(Some(port))
    }
}
