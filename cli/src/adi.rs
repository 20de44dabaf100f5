// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `adit adi`: one command in place of three devlink commands.

mod args;
mod create;
mod orphans;
mod record;
mod watch;

use anyhow::{bail, ensure, Context, Result};
use serde::Serialize;
use std::collections::BTreeMap;

use crate::cdi;
use crate::devlink::{Devlink, PortFunction};
use crate::output::{self, counted, Format};
use crate::registry::{Named, Registry};
use crate::sysfs::AdiDevice;

pub(crate) use args::AdiCommand;
pub(crate) use record::{Adi, MacAddress};

use record::Adis;

/// `EBUSY`
const EBUSY: i32 = 16;

/// Runs a command.
pub(crate) fn run(command: &AdiCommand, format: Format) -> Result<()> {
    match command {
        AdiCommand::Create(create) => output::print_one(&create::create(create)?, format),
        AdiCommand::List => list(format),
        AdiCommand::Show { adi } => {
            output::print_one(&record::find(&Devlink::connect()?, adi)?, format)
        }
        AdiCommand::Destroy { adi, all } => destroy(adi, *all),
        AdiCommand::Reset { adi } => reset(adi),
        AdiCommand::Stats { adi } => stats(adi, format),
        AdiCommand::Watch { interval, count } => watch::watch(*interval, *count, format),
        AdiCommand::Prune { cdi_dir } => prune(cdi_dir.as_deref(), format),
        AdiCommand::CdiCheck {
            name,
            device,
            instance,
            node,
        } => {
            let adi = Named {
                instance: instance.clone(),
                device: device.clone(),
            };
            cdi::check(name, &adi, node)
        }
        AdiCommand::Udev { group } => udev(group),
    }
}

/// Prints the ADIs and the orphans.
fn list(format: Format) -> Result<()> {
    let orphans::Survey {
        adis,
        orphans,
        unread,
    } = orphans::survey(None)?;
    orphans::report(&unread);
    let adis = adis.into_list();
    if format == Format::Json {
        let adis = adis.iter().map(serde_json::to_value);
        let orphans = orphans.iter().map(serde_json::to_value);
        let all: Vec<_> = adis.chain(orphans).collect::<Result<_, _>>()?;
        return output::print_json(&all);
    }
    output::print_all(&adis, format)?;
    if orphans.is_empty() {
        return Ok(());
    }
    println_quietly("")?;
    output::print_all(&orphans, format)
}

/// Removes the orphans of ADIs that no longer exist.
fn prune(folder: Option<&std::path::Path>, format: Format) -> Result<()> {
    let _lock = Registry::open().lock()?;
    let removed = orphans::prune(folder)?;
    if format == Format::Json {
        return output::print_json(&removed);
    }
    removed
        .iter()
        .try_for_each(|orphan| println_quietly(&format!("removed {}, {}", orphan.name, orphan.why)))
}

/// Prints a line. (`println!` panics when the reader has closed the pipe.)
fn println_quietly(line: &str) -> Result<()> {
    use std::io::Write;
    writeln!(std::io::stdout(), "{line}")?;
    Ok(())
}

/// Prints the properties that udev imports for the node of a VFIO group; fails for a group that is
/// not an ADI's.
fn udev(group: &str) -> Result<()> {
    let device =
        AdiDevice::in_group(group).with_context(|| format!("VFIO group {group} is no ADI's"))?;
    println_quietly(&format!("ADIT_DEVICE={}", device.name))?;
    let registry = Registry::open();
    let is_it = |adi: &Named| adi.instance == device.instance;
    let name = registry
        .entries()?
        .into_iter()
        .find_map(|(name, entry)| entry.adi.as_ref().is_some_and(is_it).then_some(name));
    match name {
        Some(name) => println_quietly(&format!("ADIT_NAME={name}")),
        None => Ok(()),
    }
}

