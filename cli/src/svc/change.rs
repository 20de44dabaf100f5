// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Changes of services.

use std::io::Write;

use adit_node::device::{Scope, Setup};
use adit_node::model::{Conditions, Endpoint, Policy, Port, PortName, Service, Services};
use adit_node::nic::{Nic, Report};
use anyhow::{ensure, Result};
use serde::Serialize;

use super::args::{check, Apply, Delete, Set};
use super::files;
use crate::output::{counted, print_json, Format};

/// The outcome of a change.
#[derive(Serialize)]
pub(super) struct Outcome {
    inserted: u64,
    modified: u64,
    deleted: u64,
    connections_deleted: u64,
    clients_released: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    skipped: Vec<String>,
}

impl Outcome {
    pub(super) fn new(report: &Report) -> Outcome {
        Outcome {
            inserted: report.inserted,
            modified: report.modified,
            deleted: report.deleted,
            connections_deleted: report.connections,
            clients_released: report.clients,
            skipped: report.skipped.iter().map(ToString::to_string).collect(),
        }
    }

    /// A line that tells what was done.
    pub(super) fn line(&self) -> String {
        let entries = self.inserted + self.modified + self.deleted;
        let mut line = match entries {
            0 => "no entry was changed".to_owned(),
            _ => format!(
                "{} added, {} modified, {} deleted",
                self.inserted, self.modified, self.deleted
            ),
        };
        if self.connections_deleted > 0 {
            let count = counted(self.connections_deleted, "connection");
            line.push_str(&format!("; {count} deleted"));
        }
        if self.clients_released > 0 {
            let count = counted(self.clients_released, "client");
            line.push_str(&format!("; {count} released"));
        }
        line
    }
}

fn print(report: &Report, format: Format) -> Result<()> {
    let outcome = Outcome::new(report);
    match format {
        Format::Json => print_json(&outcome),
        Format::Table => {
            files::print(&report.skipped);
            writeln!(std::io::stdout(), "{}", outcome.line())?;
            Ok(())
        }
    }
}

/// Applies a change, and removes what an earlier run may have left.
fn apply_to(nic: &mut Nic, scope: &Scope, services: &Services) -> Result<Report> {
    let mut report = nic.apply(scope, services)?;
    report.and(nic.sweep()?);
    Ok(report)
}

pub(super) fn apply(apply: &Apply, format: Format) -> Result<()> {
    let files::Read {
        services,
        skipped,
        notes,
    } = files::read(&apply.files)?;
    files::print(&notes);
    // A service that has become headless has no data path any more.
    let named = services.services.keys().chain(&skipped);
    let scope = match apply.prune {
        true => Scope::All,
        false => Scope::Only(named.cloned().collect()),
    };
    let setup = apply.node.setup();
    if apply.dry_run {
        let mut nic = Nic::connect(apply.nic.target()?, setup)?;
        nic.read()?;
        let report = nic.dry_run(&scope, &services)?;
        return print(&report, format);
    }
    let mut nic = apply.nic.writer(setup)?;
    print(&apply_to(&mut nic, &scope, &services)?, format)
}

pub(super) fn set(set: &Set, format: Format) -> Result<()> {
    let services = service(set)?;
    let mut nic = set.nic.writer(set.node.setup())?;
    let scope = Scope::Only([set.service.clone()].into());
    print(&apply_to(&mut nic, &scope, &services)?, format)
}

/// The service that the arguments describe.
fn service(set: &Set) -> Result<Services> {
    let mut addresses = set.addresses.clone();
    addresses.dedup_by_key(|it| it.is_ipv4());
    ensure!(
        addresses.len() == set.addresses.len() && addresses.len() <= 2,
        "--address: one of each family is wanted"
    );
    let mut services = Services::default();
    let of = PortName {
        service: set.service.clone(),
        port: String::new(),
        protocol: set.protocol,
    };
    let terminating = Conditions {
        ready: false,
        serving: true,
        terminating: true,
    };
    let ready = set.endpoints.iter().map(|at| (at, Conditions::default()));
    let all = ready.chain(set.terminating.iter().map(|at| (at, terminating)));
    for (at, conditions) in all {
        services.add_endpoint(
            of.clone(),
            Endpoint {
                address: at.ip(),
                port: at.port(),
                node: None,
                uid: String::new(),
                conditions,
            },
        );
    }
    let service = Service {
        name: set.service.clone(),
        cluster_ips: addresses,
        external_ips: Vec::new(),
        ingress_ips: Vec::new(),
        ports: vec![Port {
            name: String::new(),
            protocol: set.protocol,
            port: set.port,
            node_port: set.node_port,
        }],
        affinity: set.affinity,
        internal_policy: Policy::Cluster,
        external_policy: Policy::Cluster,
    };
    services.services.insert(set.service.clone(), service);
    Ok(services)
}

pub(super) fn delete(delete: &Delete, format: Format) -> Result<()> {
    let mut nic = delete.nic.writer(Setup::default())?;
    check(&nic, &delete.services)?;
    let scope = match delete.all {
        true => Scope::All,
        false => Scope::Only(delete.services.iter().cloned().collect()),
    };
    print(&apply_to(&mut nic, &scope, &Services::default())?, format)
}
