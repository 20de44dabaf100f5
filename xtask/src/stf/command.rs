// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The lines of a test.

use anyhow::{bail, Context, Result};

use super::control::{self, Control, Entry};

/// A line of a test.
#[derive(Debug, PartialEq)]
pub(super) enum Command {
    Packet {
        port: u16,
        /// The transmit queue that sends it, if any.
        queue: Option<u16>,
        data: Vec<u8>,
    },
    Expect {
        port: u16,
        /// The expected receive queue; `None` for any, and for none.
        queue: Option<u16>,
        /// Expected content; `None` for a packet of any content.
        pattern: Option<Pattern>,
    },
    Add {
        entry: Entry,
        action: Action,
    },
    SetDefault {
        table: String,
        action: Action,
    },
    MirrorPort(u64, u64),
    MirrorGroup(u64, u64),
    MakeGroup(u64),
    MakeNode(u64, Vec<u64>),
    JoinGroup(u64, usize),
    CheckCounter {
        counter: String,
        index: usize,
        packets: Option<u64>,
        bytes: Option<u64>,
    },
    RegisterRead(String, usize, Option<u64>),
    RegisterWrite(String, usize, u64),
    Control(Control),
    /// A command that must be refused.
    Fails(Box<Command>),
}

#[derive(Debug, PartialEq)]
pub(super) struct Action {
    pub(super) name: String,
    /// Names and values of the arguments.
    pub(super) arguments: Vec<(String, String)>,
}

/// The expected packet: nibbles, `None` for any.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pattern {
    pub(super) nibbles: Vec<Option<u8>>,
    /// `true` if the packet must end with it.
    pub(super) is_whole: bool,
}

/// Parses the commands of a test, with their line numbers.
pub(super) fn parse(text: &str) -> Result<Vec<(usize, Command)>> {
    let mut commands = Vec::new();
    for (n, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let command = parse_line(line).with_context(|| format!("line {}: `{line}`", n + 1))?;
        commands.push((n + 1, command));
    }
    Ok(commands)
}

fn parse_line(line: &str) -> Result<Command> {
    let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let rest = rest.trim();
    let words: Vec<&str> = rest.split_whitespace().collect();
    let number = |n: usize| -> Result<u64> {
        let word = words.get(n).context("a number is missing")?;
        word.parse()
            .with_context(|| format!("`{word}` is no number"))
    };
    Ok(match word.to_ascii_lowercase().as_str() {
        "packet" => {
            let (port, data) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
            let pattern = pattern(data)?;
            let bytes = pattern.nibbles.chunks(2).map(|pair| match pair {
                [Some(high), Some(low)] => Ok(high << 4 | low),
                _ => bail!("a packet is made of whole bytes"),
            });
            let (port, queue) = port_and_queue(port).context("a packet needs a port")?;
            Command::Packet {
                port,
                queue,
                data: bytes.collect::<Result<_>>()?,
            }
        }
        "expect" => {
            let (port, data) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
            let (port, queue) = port_and_queue(port).context("an expected packet needs a port")?;
            Command::Expect {
                port,
                queue,
                pattern: match data.trim().is_empty() {
                    true => None,
                    false => Some(pattern(data)?),
                },
            }
        }
        "add" => add(rest)?,
        "setdefault" => {
            let (table, action) = rest
                .split_once(char::is_whitespace)
                .context("`setdefault` takes a table and an action")?;
            Command::SetDefault {
                table: unquoted(table),
                action: action_of(action)?,
            }
        }
        "mirroring_add" => Command::MirrorPort(number(0)?, number(1)?),
        "mirroring_add_mc" => Command::MirrorGroup(number(0)?, number(1)?),
        "mc_mgrp_create" => Command::MakeGroup(number(0)?),
        "mc_node_create" => {
            let ports: Result<_> = (1..words.len()).map(number).collect();
            Command::MakeNode(number(0)?, ports?)
        }
        "mc_node_associate" => Command::JoinGroup(number(0)?, number(1)? as usize),
        "register_read" => {
            let value = if words.len() > 2 {
                Some(number(2)?)
            } else {
                None
            };
            Command::RegisterRead(words[0].to_owned(), number(1)? as usize, value)
        }
        "register_write" => {
            Command::RegisterWrite(words[0].to_owned(), number(1)? as usize, number(2)?)
        }
        "check_counter" => check_counter(rest)?,
        "fails" => Command::Fails(Box::new(parse_line(rest)?)),
        other => match control::parse(other, rest)? {
            Some(control) => Command::Control(control),
            None => bail!("there is no command `{other}`"),
        },
    })
}

