// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The command line: which command, on which table, with which values.

use std::collections::BTreeMap;
use std::net::IpAddr;

use adit_conntrack::Status;

use super::error::{note, usage, Failure, Result};
use super::getopt::{Problem, Reader, Spec};
use super::labels::{self, Bits, Labels};
use super::options::{self, Command, Key, Opt, Table, SPECS};
use super::protocol::{self, Field, Letter};
use super::values::{self, Network};

/// The address and port to which a connection is translated, if they are given.
pub(super) type NatValue = Option<(IpAddr, Option<u16>)>;

/// The types of output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Output {
    pub(super) xml: bool,
    pub(super) extended: bool,
    pub(super) timestamp: bool,
    pub(super) id: bool,
    pub(super) ktimestamp: bool,
    pub(super) labels: bool,
    /// The origin of an event is to be shown, as it is in any case.
    pub(super) userspace: bool,
    pub(super) save: bool,
    pub(super) json: bool,
}

impl Output {
    /// The types in the order of their names.
    fn flags(&mut self) -> [&mut bool; 9] {
        [
            &mut self.xml,
            &mut self.extended,
            &mut self.timestamp,
            &mut self.id,
            &mut self.ktimestamp,
            &mut self.labels,
            &mut self.userspace,
            &mut self.save,
            &mut self.json,
        ]
    }

    /// Adds types, if they can be combined.
    pub(super) fn add(&mut self, mut other: Output) -> Result<()> {
        for (flag, added) in self.flags().into_iter().zip(other.flags()) {
            *flag |= *added;
        }
        // What userspace asks for is shown in any case.
        let count = self.flags().into_iter().filter(|flag| **flag).count();
        let count = count - usize::from(self.userspace);
        for (name, is_set) in [("save", self.save), ("json", self.json)] {
            if is_set && count > 1 {
                return Err(Failure::Operation(format!(
                    "cannot combine {name} output with any other output type, use -o {name} only"
                )));
            }
        }
        Ok(())
    }
}

/// The kinds of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Events {
    pub(super) new: bool,
    pub(super) update: bool,
    pub(super) destroy: bool,
}

/// A command with its values.
#[derive(Clone, Debug, Default)]
pub(super) struct Request {
    pub(super) command: Option<Command>,
    pub(super) table: Table,
    given: Vec<Opt>,
    pub(super) src: Option<IpAddr>,
    pub(super) dst: Option<IpAddr>,
    pub(super) reply_src: Option<IpAddr>,
    pub(super) reply_dst: Option<IpAddr>,
    pub(super) mask_src: Option<IpAddr>,
    pub(super) mask_dst: Option<IpAddr>,
    pub(super) tuple_src: Option<IpAddr>,
    pub(super) tuple_dst: Option<IpAddr>,
    /// Reports whether it is IPv6.
    pub(super) is_v6: Option<bool>,
    pub(super) protocol: Option<u8>,
    pub(super) fields: BTreeMap<Field, u32>,
    /// The places of the fields that are given.
    places: Vec<usize>,
    /// The protocols of which a state is given, and the one of which an end of the reply is.
    states_of: Vec<u8>,
    reply_of: Option<u8>,
    pub(super) timeout: Option<u32>,
    /// Bits that are set, and bits that are not.
    pub(super) status: Option<(Status, Status)>,
    pub(super) mark: Option<(u32, Option<u32>)>,
    pub(super) id: Option<u64>,
    pub(super) src_nat: Option<NatValue>,
    pub(super) dst_nat: Option<NatValue>,
    pub(super) any_nat: Option<NatValue>,
    pub(super) zone: Option<u16>,
    pub(super) orig_zone: Option<u16>,
    pub(super) reply_zone: Option<u16>,
    pub(super) label: Option<Bits>,
    pub(super) label_add: Option<Bits>,
    /// The labels to be taken away; nothing stands for all.
    pub(super) label_del: Option<Option<Bits>>,
    /// The names of labels, once an option needs them.
    pub(super) labels: Option<Labels>,
    pub(super) output: Output,
    pub(super) events: Option<Events>,
    pub(super) buffer: Option<i64>,
    pub(super) zero: bool,
}

/// The names of the types of output, in the order in which abbreviations are looked up.
pub(super) const OUTPUTS: [&str; 9] = [
    "xml",
    "extended",
    "timestamp",
    "id",
    "ktimestamp",
    "labels",
    "userspace",
    "save",
    "json",
];

const DCCP_STATES: [&str; 8] = [
    "NONE", "REQUEST", "RESPOND", "PARTOPEN", "OPEN", "CLOSEREQ", "CLOSING", "TIMEWAIT",
];

