// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Errors of the stack.

use std::io;

use thiserror::Error;

/// The reason that a stack cannot go on.
#[derive(Debug, Error)]
pub enum Error {
    /// The ADI failed.
    #[error(transparent)]
    Adi(#[from] adit_adi::Error),
    /// The configuration has no address.
    #[error("no address is configured: at least one is required")]
    NoAddress,
    /// The configuration has too many addresses.
    #[error("{count} addresses are configured: at most {max} are possible")]
    TooManyAddresses {
        /// Their number.
        count: usize,
        /// The maximum.
        max: usize,
    },
    /// A gateway cannot be reached.
    #[error("the gateway {0} is in the network of no address that is configured")]
    Gateway(std::net::IpAddr),
    /// Two gateways of one address family.
    #[error("{0} is a second default gateway of its address family: one is possible")]
    SecondGateway(std::net::IpAddr),
    /// The MAC address is a group address or zero.
    #[error("the MAC address of the ADI is not a unicast address")]
    Mac,
    /// The system has no descriptors left.
    #[error("{what}")]
    Io {
        /// The operation.
        what: &'static str,
        /// The system's error.
        source: io::Error,
    },
}
