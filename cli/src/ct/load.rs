// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Files of commands, a line each, such as `-o save` writes.

use std::io::Read;

use super::error::{usage, Result};
use super::options::Command;
use super::parse::{parse, Request};
use super::run::{run, Client};

/// The longest file.
const MAX_FILE: u64 = 1 << 30;

/// Reads a file; `-` is the standard input.
pub(super) fn read(path: &str) -> Result<String> {
    let mut text = String::new();
    let file: Box<dyn Read> = match path {
        "-" => Box::new(std::io::stdin()),
        path => match std::fs::File::open(path) {
            Ok(file) => Box::new(file),
            Err(_) => return usage(format!("Failed to open file {path} for reading")),
        },
    };
    file.take(MAX_FILE).read_to_string(&mut text)?;
    Ok(text)
}

/// The commands of a file. Every line is checked before the first is run.
pub(super) fn commands(text: &str) -> Result<Vec<Request>> {
    let mut requests = Vec::new();
    for line in text.lines() {
        let words: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
        if words.is_empty() || words[0].starts_with('#') {
            continue;
        }
        let request = parse(&words)?;
        match request.command {
            Some(Command::List) => return refused('L'),
            Some(Command::Get) => return refused('G'),
            Some(Command::Events) => return refused('E'),
            Some(Command::Statistics) => return refused('S'),
            Some(Command::Version) => return refused('V'),
            Some(Command::Help) => return refused('h'),
            Some(Command::Count) => return refused('C'),
            Some(_) => requests.push(request),
            None => {}
        }
    }
    Ok(requests)
}

fn refused<T>(letter: char) -> Result<T> {
    usage(format!("Cannot use command `-{letter}' with --load-file"))
}

/// Runs commands until one fails. A command that finds nothing to do does not fail.
pub(super) fn run_all(requests: &[Request], client: &mut Client) -> Result<u8> {
    for request in requests {
        run(request, client)?;
    }
    Ok(0)
}

/// The path behind `-R` or `--load-file`, which is the first word. Elsewhere there is no such option.
pub(super) fn path(words: &[String]) -> Option<&str> {
    let first = words.first()?;
    let joined = first
        .strip_prefix("--load-file=")
        .or(first.strip_prefix("-R").filter(|path| !path.is_empty()));
    if joined.is_some() || first != "-R" && first != "--load-file" {
        return joined;
    }
    words.get(1).map(String::as_str)
}
