// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `cargo xtask bench vdcm`: composed devices without a guest (their cost in a daemon, frames beside
//! an ADI that is used directly), and `idpf` on one beside `idpf` on the NIC's own function in a
//! guest.

mod host;

use adit_qemu_tests::nic::Nic;
use anyhow::{bail, Result};
use serde_json::json;

use super::contender::Contender;
use super::lab::Lab;
use super::net::{environment, load_average, measure, order, Plan};
use super::results::{self, Results};
use super::Args;
use crate::build::{self, Profile, Programs};

/// The parts, by the names that `--only` takes.
const PARTS: [&str; 2] = ["host", "guest"];

/// The NICs of the guest.
const CONTENDERS: [Contender; 2] = [
    Contender {
        name: "composed",
        index: 1,
        ours: true,
        gro_hw: false,
    },
    Contender {
        name: "PF",
        index: 0,
        ours: false,
        gro_hw: false,
    },
];

pub(crate) fn run(args: &Args) -> Result<()> {
    if let Some(unknown) = args
        .only
        .iter()
        .find(|name| !PARTS.contains(&name.as_str()))
    {
        bail!("no part `{unknown}`: there is {}", PARTS.join(", "));
    }
    let wanted = |part: &str| args.only.is_empty() || args.only.iter().any(|name| name == part);
    let programs = build::programs(Profile::Release)?;
    let command: Vec<_> = std::env::args().skip(1).collect();
    let mut json = json!({
        "benchmark": "vdcm",
        "command": format!("cargo xtask {}", command.join(" ")),
        "host_cpus": std::thread::available_parallelism()?.get(),
    });
    if wanted("host") {
        let before = load_average();
        let measured = host::run(args, &programs)?;
        print!("{}", host::table(&measured));
        json["host"] = measured;
        json["host"]["load_average"] = json!({ "before": before, "after": load_average() });
    }
    if wanted("guest") {
        json["guest"] = guest(args, &programs)?;
    }
    println!("\n{}", results::write("vdcm", &json)?.display());
    Ok(())
}

/// Measures both NICs in one guest.
fn guest(args: &Args, programs: &Programs) -> Result<serde_json::Value> {
    let plan = Plan::new(args);
    let load = load_average();
    println!("\nBooting a guest with both NICs…");
    let mut lab = Lab::start(nics(programs))?;
    println!("Linux {}, {:?}", lab.guest.kernel, lab.guest.accel);
    let mut results = Results::new(&CONTENDERS.map(|it| it.column()));
    for round in 0..plan.rounds {
        for contender in order(round, &CONTENDERS) {
            println!("round {}/{}: {}", round + 1, plan.rounds, contender.name);
            if let Err(error) = measure(&mut lab, contender, plan, &mut results) {
                let round = round + 1;
                results.fail(format!("{}, round {round}: {error:#}", contender.name));
            }
        }
    }
    println!("\nMedians of {} rounds\n{}", plan.rounds, results.table());
    Ok(results.json("vdcm", &environment(&lab, plan, &load)?))
}

/// The function of a NIC, and a device composed out of an ADI of another one.
fn nics(programs: &Programs) -> Vec<Nic> {
    vec![
        Nic::Adit {
            binary: programs.nic.clone(),
            args: Vec::new(),
        },
        Nic::composed(programs.vdcm.clone(), 1, &[]),
    ]
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn each_contender_has_its_nic() {
        let program = PathBuf::from("program");
        let nics = nics(&Programs {
            nic: program.clone(),
            adit: program.clone(),
            vdcm: program,
            profile: Profile::Release,
        });
        assert_eq!(nics.len(), CONTENDERS.len());
        for it in CONTENDERS {
            let composed = matches!(nics[it.index], Nic::Composed { .. });
            assert_eq!(composed, it.ours, "{}", it.name);
        }
    }
}
