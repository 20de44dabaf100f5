// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The commands and attributes of the family.

use neli::err::BuilderError;
use neli::genl::{AttrTypeBuilder, Genlmsghdr, Nlattr, NlattrBuilder};
use neli::types::{Buffer, GenlBuffer};

use super::handle::Handle;

/// A reply of the family.
pub(super) type Answer = Genlmsghdr<Command, u16>;

/// The settings of a port's function; `None` leaves one unchanged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PortFunction {
    /// Its Ethernet address.
    pub(crate) hw_addr: Option<[u8; 6]>,
    /// Its event queues.
    pub(crate) max_io_eqs: Option<u32>,
    /// Its administrative state.
    pub(crate) active: Option<bool>,
}

/// The members of `enum devlink_command` that are used.
#[neli::neli_enum(serialized_type = "u8")]
pub(crate) enum Command {
    /// `DEVLINK_CMD_GET`
    Get = 1,
    /// `DEVLINK_CMD_NEW`, the command of replies to `Get`
    New = 3,
    /// `DEVLINK_CMD_PORT_GET`
    PortGet = 5,
    /// `DEVLINK_CMD_PORT_SET`
    PortSet = 6,
    /// `DEVLINK_CMD_PORT_NEW`, also the command of replies and notifications
    PortNew = 7,
    /// `DEVLINK_CMD_PORT_DEL`
    PortDel = 8,
}

/// The members of `enum devlink_attr` that are used.
pub(super) mod attr {
    pub(crate) const BUS_NAME: u16 = 1;
    pub(crate) const DEV_NAME: u16 = 2;
    pub(crate) const PORT_INDEX: u16 = 3;
    pub(crate) const PORT_FLAVOUR: u16 = 77;
    pub(crate) const PORT_PCI_PF_NUMBER: u16 = 127;
    pub(crate) const PORT_FUNCTION: u16 = 145;
    pub(crate) const PORT_PCI_SF_NUMBER: u16 = 164;
}

/// The members of `enum devlink_port_function_attr` that are used.
pub(super) mod function_attr {
    pub(crate) const HW_ADDR: u16 = 1;
    pub(crate) const STATE: u16 = 2;
    pub(crate) const OPSTATE: u16 = 3;
    pub(crate) const MAX_IO_EQS: u16 = 6;
}

/// `DEVLINK_PORT_FLAVOUR_PCI_SF`
pub(super) const FLAVOUR_PCI_SF: u16 = 7;
/// `DEVLINK_PORT_FN_STATE_ACTIVE`
pub(super) const STATE_ACTIVE: u8 = 1;
/// `DEVLINK_PORT_FN_OPSTATE_ATTACHED`
pub(super) const OPSTATE_ATTACHED: u8 = 1;

/// The attributes of a request.
#[derive(Default)]
pub(super) struct Attributes(Vec<(u16, Vec<u8>)>);

impl Attributes {
    fn with(mut self, attribute: u16, value: impl Into<Vec<u8>>) -> Self {
        self.0.push((attribute, value.into()));
        self
    }

    /// Adds an instance.
    pub(super) fn instance(self, handle: &Handle) -> Self {
        self.with(attr::BUS_NAME, c_string(&handle.bus))
            .with(attr::DEV_NAME, c_string(&handle.device))
    }

    /// Adds the index of a port.
    pub(super) fn index(self, index: u32) -> Self {
        self.with(attr::PORT_INDEX, index.to_ne_bytes())
    }

    /// Adds a sub-function of physical function 0.
    pub(super) fn sub_function(self, sfnum: u32) -> Self {
        self.with(attr::PORT_FLAVOUR, FLAVOUR_PCI_SF.to_ne_bytes())
            .with(attr::PORT_PCI_PF_NUMBER, 0_u16.to_ne_bytes())
            .with(attr::PORT_PCI_SF_NUMBER, sfnum.to_ne_bytes())
    }

    /// Adds the settings of a port's function.
    pub(super) fn function(self, function: &PortFunction) -> Self {
        let mut nested = Vec::new();
        if let Some(mac) = function.hw_addr {
            put(&mut nested, function_attr::HW_ADDR, &mac);
        }
        if let Some(active) = function.active {
            put(&mut nested, function_attr::STATE, &[u8::from(active)]);
        }
        if let Some(max_io_eqs) = function.max_io_eqs {
            put(
                &mut nested,
                function_attr::MAX_IO_EQS,
                &max_io_eqs.to_ne_bytes(),
            );
        }
        self.with(attr::PORT_FUNCTION | NESTED, nested)
    }

    /// Converts the attributes to netlink's.
    pub(super) fn build(self) -> Result<GenlBuffer<u16, Buffer>, BuilderError> {
        self.0
            .into_iter()
            .map(
                |(attribute, value)| -> Result<Nlattr<u16, Buffer>, BuilderError> {
                    let nla_type = AttrTypeBuilder::default()
                        .nla_type(attribute & !NESTED)
                        .nla_nested(attribute & NESTED != 0)
                        .build()?;
                    Ok(NlattrBuilder::default()
                        .nla_type(nla_type)
                        .nla_payload(value)
                        .build()?)
                },
            )
            .collect()
    }
}

/// `NLA_F_NESTED`
const NESTED: u16 = 1 << 15;
/// `struct nlattr`
const HEADER_LEN: usize = 4;

/// Appends an attribute to the content of a nested one.
fn put(nested: &mut Vec<u8>, attribute: u16, value: &[u8]) {
    let length = (HEADER_LEN + value.len()) as u16;
    nested.extend(length.to_ne_bytes());
    nested.extend(attribute.to_ne_bytes());
    nested.extend(value);
    nested.resize(nested.len().next_multiple_of(4), 0);
}

fn c_string(text: &str) -> Vec<u8> {
    [text.as_bytes(), &[0]].concat()
}

/// Decodes a string attribute.
pub(super) fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&byte| byte == 0);
    String::from_utf8_lossy(&bytes[..end.unwrap_or(bytes.len())]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_attributes_are_padded_to_four() {
        let function = PortFunction {
            hw_addr: Some([2, 0, 0, 0, 0, 1]),
            max_io_eqs: Some(3),
            active: Some(true),
        };
        let Attributes(list) = Attributes::default().function(&function);
        let (attribute, value) = &list[0];
        assert_eq!(*attribute, attr::PORT_FUNCTION | NESTED);
        #[rustfmt::skip]
        let expected = [
            10_u8, 0, 1, 0, 2, 0, 0, 0, 0, 1, 0, 0,
            5, 0, 2, 0, 1, 0, 0, 0,
            8, 0, 6, 0, 3, 0, 0, 0,
        ];
        assert_eq!(value, &expected);
    }

    #[test]
    fn strings_end_at_their_zero() {
        assert_eq!(text(b"pci\0"), "pci");
        assert_eq!(text(b"pci"), "pci");
        assert_eq!(c_string("pci"), b"pci\0");
    }
}