/// Reads a command line.
pub(super) fn parse(words: &[String]) -> Result<Request> {
    let mut request = Request::default();
    let mut specs: Vec<Spec<Key>> = SPECS.to_vec();
    let mut reader = Reader::new(words);
    let mut turn = 0;
    while let Some(option) = reader.next(&specs) {
        let (key, value) = option.map_err(|problem| {
            Failure::Usage(match problem {
                Problem::Unknown(word) => format!("unknown option `{word}'"),
                Problem::NoValue(word) => format!("option `{word}' requires an argument"),
            })
        })?;
        match key {
            Key::Command(command) => request.set_command(command, value, &mut reader)?,
            Key::Letter(letter) => request.set_field(letter, value.unwrap_or_default())?,
            // Protocols add letters.
            Key::Field(_) => {}
            Key::Option(option) => {
                // Of an optional value, conntrack(8) takes the next word, and ignores one that is joined to
                // the option.
                let value = match (option, value) {
                    (Opt::SrcNat | Opt::DstNat | Opt::AnyNat | Opt::LabelDel, None) => {
                        reader.take_word()
                    }
                    (Opt::SrcNat | Opt::DstNat | Opt::AnyNat | Opt::LabelDel, Some(_)) => None,
                    _ => value,
                };
                request.set(option, value)?;
                if let (Opt::Protocol, Some(number)) = (option, request.protocol) {
                    let own = protocol::by_number(number);
                    specs.extend(own.iter().flat_map(|protocol| protocol.letters(turn)));
                    turn += 1;
                }
            }
        }
    }
    request.check()?;
    Ok(request)
}

impl Request {
    fn set_command(
        &mut self,
        command: Command,
        joined: Option<&str>,
        reader: &mut Reader<'_>,
    ) -> Result<()> {
        if self.command.is_some() {
            return usage("Invalid commands combination");
        }
        self.command = Some(command);
        // A table that is joined to the option is ignored, as conntrack(8) does.
        let table = match joined {
            None => reader.take_word(),
            Some(_) => None,
        };
        let tables = [
            ("expect", Table::Expect),
            ("conntrack", Table::Conntrack),
            ("dying", Table::Dying),
            ("unconfirmed", Table::Unconfirmed),
        ];
        self.table = match table {
            None => Table::Conntrack,
            Some(name) => match tables.iter().find(|(full, _)| full.starts_with(name)) {
                Some((_, table)) => *table,
                None => return usage(format!("unknown type `{name}'")),
            },
        };
        match (self.table, command) {
            (Table::Dying | Table::Unconfirmed, _) if command != Command::List => {
                usage("Can't do that command with tables `dying' and `unconfirmed'")
            }
            (Table::Expect, Command::Update) => usage("Can't do --update on expectations"),
            (Table::Expect, Command::Add) => usage("Can't do --add on expectations"),
            _ => Ok(()),
        }
    }

    fn set_field(&mut self, letter: Letter, text: &str) -> Result<()> {
        let number = self.protocol.unwrap_or(0);
        let found = protocol::by_number(number).and_then(|protocol| protocol.field(letter));
        let Some((place, field)) = found else {
            return Ok(()); // It is an option of a protocol named before.
        };
        let name = Some(protocol::shown_name(number));
        let value = match (field, name) {
            (Field::State, Some("tcp")) => values::tcp_state(text)?,
            (Field::State, Some("sctp")) => values::sctp_state(text)?,
            // Its message begins with a capital letter, as that about a role.
            (Field::State, _) => match DCCP_STATES.iter().position(|name| *name == text) {
                Some(index) => index as u32,
                None => return usage(format!("Unknown DCCP state `{text}'")),
            },
            (Field::Role, _) => match values::role(text) {
                Some(role) => role,
                None => return usage(format!("Unknown DCCP role `{text}'")),
            },
            (Field::OrigTag | Field::ReplyTag, _) => values::tag(values::number(text) as u32),
            (_, Some("gre")) => u32::from(values::number(text) as u16),
            (Field::IcmpType | Field::IcmpCode, _) => u32::from(values::decimal(text) as u8),
            _ => u32::from(values::decimal(text) as u16),
        };
        self.fields.insert(field, value);
        self.places.push(place);
        if field == Field::State {
            self.states_of.push(number);
        } else if matches!(field, Field::ReplySrc | Field::ReplyDst) {
            self.reply_of = Some(number);
        }
        Ok(())
    }

