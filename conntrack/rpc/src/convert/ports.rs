// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Reserved ports.

use adit_conntrack::{Protocol, ReservedPorts, ReservedRange};

use super::{narrow, Malformed, Result};
use crate::proto;

/// The ports of messages.
pub(crate) fn reserved_ports(ports: &[proto::PortRange]) -> Result<ReservedPorts> {
    let range = |range: &proto::PortRange| {
        Ok(ReservedRange {
            protocol: Protocol(narrow("ports.protocol", range.protocol)?),
            first: narrow("ports.first", range.first)?,
            last: narrow("ports.last", range.last)?,
        })
    };
    let ranges = ports.iter().map(range).collect::<Result<Vec<_>>>()?;
    ReservedPorts::new(ranges).map_err(|error| Malformed::new("ports", error.to_string()))
}

pub(crate) fn reserved_message(ports: &ReservedPorts) -> proto::ReservedPorts {
    let range = |range: &ReservedRange| proto::PortRange {
        protocol: range.protocol.0.into(),
        first: range.first.into(),
        last: range.last.into(),
    };
    proto::ReservedPorts {
        ports: ports.ranges().iter().map(range).collect(),
    }
}
