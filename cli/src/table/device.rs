// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The device that commands connect to, over P4Runtime.

use std::path::PathBuf;

use adit_p4runtime::client::{Client, ClientTls, Target};
use anyhow::{ensure, Context, Result};
use clap::Args;

use super::catalog::Catalog;

/// A device, and the way to connect to it.
#[derive(Debug, Args)]
pub(crate) struct Device {
    /// The address of its P4Runtime server: HOST:PORT or unix:PATH
    #[arg(
        long,
        value_name = "ADDR",
        env = "ADIT_P4RT",
        default_value = "127.0.0.1:9559"
    )]
    p4rt: String,
    /// The device's number
    #[arg(long, value_name = "N", default_value_t = 1)]
    device: u64,
    /// The role to write in; a dedicated one does not displace a controller
    #[arg(long, default_value = "adit")]
    role: String,
    /// Use TLS: the CA certificates, as PEM, that servers' certificates are verified with
    #[arg(long, value_name = "FILE")]
    tls_ca: Option<PathBuf>,
    /// The client's certificate
    #[arg(long, value_name = "FILE", requires_all = ["tls_key", "tls_ca"])]
    tls_cert: Option<PathBuf>,
    /// The key of the client's certificate
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
}

impl Device {
    /// Connects a client, and reads the catalog of the device's program.
    pub(super) fn connect(&self) -> Result<(Client, Catalog)> {
        let mut client = self.client()?;
        let catalog = Catalog::new(&client.p4info()?);
        Ok((client, catalog))
    }

    /// Connects a client.
    pub(crate) fn client(&self) -> Result<Client> {
        let read = |path: &PathBuf| {
            std::fs::read(path).with_context(|| format!("reading {}", path.display()))
        };
        let is_unix = self.p4rt.starts_with("unix:");
        ensure!(
            !is_unix || self.tls_ca.is_none(),
            "a UNIX socket has no TLS: leave --tls-ca out"
        );
        let identity = match (&self.tls_cert, &self.tls_key) {
            (Some(certificate), Some(key)) => Some((read(certificate)?, read(key)?)),
            _ => None,
        };
        let tls = match &self.tls_ca {
            Some(ca) => Some(ClientTls {
                servers: read(ca)?,
                identity,
            }),
            None => None,
        };
        let client = Client::connect(Target {
            address: self.p4rt.clone(),
            device_id: self.device,
            role: self.role.clone(),
            tls,
        })?;
        Ok(client)
    }
}
