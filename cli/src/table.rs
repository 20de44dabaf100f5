// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `adit table` and `adit counter`: the entries and counters of a NIC's program, over P4Runtime.

mod args;
mod call;
pub(crate) mod catalog;
mod counter;
mod device;
mod entry;
mod list;
mod matching;
mod one_shot;
mod profile;
pub(crate) mod value;
pub(crate) mod write;

use anyhow::Result;

use crate::output::Format;

pub(crate) use args::{TableCommand, SYNTAX};
pub(crate) use counter::CounterCommand;
pub(crate) use device::Device;

pub(crate) fn run(command: &TableCommand, format: Format) -> Result<()> {
    match command {
        TableCommand::List(which) => list::list(which, format),
        TableCommand::Dump(which) => list::dump(which, format),
        TableCommand::Add { entries, replace } => {
            write::write(entries, write::How::Add { replace: *replace }, format)
        }
        TableCommand::Set(entries) => write::write(entries, write::How::Set, format),
        TableCommand::Delete(entries) => write::write(entries, write::How::Delete, format),
    }
}

pub(crate) fn run_counter(command: &CounterCommand, format: Format) -> Result<()> {
    counter::run(command, format)
}
