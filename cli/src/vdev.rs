// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `adit vdev`: devices that `adit-vdcm` composes out of ADIs, over its control socket.

mod args;
mod rows;
mod state;
mod trace;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use adit_vdcm::control::client::Client;
use adit_vdcm::protocol::{Limits, Spec, VdevInfo};
use anyhow::{bail, Context, Result};

use crate::output::{self, counted, Format};

pub(crate) use args::VdevCommand;
use args::{Create, Verb};
use rows::{AdiRow, Created, NameRow, StatusRow, Summary};

/// Runs a command.
pub(crate) fn run(command: &VdevCommand, format: Format) -> Result<()> {
    // What is wrong with the arguments needs no daemon.
    let spec = match &command.verb {
        Verb::Create(create) => Some(spec(create)?),
        Verb::Restore(restore) => Some(state::spec(restore)?),
        _ => None,
    };
    let mut client = Client::connect(&command.control)?;
    match &command.verb {
        Verb::Create(_) => created(client.create(spec.unwrap_or_default())?, format),
        Verb::List => {
            let devices: Vec<_> = client.list()?.into_iter().map(Summary).collect();
            output::print_all(&devices, format)
        }
        Verb::Show { device } => show(&client.show(device)?, format),
        Verb::Destroy { device, all } => destroy(&mut client, device, *all),
        Verb::Stats { device } => stats(&mut client, device, format),
        Verb::Trace(trace) => trace::trace(&mut client, trace, format),
        Verb::Swap { device, port, adi } => show(&client.swap(device, *port, adi)?, format),
        Verb::Save { device, file } => state::save(&mut client, device, file),
        Verb::Restore(restore) => {
            let state = state::read(&restore.file)?;
            created(client.restore(spec.unwrap_or_default(), state)?, format)
        }
        Verb::Resume { device } => Ok(client.resume(device)?),
        Verb::Adis => {
            let adis: Vec<_> = client.adis()?.into_iter().map(NameRow::new).collect();
            output::print_all(&adis, format)
        }
        Verb::Status => output::print_one(&StatusRow(client.status()?), format),
    }
}

/// The spec of a device, as the daemon takes it.
fn spec(create: &Create) -> Result<Spec> {
    Ok(Spec {
        name: create.name.clone(),
        adis: create.adi.clone(),
        group: create.group,
        queues: create.queues,
        mac: create.mac,
        vlan: create.vlan,
        port: create.port,
        pci_id: create.pci_id,
        layout: create.layout.into(),
        socket: socket(create.socket.as_deref())?,
        limits: limits(&create.limit)?,
    })
}

/// The absolute path of a socket: the daemon has another working directory.
fn socket(path: Option<&Path>) -> Result<Option<PathBuf>> {
    let path = path.map(std::path::absolute).transpose();
    path.context("the path of the socket")
}

/// Limits out of pairs of a name and a number, as the protocol has them; `None` without any.
fn limits(pairs: &[(String, u64)]) -> Result<Option<Limits>> {
    if pairs.is_empty() {
        return Ok(None);
    }
    let map: BTreeMap<_, _> = pairs.iter().cloned().collect();
    let value = serde_json::to_value(map)?;
    serde_json::from_value(value).map(Some).context("--limit")
}

/// Prints a device that was composed, and the option for QEMU.
fn created(device: VdevInfo, format: Format) -> Result<()> {
    let created = Created::new(device)?;
    output::print_one(&created, format)?;
    if format == Format::Table {
        writeln!(std::io::stdout(), "\n-device '{}'\n", created.qemu_device)?;
    }
    Ok(())
}

/// Prints one device, and a table of its ADIs.
fn show(device: &VdevInfo, format: Format) -> Result<()> {
    if format == Format::Json {
        return output::print_json(device);
    }
    output::print_one(&rows::Details(device.clone()), format)?;
    writeln!(std::io::stdout())?;
    let adis = (0..).zip(&device.adis);
    let adis: Vec<_> = adis.map(|(port, adi)| AdiRow::new(port, adi)).collect();
    output::print_all(&adis, format)
}

/// Destroys devices; if one cannot be destroyed, the others are tried nevertheless.
fn destroy(client: &mut Client, which: &[String], all: bool) -> Result<()> {
    let names = match all {
        true => client.list()?.into_iter().map(|it| it.name).collect(),
        false => which.to_vec(),
    };
    let mut failed = 0_u32;
    for name in names {
        if let Err(error) = client.destroy(&name) {
            eprintln!(
                "adit: cannot destroy {name}: {:#}",
                anyhow::Error::from(error)
            );
            failed += 1;
        }
    }
    if failed > 0 {
        bail!("{} not destroyed", counted(failed, "device"));
    }
    Ok(())
}

/// Prints the counters of devices: of all, if none is named.
fn stats(client: &mut Client, which: &[String], format: Format) -> Result<()> {
    let names = match which.is_empty() {
        true => client.list()?.into_iter().map(|it| it.name).collect(),
        false => which.to_vec(),
    };
    let mut stats = Vec::new();
    for name in names {
        match client.stats(&name) {
            Ok(counters) => stats.push(counters),
            // It was destroyed after it was listed.
            Err(_) if which.is_empty() && client.show(&name).is_err() => {}
            Err(error) => return Err(error.into()),
        }
    }
    if format == Format::Json {
        return output::print_json(&stats);
    }
    let mut out = std::io::stdout().lock();
    for device in &stats {
        writeln!(out, "{}", device.name)?;
        for (name, value) in rows::counters(device)? {
            writeln!(out, "  {name:<40} {value:>20}")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_have_the_names_of_the_protocol() {
        let pair = |name: &str, value| (name.to_owned(), value);
        assert_eq!(limits(&[]).unwrap(), None);
        let limits = limits(&[pair("windows", 7)]).unwrap().unwrap();
        assert_eq!(limits.windows, 7);
        assert_eq!(limits.message_burst, Limits::default().message_burst);
        let error = super::limits(&[pair("window", 7)]).unwrap_err();
        assert!(format!("{error:#}").contains("`windows`"), "{error:#}");
        assert!(super::limits(&[pair("windows", 1 << 40)]).is_err());
    }
}
