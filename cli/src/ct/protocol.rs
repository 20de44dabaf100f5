// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The options that a protocol adds.

use super::error::{usage, Result};
use super::getopt::{Spec, Value};
use super::options::{Command, Key, Table};
use super::values;

/// An option of a protocol, in the order in which they are checked. Keys of GRE stand for ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Field {
    OrigSrc,
    OrigDst,
    ReplySrc,
    ReplyDst,
    MaskSrc,
    MaskDst,
    State,
    TupleSrc,
    TupleDst,
    OrigTag,
    ReplyTag,
    Role,
    IcmpType,
    IcmpCode,
    IcmpId,
}

use Field::*;

/// An option that a command line may have because it has named a protocol. If it names several, the options of
/// all of them are known; conntrack(8) has a letter for each, which means what it means to the last protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Letter {
    letter: u8,
    /// The number of protocols that were named before, which makes options of the same name different ones.
    turn: usize,
}

/// A protocol with options of its own.
#[derive(Debug)]
pub(super) struct Protocol {
    pub(super) number: u8,
    pub(super) name: &'static str,
    /// Its options, each under all of its names, the first of which is shown in messages.
    pub(super) options: &'static [Spec<Key>],
    /// The options with which commands create a connection.
    creates_with: &'static [Field],
    /// The options that are for creation (and, where it is so, other commands) only.
    only_created: &'static [Field],
    /// The letter of the first option. Those of the others follow.
    letter: u8,
    /// The number of options that are checked, of which it may have fewer.
    checked: usize,
    /// The ends of the reply, as they are called when one of them lacks.
    reply_ends: [&'static str; 2],
}

/// The names that are no options' names, in messages of all protocols but some.
const REPLY_PORTS: [&str; 2] = ["reply-src-port", "reply-dst-port"];

const fn field(name: &'static str, field: Field) -> Spec<Key> {
    Spec {
        key: Key::Field(field),
        letter: None,
        name,
        value: Value::Required,
    }
}

macro_rules! ports {
    ($($more:expr),*) => {
        &[
            field("sport", OrigSrc),
            field("orig-port-src", OrigSrc),
            field("dport", OrigDst),
            field("orig-port-dst", OrigDst),
            field("reply-port-src", ReplySrc),
            field("reply-port-dst", ReplyDst),
            field("mask-port-src", MaskSrc),
            field("mask-port-dst", MaskDst),
            field("tuple-port-src", TupleSrc),
            field("tuple-port-dst", TupleDst),
            $($more),*
        ]
    };
}

const NONE: &[Field] = &[];

/// The protocols with options of their own.
static PROTOCOLS: [Protocol; 8] = [
    Protocol {
        number: 6,
        name: "tcp",
        options: ports![field("state", State)],
        creates_with: &[State],
        only_created: NONE,
        letter: b'1',
        checked: 10,
        reply_ends: REPLY_PORTS,
    },
    Protocol {
        number: 17,
        name: "udp",
        options: ports![],
        creates_with: NONE,
        only_created: NONE,
        letter: b'1',
        checked: 9,
        reply_ends: REPLY_PORTS,
    },
    Protocol {
        number: 136,
        name: "udplite",
        options: ports![],
        creates_with: NONE,
        only_created: NONE,
        letter: b'1',
        checked: 11,
        reply_ends: REPLY_PORTS,
    },
    Protocol {
        number: 132,
        name: "sctp",
        options: ports![
            field("state", State),
            field("orig-vtag", OrigTag),
            field("reply-vtag", ReplyTag)
        ],
        creates_with: &[State, OrigTag, ReplyTag],
        only_created: &[OrigTag, ReplyTag],
        letter: 1,
        checked: 14,
        reply_ends: REPLY_PORTS,
    },
    Protocol {
        number: 33,
        name: "dccp",
        options: ports![field("state", State), field("role", Role)],
        creates_with: &[State, Role],
        only_created: &[Role],
        letter: 1,
        checked: 13,
        reply_ends: ["reply-port-src", "report-port-dst"],
    },
    Protocol {
        number: 1,
        name: "icmp",
        options: &[
            field("icmp-type", IcmpType),
            field("icmp-code", IcmpCode),
            field("icmp-id", IcmpId),
        ],
        creates_with: &[IcmpType, IcmpCode],
        only_created: NONE,
        letter: b'1',
        checked: 4,
        reply_ends: REPLY_PORTS,
    },
    Protocol {
        number: 58,
        name: "icmpv6",
        options: &[
            field("icmpv6-type", IcmpType),
            field("icmpv6-code", IcmpCode),
            field("icmpv6-id", IcmpId),
        ],
        creates_with: &[IcmpType, IcmpCode],
        only_created: NONE,
        letter: b'1',
        checked: 4,
        reply_ends: REPLY_PORTS,
    },
    Protocol {
        number: 47,
        name: "gre",
        options: &[
            field("srckey", OrigSrc),
            field("orig-key-src", OrigSrc),
            field("dstkey", OrigDst),
            field("orig-key-dst", OrigDst),
            field("reply-key-src", ReplySrc),
            field("reply-key-dst", ReplyDst),
            field("mask-key-src", MaskSrc),
            field("mask-key-dst", MaskDst),
            field("tuple-key-src", TupleSrc),
            field("tuple-key-dst", TupleDst),
        ],
        creates_with: NONE,
        only_created: NONE,
        letter: b'1',
        checked: 11,
        reply_ends: ["reply-src-key", "reply-dst-key"],
    },
];

/// The protocol with a number, if it has options of its own.
pub(super) fn by_number(number: u8) -> Option<&'static Protocol> {
    PROTOCOLS.iter().find(|protocol| protocol.number == number)
}

