// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The server of a NIC that commands connect to.

use std::path::PathBuf;

use adit_p4runtime::client::ClientTls;
use anyhow::{ensure, Context, Result};
use clap::Args;

/// A P4Runtime server, which serves the NIC's connections as well.
#[derive(Debug, Args)]
pub(crate) struct Server {
    /// The address of its P4Runtime server: HOST:PORT or unix:PATH
    #[arg(
        long = "p4rt",
        value_name = "ADDR",
        env = "ADIT_P4RT",
        default_value = "127.0.0.1:9559"
    )]
    pub(crate) address: String,
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

impl Server {
    /// The TLS configuration, if there is one.
    pub(crate) fn tls(&self) -> Result<Option<ClientTls>> {
        let read = |path: &PathBuf| {
            std::fs::read(path).with_context(|| format!("reading {}", path.display()))
        };
        let is_unix = self.address.starts_with("unix:");
        ensure!(
            !is_unix || self.tls_ca.is_none(),
            "a UNIX socket has no TLS: leave --tls-ca out"
        );
        let identity = match (&self.tls_cert, &self.tls_key) {
            (Some(certificate), Some(key)) => Some((read(certificate)?, read(key)?)),
            _ => None,
        };
        Ok(match &self.tls_ca {
            Some(ca) => Some(ClientTls {
                servers: read(ca)?,
                identity,
            }),
            None => None,
        })
    }
}
