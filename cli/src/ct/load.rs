// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Files of commands, a line each, such as `-o save` writes.

use std::io::Read;

use anyhow::Context;

use super::error::{usage, Result};
use super::options::{Command, Table};
use super::parse::{parse, Output, Request};
use super::run::{run, Client};

/// The most bytes of a file.
const MAX_FILE: usize = 1 << 30;

/// Reads a file; `-` is the standard input.
pub(super) fn read(path: &str) -> Result<String> {
    let file: Box<dyn Read> = match path {
        "-" => Box::new(std::io::stdin()),
        path => match std::fs::File::open(path) {
            Ok(file) => Box::new(file),
            Err(_) => return usage(format!("Failed to open file {path} for reading")),
        },
    };
    read_at_most(MAX_FILE, file, path)
}

/// Reads a file of at most so many bytes. What is no UTF-8 is replaced, as in words of the command line.
fn read_at_most(most: usize, file: impl Read, path: &str) -> Result<String> {
    let mut bytes = Vec::new();
    let mut file = file.take(most as u64 + 1);
    let read = file.read_to_end(&mut bytes);
    read.with_context(|| format!("reading file {path}"))?;
    if bytes.len() > most {
        return usage(format!("File {path} has more than {most} bytes"));
    }
    let text = String::from_utf8(bytes);
    Ok(text.unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

/// The most words of a line, and the most bytes of a word.
const MAX_WORDS: usize = 253;
const MAX_WORD: usize = 1023;

/// The words of a line: quoted ones may contain blanks, and `\\` before any character. A word ends with its
/// second quote.
fn words(line: &str) -> Result<Vec<String>> {
    let (mut all, mut word) = (Vec::new(), String::new());
    let (mut is_quoted, mut is_escaped) = (false, false);
    for c in line.chars() {
        let ends = match c {
            _ if is_escaped => {
                is_escaped = false;
                false
            }
            '\\' if is_quoted => {
                is_escaped = true;
                continue;
            }
            '"' => {
                is_quoted = !is_quoted;
                if is_quoted {
                    continue;
                }
                true
            }
            ' ' | '\t' | '\n' if !is_quoted && word.is_empty() => continue,
            ' ' | '\t' | '\n' => !is_quoted,
            _ => false,
        };
        if ends {
            all.push(std::mem::take(&mut word));
        } else {
            word.push(c);
        }
        if word.len() > MAX_WORD {
            return usage("Parameter too long!");
        }
    }
    if !word.is_empty() {
        all.push(word);
    }
    if all.len() > MAX_WORDS {
        return usage("too many arguments");
    }
    Ok(all)
}

/// The commands of a file. Every line is checked before the first is run.
pub(super) fn commands(text: &str) -> Result<Vec<Request>> {
    let lines = text.split_inclusive('\n');
    let lines = lines.map(|line| line.trim_start_matches([' ', '\t']));
    let lines = lines.filter(|line| !line.starts_with(['\n', '#']));
    // As conntrack(8) does, each type of output applies to all.
    let mut output = Output::default();
    let mut read = |line| {
        let request = parse(&words(line)?)?;
        output.add(request.output)?;
        Ok(request)
    };
    let mut requests = lines.map(&mut read).collect::<Result<Vec<_>>>()?;
    for request in &mut requests {
        request.output = output;
    }
    match requests.iter().find_map(unsuitable) {
        Some(name) => usage(format!("Cannot use command `{name}' with --load-file")),
        None => Ok(requests),
    }
}

/// The name of a command that files cannot have. conntrack(8) calls the creation of an expectation
/// `-C expect`.
fn unsuitable(request: &Request) -> Option<&'static str> {
    let Some(command) = request.command else {
        return Some("unknown");
    };
    let (connections, expectations) = match command {
        Command::List => ("-L", "-L expect"),
        Command::Get => ("-G", "-G expect"),
        Command::Events => ("-E", "-E expect"),
        Command::Count => ("-C", "-C expect"),
        Command::Statistics => ("-S", "-S expect"),
        Command::Version => ("-V", "-V"),
        Command::Help => ("-h", "-h"),
        Command::Create => ("", "-C expect"),
        Command::Delete => ("", "-D expect"),
        Command::Flush => ("", "-F expect"),
        Command::Add | Command::Update => ("", ""),
    };
    let name = match request.table {
        Table::Expect => expectations,
        _ => connections,
    };
    Some(name).filter(|name| !name.is_empty())
}

/// Runs commands until one fails. A command that finds nothing to do does not fail, and what each has
/// done is not summed up.
pub(super) fn run_all(requests: &[Request], client: &mut Client) -> Result<u8> {
    for request in requests {
        run(request, client)?;
    }
    Ok(0)
}

/// The path behind `-R` or `--load-file`, which is the first word. Elsewhere there is no such option.
pub(super) fn path(words: &[String]) -> Option<&str> {
    match words {
        [option, path, ..] if option == "-R" || option == "--load-file" => Some(path),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::error::Failure;
    use super::*;

    #[test]
    fn words_may_be_quoted() {
        let read = |line: &str| words(line).unwrap();
        assert_eq!(read("-F  \t-p tcp\n"), ["-F", "-p", "tcp"]);
        assert_eq!(read("-l \"eth0 in\"x\n"), ["-l", "eth0 in", "x"]);
        assert_eq!(read(r#"a"b\"c" "" d\"#), ["ab\"c", "", "d\\"]);
        assert!(words(&"x".repeat(1024)).is_err());
        assert!(words(&"x ".repeat(254)).is_err());
    }

    /// A part of a file would pass for all of it.
    #[test]
    fn a_file_is_read_as_a_whole_or_not_at_all() {
        let read = |most| read_at_most(most, &b"-F\n\xff\n"[..], "commands");
        assert_eq!(read(5).unwrap(), "-F\n\u{fffd}\n");
        let Err(Failure::Usage(text)) = read(4) else {
            panic!("it has 5 bytes");
        };
        assert_eq!(text, "File commands has more than 4 bytes");
    }
}