/// The names of the protocols with options of their own.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    PROTOCOLS.iter().map(|protocol| protocol.name)
}

/// The options of all protocols.
pub(super) fn all_options() -> impl Iterator<Item = &'static Spec<Key>> {
    PROTOCOLS.iter().flat_map(|protocol| protocol.options)
}

/// The number that `/etc/protocols` has for a name.
fn number_of_name(name: &str) -> Option<u8> {
    let file = std::fs::read_to_string("/etc/protocols").ok()?;
    file.lines().find_map(|line| {
        let mut words = line.split('#').next()?.split_whitespace();
        let (first, number) = (words.next()?, words.next()?);
        let is_named = first == name || words.any(|alias| alias == name);
        number.parse().ok().filter(|_| is_named)
    })
}

/// The number of a protocol that is given by its name or number.
pub(super) fn number(text: &str) -> Result<u8> {
    let known = PROTOCOLS
        .iter()
        .find(|protocol| protocol.name.eq_ignore_ascii_case(text));
    let number = match known {
        Some(protocol) => Some(protocol.number),
        None => number_of_name(text)
            .or_else(|| values::whole_number(text).and_then(|number| number.try_into().ok())),
    };
    number.map_or_else(|| usage(format!("`{text}' unsupported protocol")), Ok)
}

/// The name that conntrack(8) shows for a number.
pub(super) fn shown_name(number: u8) -> &'static str {
    by_number(number).map_or("unknown", |protocol| protocol.name)
}

/// The options of each protocol.
pub(super) fn help_of_all() -> String {
    PROTOCOLS.iter().map(|one| help(one.number)).collect()
}

/// The options of a protocol, a line each.
pub(super) fn help(number: u8) -> String {
    let mut text = format!("\nOptions of {}:\n", shown_name(number));
    let Some(protocol) = by_number(number) else {
        return text + "  none\n";
    };
    for field in protocol.fields() {
        let names = protocol.options.iter();
        let names = names.filter(|spec| spec.key == Key::Field(field));
        let names: Vec<_> = names.map(|spec| format!("--{}", spec.name)).collect();
        text += &format!("  {}\n", names.join(", "));
    }
    text
}

/// The relation of a command to an option.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rule {
    Illegal,
    Permitted,
    Required,
}

