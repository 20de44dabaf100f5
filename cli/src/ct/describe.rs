// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The options of conntrack(8) as declared arguments, for scripts that complete command lines. They are read by
//! [`parse`](super::parse), which knows more than declarations can say.

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, Command};

use super::getopt::{Spec, Value};
use super::options::{Key, Opt, SPECS};
use super::parse::OUTPUTS;
use super::{help, protocol};

/// The tables, which follow a command.
const TABLES: [&str; 4] = ["conntrack", "expect", "dying", "unconfirmed"];
/// Bits of a status that an option names.
const STATUS: [&str; 8] = [
    "ASSURED",
    "SEEN_REPLY",
    "UNREPLIED",
    "UNSET",
    "FIXED_TIMEOUT",
    "EXPECTED",
    "OFFLOAD",
    "HW_OFFLOAD",
];

/// The names that an option's value may have, if it has names.
fn values(key: Key) -> Vec<&'static str> {
    match key {
        Key::Option(Opt::Output) => OUTPUTS.to_vec(),
        Key::Option(Opt::EventMask) => vec!["ALL", "NEW", "UPDATES", "DESTROY"],
        Key::Option(Opt::Family) => vec!["ipv4", "ipv6"],
        Key::Option(Opt::Status) => STATUS.to_vec(),
        Key::Option(Opt::Protocol) => protocol::names().collect(),
        _ => Vec::new(),
    }
}

/// An option as an argument; the names after the first one are aliases.
fn argument(specs: &[&Spec<Key>]) -> Option<Arg> {
    let (first, others) = specs.split_first()?;
    let mut arg = Arg::new(first.name)
        .long(first.name)
        .visible_aliases(others.iter().map(|spec| spec.name));
    arg = match (first.key, first.value) {
        // Its value is a table, which is a word of its own.
        (Key::Command(_), _) | (_, Value::None) => arg.action(ArgAction::SetTrue),
        (_, Value::Optional) => arg.num_args(0..=1),
        (_, Value::Required) => arg.num_args(1),
    };
    let values = values(first.key);
    if !values.is_empty() {
        arg = arg.value_parser(PossibleValuesParser::new(values));
    }
    Some(match first.letter {
        Some(letter) => arg.short(letter),
        None => arg,
    })
}

/// Declares the options of `adit ct`, those of all protocols included.
pub(crate) fn with_options(command: Command) -> Command {
    let mut specs: Vec<&Spec<Key>> = Vec::new();
    for spec in SPECS.iter().chain(protocol::all_options()) {
        if specs.iter().all(|other| other.name != spec.name) {
            specs.push(spec);
        }
    }
    let mut arguments = Vec::new();
    while let Some(first) = specs.first().copied() {
        // Keys of GRE and types of ICMPv6 have names of their own for what other protocols have, too.
        let (same, others): (Vec<_>, Vec<_>) =
            specs.into_iter().partition(|spec| spec.key == first.key);
        arguments.extend(argument(&same));
        specs = others;
    }
    command.mut_subcommand("ct", |ct| {
        ct.disable_help_flag(true)
            .args(arguments)
            .mut_arg("words", |words| {
                words.value_parser(PossibleValuesParser::new(TABLES))
            })
    })
}

/// Adds the help of `adit ct` to the command, for the manual page.
pub(crate) fn with_help(command: Command) -> Command {
    command.mut_subcommand("ct", |ct| ct.after_long_help(help::whole()))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn script(shell: clap_complete::Shell) -> String {
        let mut script = Vec::new();
        let mut command = with_options(crate::args::Args::command());
        clap_complete::generate(shell, &mut command, "adit", &mut script);
        String::from_utf8(script).unwrap()
    }

    #[test]
    fn completions_have_all_options() {
        use clap_complete::Shell;
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = script(shell);
            for spec in SPECS.iter().chain(protocol::all_options()) {
                assert!(script.contains(spec.name), "{shell}: --{}", spec.name);
            }
            for name in ["ktimestamp", "UPDATES", "udplite"] {
                assert!(script.contains(name), "{shell}: {name}");
            }
            // clap's scripts for fish complete no words but options and commands.
            assert!(
                script.contains("unconfirmed") || shell == Shell::Fish,
                "{shell}"
            );
        }
    }

    #[test]
    fn the_manual_page_has_all_options() {
        let command = with_help(crate::args::Args::command());
        let ct = command.find_subcommand("ct").unwrap();
        let help = ct.get_after_long_help().unwrap().to_string();
        for spec in SPECS.iter().chain(protocol::all_options()) {
            assert!(
                help.contains(&format!("--{}", spec.name)),
                "--{}",
                spec.name
            );
        }
    }

    #[test]
    fn declarations_are_consistent() {
        with_options(crate::args::Args::command()).debug_assert();
    }
}