    /// Reports whether no connection has the values: a state or an end of the reply is that of a protocol which
    /// was named before another one, or an end of the reply is not the one that it is translated to.
    pub(super) fn finds_nothing(&self) -> bool {
        let is_other = |number: &u8| self.protocol != Some(*number);
        let finds_state = self.command != Some(Command::Update);
        let part = |field| self.fields.get(&field).map(|part| *part as u16);
        let differs = |nat: Option<NatValue>, address: Option<IpAddr>, part: Option<u16>| {
            nat.flatten().is_some_and(|(to, port)| {
                address.is_some_and(|address| address != to)
                    || port.zip(part).is_some_and(|(port, part)| port != part)
            })
        };
        let is_other_end = differs(self.src_nat, self.reply_dst, part(Field::ReplyDst))
            || differs(self.dst_nat, self.reply_src, part(Field::ReplySrc));
        finds_state && self.states_of.iter().any(is_other)
            || self.reply_of.iter().any(is_other)
            || is_other_end
    }

    /// The seconds that the connections to be deleted have left, if these are compared with values: conntrack(8)
    /// compares the timeout only then.
    pub(super) fn timeout_to_find(&self) -> Option<u32> {
        let deletes = self.command == Some(Command::Delete);
        self.timeout.filter(|_| deletes && self.compares())
    }

    /// Reports whether connections are compared with values, apart from translations.
    fn compares(&self) -> bool {
        self.given.iter().any(|option| option.compares())
    }

    /// Reports whether a port is given to which an end is translated.
    pub(super) fn has_nat_port(&self) -> bool {
        let nats = [self.src_nat, self.dst_nat].into_iter().flatten().flatten();
        nats.into_iter().any(|(_, port)| port.is_some())
    }

    /// Notes the family of an address, which all addresses have.
    fn set_family(&mut self, is_v6: bool) -> Result<()> {
        if self.is_v6.is_some_and(|other| other != is_v6) {
            return usage("mismatched address family");
        }
        self.is_v6 = Some(is_v6);
        Ok(())
    }

    fn address(&mut self, option: Opt, text: &str) -> Result<(IpAddr, Option<IpAddr>)> {
        let Network { address, prefix } = Network::read(text)?;
        self.set_family(address.is_ipv6())?;
        let implied = match option {
            Opt::Src | Opt::TupleSrc => Some(Opt::MaskSrc),
            Opt::Dst | Opt::TupleDst => Some(Opt::MaskDst),
            _ => None,
        };
        let (prefix, implied) = match (prefix, implied) {
            (None, _) => return Ok((address, None)),
            (Some(_), None) => {
                let name = option.name();
                return usage(format!("CIDR notation unavailable for `--{name}'"));
            }
            (Some(None), _) => return usage("Invalid netmask"),
            (Some(Some(prefix)), Some(implied)) => (prefix, implied),
        };
        if prefix == values::longest(address) {
            return Ok((address, None));
        }
        self.given.push(implied);
        Ok((address, Some(values::mask(address, prefix))))
    }

    /// The address and port of a translation. Those that were given before stay where there are no others.
    fn nat(
        &mut self,
        option: Opt,
        value: Option<&str>,
        before: Option<NatValue>,
    ) -> Result<Option<NatValue>> {
        let before = before.flatten();
        let Some(text) = value else {
            return Ok(Some(before));
        };
        let (host, port) = values::nat(text)?;
        let port = port.or(before.and_then(|(_, port)| port));
        Ok(Some(Some((self.address(option, host)?.0, port))))
    }

    /// The names of labels, or nothing without a file of them.
    fn load_labels(&mut self) {
        if self.labels.is_none() {
            self.labels = Labels::load();
        }
    }

    fn set_labels(&mut self, option: Opt, names: Option<&str>) -> Result<()> {
        self.load_labels();
        if [Opt::LabelAdd, Opt::LabelDel]
            .iter()
            .all(|option| self.given.contains(option))
        {
            let text = "cannot use --label-add and --label-del at the same time";
            return Err(Failure::Operation(text.to_owned()));
        }
        let bits = names
            .map(|names| labels::bits(self.labels.as_ref(), names))
            .transpose()?;
        match (option, bits) {
            (Opt::Label, Some(bits)) => *self.label.get_or_insert_default() |= bits,
            (Opt::LabelAdd, Some(bits)) => *self.label_add.get_or_insert_default() |= bits,
            (_, None) => {
                self.label_del.get_or_insert_default();
            }
            (_, Some(bits)) => {
                *self
                    .label_del
                    .get_or_insert_default()
                    .get_or_insert_default() |= bits;
            }
        }
        Ok(())
    }

