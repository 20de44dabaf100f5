// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The command line: which command, on which table, with which values.

use std::collections::BTreeMap;
use std::net::IpAddr;

use adit_conntrack::{SctpState, Status};

use super::error::{usage, Failure, Result};
use super::getopt::{Problem, Reader, Spec};
use super::labels::Labels;
use super::options::{self, Command, Key, Opt, Table, SPECS};
use super::protocol::{self, Field};
use super::values;

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
    pub(super) save: bool,
    pub(super) json: bool,
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
    pub(super) label: u128,
    pub(super) label_add: u128,
    pub(super) label_del: u128,
    pub(super) output: Output,
    pub(super) events: Option<Events>,
    pub(super) buffer: Option<u64>,
    pub(super) zero: bool,
}

/// The names of the types of output, in the order in which abbreviations are looked up.
const OUTPUTS: [&str; 9] = [
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
    let mut labels = None;
    while let Some(option) = reader.next(&specs) {
        let (key, value) = option.map_err(|problem| {
            Failure::Usage(match problem {
                Problem::Unknown(word) => format!("unknown option `{word}'"),
                Problem::NoValue(word) => format!("option `{word}' requires an argument"),
            })
        })?;
        match key {
            Key::Command(command) => request.set_command(command, value, &mut reader)?,
            Key::Field(field) => request.set_field(field, value.unwrap_or_default())?,
            Key::Option(option) => {
                // conntrack(8) takes the next word as well.
                let value = match option {
                    Opt::SrcNat | Opt::DstNat | Opt::AnyNat | Opt::LabelDel => {
                        value.or_else(|| reader.take_word())
                    }
                    _ => value,
                };
                request.set(option, value, &mut labels)?;
                if let (Opt::Protocol, Some(number)) = (option, request.protocol) {
                    let own = protocol::by_number(number).map_or(&[][..], |p| p.options);
                    specs.truncate(SPECS.len());
                    specs.extend_from_slice(own);
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
        self.table = match table {
            None | Some("conntrack") => Table::Conntrack,
            Some("expect") => Table::Expect,
            Some("dying") => Table::Dying,
            Some("unconfirmed") => Table::Unconfirmed,
            Some(other) => return usage(format!("unknown type `{other}'")),
        };
        let is_rest = matches!(command, Command::List | Command::Version | Command::Help);
        match (self.table, command) {
            (Table::Dying | Table::Unconfirmed, _) if !is_rest => {
                usage("Can't do that command with tables `dying' and `unconfirmed'")
            }
            (Table::Expect, Command::Update) => usage("Can't do --update on expectations"),
            (Table::Expect, Command::Add) => usage("Can't do --add on expectations"),
            _ => Ok(()),
        }
    }

    fn set_field(&mut self, field: Field, text: &str) -> Result<()> {
        let name = self.protocol.map(protocol::shown_name);
        let value = match (field, name) {
            (Field::State, Some("tcp")) => values::tcp_state(text)?,
            (Field::State, Some("sctp")) => {
                values::state("SCTP", &SctpState::ALL.map(SctpState::name), text)?
            }
            (Field::State, _) => values::state("DCCP", &DCCP_STATES, text)?,
            (Field::Role, _) => match text {
                "client" => 0,
                "server" => 1,
                _ => return usage(format!("Unknown DCCP role `{text}'")),
            },
            (Field::OrigTag | Field::ReplyTag, _) => values::number(text) as u32,
            (_, Some("gre")) => u32::from(values::number(text) as u16),
            (Field::IcmpType | Field::IcmpCode, _) => u32::from(values::decimal(text) as u8),
            _ => u32::from(values::decimal(text) as u16),
        };
        self.fields.insert(field, value);
        Ok(())
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
        let (address, mask) = values::network(text)?;
        let unavailable = |name: &str| usage(format!("CIDR notation unavailable for `--{name}'"));
        match (option, mask) {
            (Opt::ReplySrc, Some(_)) => unavailable("reply-src")?,
            (Opt::ReplyDst, Some(_)) => unavailable("reply-dst")?,
            _ => {}
        }
        self.set_family(address.is_ipv6())?;
        if mask.is_some() {
            let implied = match option {
                Opt::Src | Opt::TupleSrc => Opt::MaskSrc,
                _ => Opt::MaskDst,
            };
            self.given.push(implied);
        }
        Ok((address, mask))
    }

    fn set(&mut self, option: Opt, value: Option<&str>, labels: &mut Option<Labels>) -> Result<()> {
        let text = value.unwrap_or_default();
        self.given.push(option);
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
            Opt::Protocol => {
                self.protocol = Some(protocol::number(text)?);
                self.fields.clear();
            }
            Opt::Timeout => self.timeout = Some(values::number(text) as u32),
            Opt::Status => {
                let (set, clear) = values::status(text)?;
                let before = self.status.unwrap_or_default();
                self.status = Some((before.0 | set, before.1 | clear));
            }
            Opt::Zero => self.zero = true,
            Opt::EventMask => self.set_events(text)?,
            Opt::NatRange => eprintln!("WARNING: ignoring -a, deprecated option."),
            Opt::Mark => self.mark = Some(values::mark(text)),
            Opt::Id => self.id = Some(values::number(text)),
            Opt::Family => match text {
                "ipv4" => self.set_family(false)?,
                "ipv6" => self.set_family(true)?,
                _ => return usage(format!("`{text}' unsupported protocol")),
            },
            Opt::SrcNat => self.src_nat = Some(value.map(values::nat).transpose()?),
            Opt::DstNat => self.dst_nat = Some(value.map(values::nat).transpose()?),
            Opt::AnyNat => self.any_nat = Some(value.map(values::nat).transpose()?),
            Opt::Output => self.set_output(text)?,
            Opt::Secmark => {}
            Opt::BufferSize => self.buffer = Some(values::decimal(text)),
            Opt::Zone => self.zone = Some(values::number(text) as u16),
            Opt::OrigZone => self.orig_zone = Some(values::number(text) as u16),
            Opt::ReplyZone => self.reply_zone = Some(values::number(text) as u16),
            Opt::Label | Opt::LabelAdd | Opt::LabelDel => {
                let labels = labels.get_or_insert_with(Labels::load);
                let bits = match value {
                    Some(names) => labels.bits(names)?,
                    // All labels, of which there may be none with a name.
                    None => u128::MAX,
                };
                match option {
                    Opt::Label => self.label |= bits,
                    Opt::LabelAdd => self.label_add |= bits,
                    _ => self.label_del |= bits,
                }
            }
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
        let output = &mut self.output;
        // The origin of an event is not known: userspace shows nothing.
        let mut userspace = false;
        values::names(text, &OUTPUTS, |index| {
            let flags = [
                &mut output.xml,
                &mut output.extended,
                &mut output.timestamp,
                &mut output.id,
                &mut output.ktimestamp,
                &mut output.labels,
                &mut userspace,
                &mut output.save,
                &mut output.json,
            ];
            *flags.into_iter().nth(index).unwrap_or(&mut false) = true;
        })?;
        for (name, alone) in [
            (
                "save",
                Output {
                    save: true,
                    ..Output::default()
                },
            ),
            (
                "json",
                Output {
                    json: true,
                    ..Output::default()
                },
            ),
        ] {
            let is_set = if name == "save" {
                output.save
            } else {
                output.json
            };
            if is_set && (*output != alone || userspace) {
                return Err(Failure::Operation(format!(
                    "cannot combine {name} output with any other output type, use -o {name} only"
                )));
            }
        }
        Ok(())
    }

    /// Checks that the options fit to the command and to each other.
    fn check(&self) -> Result<()> {
        let Some(command) = self.command else {
            return Ok(());
        };
        options::check(&self.given, command, self.table)?;
        let has = |option| self.given.contains(&option);
        if has(Opt::AnyNat) && (has(Opt::SrcNat) || has(Opt::DstNat)) {
            return usage("cannot specify `--src-nat' or `--dst-nat' with `--any-nat'");
        }
        let identifies = matches!(command, Command::Create | Command::Add | Command::Get);
        if self.table == Table::Conntrack {
            if has(Opt::MaskSrc) && !has(Opt::Src) {
                return usage("Can't use --mask-src without --src");
            }
            if has(Opt::MaskDst) && !has(Opt::Dst) {
                return usage("Can't use --mask-dst without --dst");
            }
            let has_original = self.src.is_some() && self.dst.is_some();
            let has_reply = self.reply_src.is_some() && self.reply_dst.is_some();
            if identifies && !has_original && !has_reply {
                return usage("you have to specify `--src' and `--dst'");
            }
        }
        if let Some(protocol) = self.protocol.and_then(protocol::by_number) {
            if command != Command::Help {
                let fields: Vec<_> = self.fields.keys().copied().collect();
                protocol.check(&fields, command, self.table)?;
            }
        }
        Ok(())
    }
}
