// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The device that commands connect to, over P4Runtime.

use adit_p4runtime::client::{Client, ClientTls, Target};
use anyhow::Result;
use clap::Args;

use super::catalog::Catalog;
use crate::server::Server;

/// A device, and the way to connect to it.
#[derive(Debug, Args)]
pub(crate) struct Device {
    #[command(flatten)]
    server: Server,
    /// The device's number
    #[arg(long, value_name = "N", default_value_t = 1)]
    device: u64,
    /// The role to write in; a dedicated one does not displace a controller
    #[arg(long, default_value = "adit")]
    role: String,
}

impl Device {
    /// Connects a client, and reads the catalog of the device's program.
    pub(super) fn connect(&self) -> Result<(Client, Catalog)> {
        let mut client = self.client()?;
        let catalog = Catalog::new(&client.p4info()?);
        Ok((client, catalog))
    }

    /// Reads the catalog of the device's program.
    pub(crate) fn catalog(&self) -> Result<Catalog> {
        self.connect().map(|(_, catalog)| catalog)
    }

    /// The address of its server.
    pub(crate) fn address(&self) -> &str {
        &self.server.address
    }

    /// The TLS configuration for its server, if there is one.
    pub(crate) fn tls(&self) -> Result<Option<ClientTls>> {
        self.server.tls()
    }

    /// Connects a client.
    pub(crate) fn client(&self) -> Result<Client> {
        let client = Client::connect(Target {
            address: self.server.address.clone(),
            device_id: self.device,
            role: self.role.clone(),
            tls: self.server.tls()?,
        })?;
        Ok(client)
    }
}