    fn set(&mut self, option: Opt, value: Option<&str>) -> Result<()> {
        let text = value.unwrap_or_default();
        if option != Opt::NatRange {
            self.given.push(option);
        }
        match option {
            Opt::Src => {
                let (address, mask) = self.address(option, text)?;
                (self.src, self.mask_src) = (Some(address), mask.or(self.mask_src));
            }
            Opt::Dst => {
                let (address, mask) = self.address(option, text)?;
                (self.dst, self.mask_dst) = (Some(address), mask.or(self.mask_dst));
            }
            Opt::TupleSrc => {
                let (address, mask) = self.address(option, text)?;
                (self.tuple_src, self.mask_src) = (Some(address), mask.or(self.mask_src));
            }
            Opt::TupleDst => {
                let (address, mask) = self.address(option, text)?;
                (self.tuple_dst, self.mask_dst) = (Some(address), mask.or(self.mask_dst));
            }
            Opt::ReplySrc => self.reply_src = Some(self.address(option, text)?.0),
            Opt::ReplyDst => self.reply_dst = Some(self.address(option, text)?.0),
            Opt::MaskSrc => self.mask_src = Some(self.address(option, text)?.0),
            Opt::MaskDst => self.mask_dst = Some(self.address(option, text)?.0),
            Opt::Protocol => self.protocol = Some(protocol::number(text)?),
            Opt::Timeout => self.timeout = Some(values::decimal(text) as u32),
            Opt::Status => {
                let (set, clear) = values::status(text)?;
                let before = self.status.unwrap_or_default();
                self.status = Some((before.0 | set, before.1 | clear));
            }
            Opt::Zero => self.zero = true,
            Opt::EventMask => self.set_events(text)?,
            Opt::NatRange => note("WARNING: ignoring -a, deprecated option."),
            Opt::Mark => self.mark = Some(values::mark(text)),
            Opt::Id => self.id = Some(values::number(text)),
            Opt::Family if text.starts_with("ipv4") => self.set_family(false)?,
            Opt::Family if text.starts_with("ipv6") => self.set_family(true)?,
            Opt::Family => return usage(format!("`{text}' unsupported protocol")),
            Opt::SrcNat => self.src_nat = self.nat(option, value, self.src_nat)?,
            Opt::DstNat => self.dst_nat = self.nat(option, value, self.dst_nat)?,
            Opt::AnyNat => self.any_nat = self.nat(option, value, self.any_nat)?,
            Opt::Output => self.set_output(text)?,
            Opt::Secmark => {}
            Opt::BufferSize => self.buffer = Some(values::decimal(text)),
            Opt::Zone => self.zone = Some(values::number(text) as u16),
            Opt::OrigZone => self.orig_zone = Some(values::number(text) as u16),
            Opt::ReplyZone => self.reply_zone = Some(values::number(text) as u16),
            Opt::Label | Opt::LabelAdd | Opt::LabelDel => self.set_labels(option, value)?,
        }
        Ok(())
    }

    fn set_events(&mut self, text: &str) -> Result<()> {
        let mut events = self.events.unwrap_or(Events {
            new: false,
            update: false,
            destroy: false,
        });
        values::names(text, &["ALL", "NEW", "UPDATES", "DESTROY"], |index| {
            events.new |= index <= 1;
            events.update |= index == 0 || index == 2;
            events.destroy |= index == 0 || index == 3;
        })?;
        self.events = Some(events);
        Ok(())
    }

    fn set_output(&mut self, text: &str) -> Result<()> {
        let mut output = Output::default();
        values::names(text, &OUTPUTS, |index| {
            if let Some(flag) = output.flags().into_iter().nth(index) {
                *flag = true;
            }
        })?;
        // Without a file of labels, conntrack(8) looks for it again whenever it needs it.
        if output.labels || self.output.labels {
            self.load_labels();
        }
        self.output.add(output)
    }

    /// Checks that the options fit to the command and to each other.
    fn check(&self) -> Result<()> {
        let has = |option| self.given.contains(&option);
        if has(Opt::AnyNat) && (has(Opt::SrcNat) || has(Opt::DstNat)) {
            return usage("cannot specify `--src-nat' or `--dst-nat' with `--any-nat'");
        }
        let Some(command) = self.command else {
            return options::refuse(&self.given);
        };
        options::check(&self.given, command, self.table)?;
        let is_connection = self.table != Table::Expect;
        let identifies = matches!(command, Command::Create | Command::Add | Command::Get);
        if is_connection && identifies {
            protocol::check_ends(
                [has(Opt::Src), has(Opt::Dst)],
                ["src", "dst"],
                [has(Opt::ReplySrc), has(Opt::ReplyDst)],
                ["reply-src", "reply-dst"],
            )?;
        }
        if let Some(protocol) = self.protocol.and_then(protocol::by_number) {
            if command != Command::Help {
                protocol.check(&self.places, command, self.table)?;
            }
        }
        if self.table == Table::Conntrack {
            if has(Opt::Zero) && self.compares() {
                return usage("Can't use -z with filtering parameters");
            }
            if has(Opt::MaskSrc) && !has(Opt::Src) {
                return usage("Can't use --mask-src without --src");
            }
            if has(Opt::MaskDst) && !has(Opt::Dst) {
                return usage("Can't use --mask-dst without --dst");
            }
        }
        Ok(())
    }
}
