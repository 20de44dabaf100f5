// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Services of a NIC, with counts.

use std::io::Write;

use adit_node::model::Name;
use anyhow::Result;

use super::args::{check, NicArgs};
use super::rows::{Details, PortRow};
use crate::output::{print_all, print_json, print_one, Format};

/// The ports of services, with counts: of all services, if none is named.
fn rows(services: &[Name], nic: &NicArgs) -> Result<Vec<PortRow>> {
    let mut nic = nic.reader()?;
    check(&nic, services)?;
    let mut ports = nic.device().ports();
    if !services.is_empty() {
        let is_meant = |name: &Name, namespace: &str, of: &str| {
            (&*name.namespace, &*name.name) == (namespace, of)
        };
        ports.retain(|port| {
            let mut names = services.iter();
            names.any(|name| is_meant(name, &port.namespace, &port.name))
        });
    }
    let opened = nic.opened()?;
    let numbers: Vec<_> = ports.iter().map(|port| port.service).collect();
    let counts = nic.counted(&numbers)?;
    let connections = nic.connections()?;
    let rows = ports.into_iter().map(|port| {
        let counts = counts.get(&port.service).copied().unwrap_or_default();
        PortRow::new(
            port,
            counts,
            |frontend| opened.get(&frontend.key).copied().unwrap_or(0),
            |endpoint| Some(connections.as_ref()?.get(&endpoint).copied().unwrap_or(0)),
        )
    });
    Ok(rows.collect())
}

pub(super) fn list(nic: &NicArgs, format: Format) -> Result<()> {
    print_all(&rows(&[], nic)?, format)
}

pub(super) fn show(services: &[Name], nic: &NicArgs, format: Format) -> Result<()> {
    let rows = rows(services, nic)?;
    if format == Format::Json {
        return print_json(&rows);
    }
    for (n, row) in rows.iter().enumerate() {
        if n > 0 {
            writeln!(std::io::stdout())?;
        }
        print_one(&Details(row), format)?;
        writeln!(std::io::stdout())?;
        print_all(&row.frontends, format)?;
        writeln!(std::io::stdout())?;
        print_all(&row.endpoints, format)?;
    }
    Ok(())
}
