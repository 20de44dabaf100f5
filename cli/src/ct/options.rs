// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The options of conntrack(8), and the commands with which each is permitted.

use super::error::{usage, Result};
use super::getopt::{Spec, Value};
use super::protocol::{Field, Letter};

/// A command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    List,
    Create,
    Add,
    Update,
    Delete,
    Get,
    Flush,
    Events,
    Count,
    Statistics,
    Version,
    Help,
}

/// A table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Table {
    #[default]
    Conntrack,
    Expect,
    Dying,
    Unconfirmed,
}

/// An option of all protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Opt {
    Src,
    Dst,
    ReplySrc,
    ReplyDst,
    Protocol,
    Timeout,
    Status,
    Zero,
    EventMask,
    TupleSrc,
    TupleDst,
    MaskSrc,
    MaskDst,
    NatRange,
    Mark,
    Id,
    Family,
    SrcNat,
    DstNat,
    Output,
    Secmark,
    BufferSize,
    AnyNat,
    Zone,
    Label,
    LabelAdd,
    LabelDel,
    OrigZone,
    ReplyZone,
}

/// The meaning of a word on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Command(Command),
    Option(Opt),
    /// An option of a protocol.
    Field(Field),
    /// The same on a command line that has named the protocol.
    Letter(Letter),
}

const fn command(letter: char, name: &'static str, command: Command) -> Spec<Key> {
    let value = match command {
        Command::Statistics | Command::Version | Command::Help => Value::None,
        _ => Value::Optional,
    };
    Spec {
        key: Key::Command(command),
        letter: Some(letter),
        name,
        value,
    }
}

const fn option(letter: char, name: &'static str, option: Opt) -> Spec<Key> {
    let value = match option {
        Opt::Zero => Value::None,
        Opt::SrcNat | Opt::DstNat | Opt::AnyNat | Opt::LabelDel => Value::Optional,
        _ => Value::Required,
    };
    Spec {
        key: Key::Option(option),
        letter: match letter {
            '-' => None,
            letter => Some(letter),
        },
        name,
        value,
    }
}

/// The options, each under all of its names. The first one of an option is shown in messages.
pub(super) const SPECS: [Spec<Key>; 43] = [
    command('L', "dump", Command::List),
    command('I', "create", Command::Create),
    command('A', "add", Command::Add),
    command('U', "update", Command::Update),
    command('D', "delete", Command::Delete),
    command('G', "get", Command::Get),
    command('F', "flush", Command::Flush),
    command('E', "event", Command::Events),
    command('C', "counter", Command::Count),
    command('S', "stats", Command::Statistics),
    command('V', "version", Command::Version),
    command('h', "help", Command::Help),
    option('s', "src", Opt::Src),
    option('s', "orig-src", Opt::Src),
    option('d', "dst", Opt::Dst),
    option('d', "orig-dst", Opt::Dst),
    option('r', "reply-src", Opt::ReplySrc),
    option('q', "reply-dst", Opt::ReplyDst),
    option('p', "protonum", Opt::Protocol),
    option('t', "timeout", Opt::Timeout),
    option('u', "status", Opt::Status),
    option('z', "zero", Opt::Zero),
    option('e', "event-mask", Opt::EventMask),
    option('-', "tuple-src", Opt::TupleSrc),
    option('-', "tuple-dst", Opt::TupleDst),
    option('-', "mask-src", Opt::MaskSrc),
    option('-', "mask-dst", Opt::MaskDst),
    option('a', "nat-range", Opt::NatRange),
    option('m', "mark", Opt::Mark),
    option('i', "id", Opt::Id),
    option('f', "family", Opt::Family),
    option('n', "src-nat", Opt::SrcNat),
    option('g', "dst-nat", Opt::DstNat),
    option('o', "output", Opt::Output),
    option('c', "secmark", Opt::Secmark),
    option('b', "buffer-size", Opt::BufferSize),
    option('j', "any-nat", Opt::AnyNat),
    option('w', "zone", Opt::Zone),
    option('l', "label", Opt::Label),
    option('-', "label-add", Opt::LabelAdd),
    option('-', "label-del", Opt::LabelDel),
    option('-', "orig-zone", Opt::OrigZone),
    option('-', "reply-zone", Opt::ReplyZone),
];

