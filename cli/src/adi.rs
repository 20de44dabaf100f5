// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `adit adi`: one command where devlink takes three.

mod create;
mod record;
mod watch;

use anyhow::{bail, ensure, Context, Result};
use serde::Serialize;
use std::collections::BTreeMap;

use crate::args::{AdiCommand, Format};
use crate::cdi;
use crate::devlink::{Devlink, PortFunction};
use crate::output;
use crate::registry::Registry;

pub(crate) use record::{Adi, MacAddress};

use record::Adis;

/// `EBUSY`
const EBUSY: i32 = 16;

/// Runs a command.
pub(crate) fn run(command: &AdiCommand, format: Format) -> Result<()> {
    match command {
        AdiCommand::Create(create) => output::print_one(&create::create(create)?, format),
        AdiCommand::List => output::print_all(&Adis::load()?.into_list(), format),
        AdiCommand::Show { adi } => output::print_one(Adis::load()?.find(adi)?, format),
        AdiCommand::Destroy { adi, all } => destroy(adi, *all),
        AdiCommand::Reset { adi } => reset(adi),
        AdiCommand::Stats { adi } => stats(adi, format),
        AdiCommand::Watch { interval, count } => watch::watch(*interval, *count, format),
    }
}

/// Destroys ADIs; each of them is tried.
fn destroy(which: &[String], all: bool) -> Result<()> {
    let adis = Adis::load()?;
    let doomed: Vec<&Adi> = if all {
        adis.iter().collect()
    } else {
        which
            .iter()
            .map(|adi| adis.find(adi))
            .collect::<Result<_>>()?
    };
    let devlink = Devlink::connect()?;
    let registry = Registry::open();
    let mut failed = 0;
    for adi in doomed {
        let gone = devlink
            .port_del(&adi.port)
            .with_context(|| format!("cannot destroy {}", adi.label()));
        match gone {
            Ok(()) => {
                if let Some(name) = &adi.name {
                    if let Some(folder) = registry.cdi(name) {
                        cdi::remove(&folder, name)?;
                    }
                    registry.give_up(name)?;
                }
            }
            Err(error) => {
                failed += 1;
                eprintln!("adit: {error:#}");
            }
        }
    }
    ensure!(failed == 0, "{failed} ADIs are still there");
    Ok(())
}

/// Takes an ADI down and up again.
fn reset(which: &str) -> Result<()> {
    let adis = Adis::load()?;
    let adi = adis.find(which)?;
    let devlink = Devlink::connect()?;
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
                "{} is in use: {error}; whoever has it open can reset it through VFIO",
                adi.label()
            );
        }
        return Err(error).with_context(|| format!("cannot stop {}", adi.label()));
    }
    // The address stays, also one that the device chose.
    let keep = PortFunction {
        hw_addr: Some(adi.mac.0),
        ..PortFunction::default()
    };
    set(true, keep).with_context(|| format!("{} is stopped and does not start again", adi.label()))
}

/// Counters of an ADI.
#[derive(Serialize)]
struct Stats {
    adi: String,
    #[serde(flatten)]
    counters: BTreeMap<String, u64>,
}

fn stats(which: &[String], format: Format) -> Result<()> {
    let adis = Adis::load()?;
    let chosen: Vec<&Adi> = if which.is_empty() {
        adis.iter().filter(|adi| adi.device.is_some()).collect()
    } else {
        which
            .iter()
            .map(|adi| adis.find(adi))
            .collect::<Result<_>>()?
    };
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