/// Destroys ADIs; if one cannot be destroyed, the others are tried nevertheless.
fn destroy(which: &[String], all: bool) -> Result<()> {
    let devlink = Devlink::connect()?;
    let registry = Registry::open();
    let _lock = registry.lock()?;
    let doomed = chosen(&devlink, which, all)?;
    let mut failed = 0_u32;
    for adi in doomed {
        let gone = devlink
            .port_del(&adi.port)
            .with_context(|| format!("cannot destroy {}", adi.label()));
        match gone {
            Ok(()) => {
                if let Some(name) = &adi.name {
                    orphans::forget(&registry, name)?;
                }
            }
            Err(error) => {
                failed += 1;
                eprintln!("adit: {error:#}");
            }
        }
    }
    ensure!(failed == 0, "{} not destroyed", counted(failed, "ADI"));
    if all {
        orphans::prune(None)?;
    }
    Ok(())
}

/// Returns the ADIs that were named, or all of them.
fn chosen(devlink: &Devlink, which: &[String], all: bool) -> Result<Vec<Adi>> {
    if all {
        return Ok(Adis::load()?.into_list());
    }
    which.iter().map(|adi| record::find(devlink, adi)).collect()
}

/// Returns the name of an ADI's device, for opening it; an inactive ADI has none.
pub(crate) fn device(which: &str) -> Result<String> {
    let adi = record::find(&Devlink::connect()?, which)?;
    let device = adi.device.as_ref();
    let device = device.with_context(|| format!("{} is inactive", adi.label()))?;
    Ok(device.name.clone())
}

/// Deactivates an ADI and activates it again.
fn reset(which: &str) -> Result<()> {
    let devlink = Devlink::connect()?;
    let registry = Registry::open();
    let _lock = registry.lock()?;
    let adi = record::find(&devlink, which)?;
    let set = |active, function: PortFunction| {
        devlink.port_set(
            &adi.port,
            &PortFunction {
                active: Some(active),
                ..function
            },
        )
    };
    if let Err(error) = set(false, PortFunction::default()) {
        if error.errno() == Some(EBUSY) {
            bail!(
                "{} is in use: {error}; the process that has it open can reset it through VFIO",
                adi.label()
            );
        }
        return Err(error).with_context(|| format!("cannot stop {}", adi.label()));
    }
    // The address is kept, even one that the device chose.
    let keep = PortFunction {
        hw_addr: Some(adi.mac.0),
        ..PortFunction::default()
    };
    set(true, keep)
        .with_context(|| format!("{} is stopped and does not start again", adi.label()))?;
    // Its device and VFIO group have changed.
    if let Some(name) = &adi.name {
        let device = create::wait_for_group(&adi.port);
        let entry = registry.get(name);
        if let (Some(entry), Some(device)) = (&entry, &device) {
            // An inactive ADI was identified by its port only, which may have been another's.
            if !entry.is_of(&device.instance) {
                eprintln!("adit: {name} was the name of an ADI that is gone, and is released");
                return orphans::forget(&registry, name);
            }
        }
        let folder = entry.and_then(|entry| entry.cdi);
        create::bind(&registry, name, device.as_ref(), folder.as_deref())?;
    }
    Ok(())
}

/// The counters of an ADI.
#[derive(Serialize)]
struct Stats {
    adi: String,
    #[serde(flatten)]
    counters: BTreeMap<String, u64>,
}

fn stats(which: &[String], format: Format) -> Result<()> {
    let mut chosen = chosen(&Devlink::connect()?, which, which.is_empty())?;
    if which.is_empty() {
        chosen.retain(|adi| adi.device.is_some());
    }
    let stats = chosen
        .into_iter()
        .map(|adi| {
            Ok(Stats {
                adi: adi.label(),
                counters: adi.counters()?,
            })
        })
        .collect::<Result<Vec<_>>>()?;
    if format == Format::Json {
        return output::print_json(&stats);
    }
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    for adi in &stats {
        writeln!(out, "{}", adi.adi)?;
        for (name, value) in &adi.counters {
            writeln!(out, "  {name:<16} {value:>20}")?;
        }
    }
    Ok(())
}