/// Parses `port` or `port@queue`.
fn port_and_queue(text: &str) -> Result<(u16, Option<u16>)> {
    match text.split_once('@') {
        Some((port, queue)) => Ok((port.parse()?, Some(queue.parse()?))),
        None => Ok((text.parse()?, None)),
    }
}

/// Parses `check_counter name(index) packets == n` or `bytes == n`.
fn check_counter(rest: &str) -> Result<Command> {
    let (counter, rest) = rest
        .split_once('(')
        .context("an index in parentheses is missing")?;
    let (index, rest) = rest.split_once(')').context("`)` is missing")?;
    let (mut packets, mut bytes) = (None, None);
    let words: Vec<&str> = rest.split_whitespace().collect();
    match words[..] {
        ["packets", "==", n] | ["==", n] => packets = Some(n.parse()?),
        ["bytes", "==", n] => bytes = Some(n.parse()?),
        _ => bail!("`packets == n` or `bytes == n` is expected"),
    }
    Ok(Command::CheckCounter {
        counter: unquoted(counter.trim()),
        index: index.trim().parse()?,
        packets,
        bytes,
    })
}

fn pattern(text: &str) -> Result<Pattern> {
    let mut pattern = Pattern {
        nibbles: Vec::new(),
        is_whole: false,
    };
    for c in text.chars().filter(|c| !c.is_whitespace()) {
        match c {
            '$' => pattern.is_whole = true,
            _ if pattern.is_whole => bail!("something stands behind `$`"),
            '*' => pattern.nibbles.push(None),
            _ => {
                let digit = c
                    .to_digit(16)
                    .with_context(|| format!("`{c}` is no hex digit"))?;
                pattern.nibbles.push(Some(digit as u8));
            }
        }
    }
    Ok(pattern)
}

/// Parses `table [priority] key:value… action(name:value, …)`.
fn add(rest: &str) -> Result<Command> {
    let (entry, action) = control::entry_and_action(rest)?;
    Ok(Command::Add { entry, action })
}

pub(super) fn action_of(text: &str) -> Result<Action> {
    let text = text.trim();
    let Some((name, arguments)) = text.split_once('(') else {
        return Ok(Action {
            name: unquoted(text),
            arguments: Vec::new(),
        });
    };
    let (arguments, _) = arguments.rsplit_once(')').context("`)` is missing")?;
    // Some tests omit the commas.
    let several = |part: &&str| part.matches(':').count() > 1;
    let arguments = arguments.split(',').flat_map(|part| match several(&part) {
        true => part.split_whitespace().collect::<Vec<_>>(),
        false => vec![part.trim()],
    });
    let arguments = arguments.filter(|a| !a.is_empty());
    let pair = |argument: &str| match argument.split_once(':') {
        Some((name, value)) => (unquoted(name.trim()), value.trim().to_owned()),
        None => (String::new(), argument.to_owned()),
    };
    Ok(Action {
        name: unquoted(name.trim()),
        arguments: arguments.map(pair).collect(),
    })
}

pub(super) fn unquoted(text: &str) -> String {
    text.trim_matches('"').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_understood() {
        let commands = parse(
            "# a comment\n\
             packet 3@1 00ff AB cd\n\
             expect 511@0 0* $\n\
             expect 2\n\
             add t.u 7 \"a.b\":0x1* c$0.d:5/3 x.act(p:1, q:0xff)\n",
        )
        .unwrap();
        assert_eq!(
            commands[0].1,
            Command::Packet {
                port: 3,
                queue: Some(1),
                data: vec![0, 255, 0xab, 0xcd]
            }
        );
        let nibbles = vec![Some(0), None];
        let pattern = Some(Pattern {
            nibbles,
            is_whole: true,
        });
        let queue = Some(0);
        let port = 511;
        let expected = Command::Expect {
            port,
            queue,
            pattern,
        };
        assert_eq!(commands[1], (3, expected));
        assert_eq!(
            commands[2].1,
            Command::Expect {
                port: 2,
                queue: None,
                pattern: None
            }
        );
        let Command::Add { entry, action } = &commands[3].1 else {
            panic!()
        };
        assert_eq!((entry.table.as_str(), entry.priority), ("t.u", Some(7)));
        assert_eq!(entry.keys[0], ("a.b".to_owned(), "0x1*".to_owned()));
        assert_eq!(entry.keys[1], ("c$0.d".to_owned(), "5/3".to_owned()));
        assert_eq!(action.arguments[1], ("q".to_owned(), "0xff".to_owned()));
        let error = parse("\nfrobnicate 1").unwrap_err();
        assert!(format!("{error:#}").contains("line 2"), "{error:#}");
    }
}