impl Opt {
    /// The name that messages show.
    pub(super) fn name(self) -> &'static str {
        let named = SPECS.iter().find(|spec| spec.key == Key::Option(self));
        named.map_or("", |spec| spec.name)
    }

    /// Reports whether a list is compared with the option's value, apart from translations.
    pub(super) fn compares(self) -> bool {
        use Opt::*;
        matches!(
            self,
            Src | Dst | ReplySrc | ReplyDst | Protocol | Mark | Secmark | Status | Id | Label
        ) || matches!(self, Zone | OrigZone | ReplyZone)
    }

    /// Reports whether a command takes the option.
    fn is_permitted(self, command: Command, table: Table) -> bool {
        use Opt::*;
        let tuple = matches!(self, Src | Dst | ReplySrc | ReplyDst | Protocol);
        let label = match command {
            Command::Create | Command::Add => self == LabelAdd,
            Command::Update => matches!(self, Label | LabelAdd | LabelDel),
            _ => self == Label,
        };
        let zone = matches!(self, Zone | OrigZone | ReplyZone);
        let mask = matches!(self, MaskSrc | MaskDst);
        if table == Table::Expect {
            return match command {
                Command::List => matches!(self, Family | Output),
                Command::Events => self == Output,
                Command::Create => {
                    tuple || mask || matches!(self, Timeout | Status | TupleSrc | TupleDst)
                }
                Command::Get | Command::Delete => tuple,
                Command::Help => self == Protocol,
                _ => false,
            };
        }
        let nat = matches!(self, SrcNat | DstNat);
        match command {
            Command::List => {
                let others = matches!(
                    self,
                    Status | Zero | Mark | Family | Output | Secmark | AnyNat
                );
                tuple || label || zone || mask || nat || others
            }
            Command::Create | Command::Add => {
                tuple || label || zone || nat || matches!(self, Timeout | Status | Mark)
            }
            Command::Update | Command::Delete => {
                let others = matches!(self, Timeout | Status | Mark | Id | Family | Output);
                let zone = zone && command == Command::Delete;
                tuple || label || zone || mask || nat || others
            }
            Command::Get => tuple || label || matches!(self, Id | Output),
            Command::Flush => self == Family,
            Command::Events => {
                let others = matches!(
                    self,
                    EventMask | Mark | Family | Output | Secmark | BufferSize | AnyNat
                );
                tuple || label || zone || mask || nat || others
            }
            Command::Help => self == Protocol,
            Command::Count | Command::Statistics | Command::Version => false,
        }
    }

    /// Reports whether a command needs the option.
    fn is_required(self, command: Command, table: Table) -> bool {
        use Opt::*;
        match (table, command) {
            (Table::Expect, Command::Create) => matches!(
                self,
                Src | Dst | Protocol | Timeout | TupleSrc | TupleDst | MaskSrc | MaskDst
            ),
            (Table::Expect, Command::Get | Command::Delete) => {
                matches!(self, Src | Dst | Protocol)
            }
            (Table::Expect, _) => false,
            (_, Command::Create | Command::Add) => matches!(self, Protocol | Timeout),
            (_, Command::Get) => self == Protocol,
            _ => false,
        }
    }
}

/// Checks that a command has the options that it needs, and no other ones. The first one that is wrong
/// is reported, in the order of conntrack(8).
pub(super) fn check(given: &[Opt], command: Command, table: Table) -> Result<()> {
    let mut all: Vec<_> = SPECS
        .iter()
        .filter_map(|spec| match spec.key {
            Key::Option(option) => Some(option),
            _ => None,
        })
        .collect();
    all.sort();
    all.dedup();
    for option in all {
        let (is_given, name) = (given.contains(&option), option.name());
        if !is_given && option.is_required(command, table) {
            return usage(format!(
                "You need to supply the `--{name}' option for this command"
            ));
        }
        if is_given && !option.is_permitted(command, table) {
            return illegal(option);
        }
    }
    Ok(())
}

/// Refuses all options: there is no command.
pub(super) fn refuse(given: &[Opt]) -> Result<()> {
    given.iter().min().map_or(Ok(()), |option| illegal(*option))
}

fn illegal(option: Opt) -> Result<()> {
    let name = option.name();
    usage(format!("Illegal option `--{name}' with this command"))
}