impl Protocol {
    fn name_of(&self, field: Field) -> &'static str {
        let named = self
            .options
            .iter()
            .find(|spec| spec.key == Key::Field(field));
        named.map_or("", |spec| spec.name)
    }

    /// The options in the order in which they are checked.
    fn fields(&self) -> Vec<Field> {
        let fields = self.options.iter().filter_map(|spec| match spec.key {
            Key::Field(field) => Some(field),
            _ => None,
        });
        let mut fields: Vec<_> = fields.collect();
        fields.sort();
        fields.dedup();
        fields
    }

    fn rule(&self, field: Field, command: Command, table: Table) -> Rule {
        let is_gre = self.name == "gre";
        let creates = matches!(command, Command::Create | Command::Add);
        if table == Table::Expect {
            return match (command, field) {
                (Command::Create, OrigSrc | OrigDst | MaskSrc | MaskDst | TupleSrc | TupleDst)
                | (Command::Create, OrigTag | ReplyTag | Role)
                | (Command::Get | Command::Delete, OrigSrc | OrigDst | ReplySrc | ReplyDst) => {
                    Rule::Required
                }
                (Command::Create, ReplySrc | ReplyDst) if is_gre => Rule::Required,
                _ => Rule::Illegal,
            };
        }
        match field {
            MaskSrc | MaskDst | TupleSrc | TupleDst => Rule::Illegal,
            _ if creates && self.creates_with.contains(&field) => Rule::Required,
            IcmpType | IcmpCode if command == Command::Get => Rule::Required,
            // SCTP permits its tags where it can change or find them.
            OrigTag | ReplyTag if matches!(command, Command::Update | Command::Get) => {
                Rule::Permitted
            }
            _ if !creates && self.only_created.contains(&field) => Rule::Illegal,
            _ => Rule::Permitted,
        }
    }

    /// The options, for a command line that has named `turn` protocols before.
    pub(super) fn letters(&self, turn: usize) -> impl Iterator<Item = Spec<Key>> + '_ {
        let fields = self.fields();
        self.options.iter().map(move |spec| {
            let place = fields
                .iter()
                .position(|field| spec.key == Key::Field(*field));
            let letter = self.letter + place.unwrap_or(0) as u8;
            Spec {
                key: Key::Letter(Letter { letter, turn }),
                ..*spec
            }
        })
    }

    /// The option that a letter stands for, and its place among those that are checked.
    pub(super) fn field(&self, letter: Letter) -> Option<(usize, Field)> {
        let place = usize::from(letter.letter.checked_sub(self.letter)?);
        let field = *self.fields().get(place)?;
        Some((place, field))
    }

    /// Checks that a command has the options that it needs, and no other ones. They are given by their places; those
    /// that were given to a protocol named before count as well.
    pub(super) fn check(&self, given: &[usize], command: Command, table: Table) -> Result<()> {
        let fields = self.fields();
        for place in 0..self.checked {
            let (is_given, field) = (given.contains(&place), fields.get(place));
            let rule = field.map_or(Rule::Illegal, |field| self.rule(*field, command, table));
            let name = field.map_or("(null)", |field| self.name_of(*field));
            match rule {
                Rule::Required if !is_given => {
                    return usage(format!(
                        "You need to supply the `--{name}' option for this command"
                    ))
                }
                Rule::Illegal if is_given => {
                    return usage(format!("Illegal option `--{name}' with this command"))
                }
                Rule::Required | Rule::Illegal | Rule::Permitted => {}
            }
        }
        let identifies = matches!(command, Command::Create | Command::Add | Command::Get);
        if table == Table::Expect || !identifies || !fields.contains(&OrigSrc) {
            return Ok(());
        }
        // Their places are the same in all protocols that have them.
        let original = [self.name_of(OrigSrc), self.name_of(OrigDst)];
        check_ends(
            [0, 1].map(|place| given.contains(&place)),
            original,
            [2, 3].map(|place| given.contains(&place)),
            self.reply_ends,
        )
    }
}

/// Checks that both ends of a direction are given. If not, the message is about the direction of which one is.
pub(super) fn check_ends(
    original: [bool; 2],
    names: [&str; 2],
    reply: [bool; 2],
    reply_names: [&str; 2],
) -> Result<()> {
    if original == [true; 2] || reply == [true; 2] {
        return Ok(());
    }
    let is_reply = original == [false; 2] && reply != [false; 2];
    let [src, dst] = if is_reply { reply_names } else { names };
    usage(format!("you have to specify `--{src}' and `--{dst}'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols_have_names_and_numbers() {
        assert_eq!(number("TCP").unwrap(), 6);
        assert_eq!(number("42").unwrap(), 42);
        assert!(number("999").is_err());
        assert!(number("bogus").is_err());
        assert_eq!(shown_name(89), "unknown");
    }

    #[test]
    fn help_has_a_line_for_each_option() {
        let tcp = help(6);
        assert_eq!(tcp.lines().count(), 2 + 9);
        assert!(tcp.contains("  --sport, --orig-port-src\n"), "{tcp}");
        assert!(help(42).ends_with("none\n"));
    }
}
