// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `adit svc`: the services of a container node in a NIC that runs `p4/k8s_node.p4`.

mod args;
mod change;
mod files;
mod rows;
mod show;
mod trace;
mod watch;

use anyhow::Result;

use crate::output::Format;

pub(crate) use args::{SvcCommand, ABOUT};

pub(crate) fn run(command: &SvcCommand, format: Format) -> Result<()> {
    match command {
        SvcCommand::List(nic) => show::list(nic, format),
        SvcCommand::Show { services, nic } => show::show(services, nic, format),
        SvcCommand::Apply(apply) => change::apply(apply, format),
        SvcCommand::Set(set) => change::set(set, format),
        SvcCommand::Delete(delete) => change::delete(delete, format),
        SvcCommand::Watch(watch) => watch::watch(watch, format),
        SvcCommand::Trace(trace) => trace::run(trace, format),
    }
}
