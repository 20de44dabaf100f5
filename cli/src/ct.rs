// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `adit ct`: the connections of a NIC, with the command line of conntrack(8). The program is the same
//! under the name `conntrack`.
//!
//! Options are read as conntrack(8) reads them, which no parser of declared arguments does: those of a
//! protocol follow its name, some take the next word only if it is no option, and most values that are
//! no numbers are 0.

mod convert;
mod date;
mod describe;
mod error;
mod events;
mod flow;
mod getopt;
mod help;
mod json;
mod labels;
mod load;
mod options;
mod parse;
mod print;
mod protocol;
mod run;
mod save;
#[cfg(test)]
mod tests;
mod text;
mod values;
mod xml;

use std::ffi::OsString;
use std::path::Path;

use adit_p4runtime::client;
use anyhow::{Context, Result};
use clap::{Args, FromArgMatches};

use crate::output::Format;
use crate::server::Server;
pub(crate) use describe::{with_help, with_options};
use error::PROGRAM;
use run::Client;

/// Arguments of `adit ct`.
#[derive(Debug, Args)]
pub(crate) struct Ct {
    #[command(flatten)]
    server: Server,
    /// Command, table and options of conntrack(8): see `adit ct -h`
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "OPTION"
    )]
    words: Vec<String>,
}

/// The names of the options before those of conntrack(8), each of which has a value.
const OWN: [&str; 4] = ["--p4rt", "--tls-ca", "--tls-cert", "--tls-key"];

/// The arguments, if the program is called as `conntrack`, or with the command `ct`.
pub(crate) fn arguments(all: &[OsString]) -> Option<Ct> {
    let name = all.first().map(Path::new).and_then(Path::file_name)?;
    let words = match name == "conntrack" {
        true => &all[1..],
        false if all.get(1).is_some_and(|word| word == "ct") => &all[2..],
        false => return None,
    };
    let words: Vec<_> = words
        .iter()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let mut own = 0;
    while let Some(word) = words.get(own) {
        match OWN.iter().find_map(|name| word.strip_prefix(name)) {
            Some("") => own += 2,
            Some(value) if value.starts_with('=') => own += 1,
            _ => break,
        }
    }
    let own = own.min(words.len());
    let command = Server::augment_args(clap::Command::new("adit ct").no_binary_name(true));
    let matches = command.get_matches_from(&words[..own]);
    let server = Server::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    Some(Ct {
        server,
        words: words[own..].to_vec(),
    })
}

/// Runs the command in the format of all commands, and returns its exit code.
pub(crate) fn run_as(command: &Ct, format: Format) -> u8 {
    let mut words = command.words.clone();
    if format == Format::Json {
        words.extend(["-o".to_owned(), "json".to_owned()]);
    }
    let result = command.run(&words);
    result.unwrap_or_else(|failure| failure.report())
}

/// Runs the command, and returns its exit code.
pub(crate) fn run(command: &Ct) -> u8 {
    run_as(command, Format::Table)
}

impl Ct {
    fn run(&self, words: &[String]) -> error::Result<u8> {
        if let Some(path) = load::path(words) {
            let requests = load::commands(&load::read(path)?)?;
            if requests.is_empty() {
                return Ok(0);
            }
            return load::run_all(&requests, &mut self.connect()?);
        }
        let request = parse::parse(words)?;
        if run::run_alone(&request)? {
            return Ok(0);
        }
        let done = run::run(&request, &mut self.connect()?)?;
        if let Some(summary) = done.summary {
            error::say(&summary);
        }
        Ok(done.code)
    }

    fn connect(&self) -> Result<Client> {
        let server = &self.server;
        let (runtime, channel) = client::connect(&server.address, server.tls()?.as_ref())
            .context("the NIC's connections")?;
        Ok(Client::new(runtime, channel))
    }
}
