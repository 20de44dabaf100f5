// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Parser of control-plane commands beyond the community's STF. The first word determines the
//! command; [`HELP`] lists them.

use anyhow::{bail, Context, Result};

use super::command::{action_of, unquoted, Action};

pub(super) const HELP: &str = "\
Commands of p4c's STF: packet, expect, add, setdefault, mirroring_add, mirroring_add_mc, \
mc_mgrp_create, mc_node_create, mc_node_associate, register_read, register_write, register_reset, \
meter_set_rates, check_counter, wait.

Additional commands, with ENTRY for TABLE [PRIORITY] KEY:VALUE…:
  wait TIME                              advances the time (10s, 250ms, 5us, 7ns); entries expire
  modify ENTRY ACTION(…)                 replaces the action of an entry
  delete ENTRY                           removes an entry
  resetdefault TABLE                     restores the program's default action
  add_idle TIME ENTRY ACTION(…)          adds an entry with an idle timeout
  expect_idle ENTRY                      expects a notification of that entry next
  expect_no_idle                         expects no notification
  expect_entries TABLE COUNT             expects that number of entries
  check_direct_counter ENTRY packets|bytes == N
  member_add PROFILE ID ACTION(…)        also member_modify; member_delete PROFILE ID
  group_add PROFILE ID MEMBER…           also group_modify; a member is ID[*WEIGHT][@PORT]
  group_delete PROFILE ID                entries have member(ID) or group(ID) as their action
  port_up PROFILE PORT, port_down PROFILE PORT
  meter_set_rates METER INDEX C:B P:B    units per microsecond and bursts: RFC 2698
  meter_set_one_rate METER INDEX C:B E   RFC 2697, with the excess burst E
  meter_reset METER INDEX
  direct_meter_set_rates ENTRY C:B P:B
  value_set SET MEMBER…                  sets the members, with commas between fields
  crc_parameters WIDTH POLYNOMIAL INITIAL FINAL_XOR REFLECT_IN REFLECT_OUT
  toeplitz_key HEX
  expect_digest NAME|RECEIVER HEX        expects this digest next
  expect_no_digest                       expects no digest
  check_drops REASON == N                expects that number of packets dropped for the reason
  fails COMMAND                          expects that the command is refused";

/// A table entry's key, as written in a test.
#[derive(Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) table: String,
    pub(super) priority: Option<i64>,
    pub(super) keys: Vec<(String, String)>,
}

/// A member of a group: its id, weight and watched port.
pub(super) type Member = (u32, u32, Option<u32>);

#[derive(Debug, PartialEq)]
pub(super) enum Control {
    Wait(u64),
    Modify(Entry, Action),
    Delete(Entry),
    ResetDefault(String),
    AddIdle(u64, Entry, Action),
    ExpectIdle(Option<Entry>),
    ExpectEntries(String, usize),
    CheckDirect(Entry, bool, u64),
    Member(String, u32, Change, Option<Action>),
    Group(String, u32, Change, Vec<Member>),
    Port(String, u32, bool),
    Rates(String, u64, Option<Rates>),
    DirectRates(Entry, Rates),
    RegisterReset(String),
    ValueSet(String, Vec<Vec<String>>),
    Crc(Vec<u64>),
    ToeplitzKey(Vec<u8>),
    ExpectDigest(Option<(String, Vec<u8>)>),
    CheckDrops(String, u64),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Change {
    Add,
    Modify,
    Delete,
}

/// Rates per second and bursts; the second pair is the peak's, or 0 and the excess burst.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rates {
    pub(super) committed: (u64, u64),
    pub(super) other: (u64, u64),
    pub(super) is_one: bool,
}

/// Parses the command that begins with `word`; returns `None` for an unknown one.
pub(super) fn parse(word: &str, rest: &str) -> Result<Option<Control>> {
    let words: Vec<&str> = rest.split_whitespace().collect();
    let word_at = |n: usize| words.get(n).copied().context("something is missing");
    let name = || Ok::<_, anyhow::Error>(unquoted(word_at(0)?));
    let number = |n: usize| -> Result<u64> { integer(word_at(n)?) };
    let small = |n: usize| -> Result<u32> { Ok(u32::try_from(number(n)?)?) };
    let change = match word.split_once('_') {
        Some((_, "modify")) => Change::Modify,
        Some((_, "delete")) => Change::Delete,
        _ => Change::Add,
    };
    Ok(Some(match word {
        "wait" => Control::Wait(if words.is_empty() {
            0
        } else {
            time(word_at(0)?)?
        }),
        "modify" => {
            let (entry, action) = entry_and_action(rest)?;
            Control::Modify(entry, action)
        }
        "delete" => Control::Delete(entry(rest)?),
        "resetdefault" => Control::ResetDefault(name()?),
        "add_idle" => {
            let (after, rest) = rest
                .split_once(char::is_whitespace)
                .context("a time is missing")?;
            let (entry, action) = entry_and_action(rest)?;
            Control::AddIdle(time(after)?, entry, action)
        }
        "expect_idle" => Control::ExpectIdle(Some(entry(rest)?)),
        "expect_no_idle" => Control::ExpectIdle(None),
        "expect_entries" => Control::ExpectEntries(name()?, number(1)? as usize),
        "check_direct_counter" => {
            let (head, wanted) = rest.split_once("==").context("`== n` is missing")?;
            let (head, unit) = head
                .trim()
                .rsplit_once(char::is_whitespace)
                .context("no unit")?;
            let is_packets = match unit {
                "packets" => true,
                "bytes" => false,
                other => bail!("`{other}` is neither `packets` nor `bytes`"),
            };
            Control::CheckDirect(entry(head)?, is_packets, integer(wanted.trim())?)
        }
        "member_add" | "member_modify" => {
            let action = words.get(2..).context("an action is missing")?.join(" ");
            Control::Member(name()?, small(1)?, change, Some(action_of(&action)?))
        }
        "member_delete" => Control::Member(name()?, small(1)?, change, None),
        "group_add" | "group_modify" | "group_delete" => {
            let members = words.iter().skip(2).map(|word| member(word));
            Control::Group(name()?, small(1)?, change, members.collect::<Result<_>>()?)
        }
        "port_up" => Control::Port(name()?, small(1)?, true),
        "port_down" => Control::Port(name()?, small(1)?, false),
        "meter_set_rates" => {
            let rates = rates(word_at(2)?, word_at(3)?)?;
            Control::Rates(name()?, number(1)?, Some(rates))
        }
        "meter_set_one_rate" => {
            let rates = Rates {
                committed: rate(word_at(2)?)?,
                other: (0, number(3)?),
                is_one: true,
            };
            Control::Rates(name()?, number(1)?, Some(rates))
        }
        "meter_reset" => Control::Rates(name()?, number(1)?, None),
        "direct_meter_set_rates" => {
            let (head, peak) = rest.rsplit_once(char::is_whitespace).context("no rates")?;
            let (head, committed) = head.rsplit_once(char::is_whitespace).context("no rates")?;
            Control::DirectRates(entry(head)?, rates(committed, peak)?)
        }
        "register_reset" => Control::RegisterReset(name()?),
        "value_set" => {
            let fields = |word: &&str| word.split(',').map(str::to_owned).collect();
            Control::ValueSet(name()?, words.iter().skip(1).map(fields).collect())
        }
        "crc_parameters" => Control::Crc((0..6).map(number).collect::<Result<_>>()?),
        "toeplitz_key" => Control::ToeplitzKey(bytes(rest)?),
        "expect_digest" => {
            let data = words.get(1..).unwrap_or_default().concat();
            Control::ExpectDigest(Some((name()?, bytes(&data)?)))
        }
        "expect_no_digest" => Control::ExpectDigest(None),
        "check_drops" => match words[..] {
            [reason, "==", count] => Control::CheckDrops(reason.to_owned(), integer(count)?),
            _ => bail!("`REASON == n` is expected"),
        },
        _ => return Ok(None),
    }))
}

fn integer(word: &str) -> Result<u64> {
    let value = match word.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => word.parse(),
    };
    value.with_context(|| format!("`{word}` is no number"))
}

/// Parses a time with its unit; returns nanoseconds.
fn time(word: &str) -> Result<u64> {
    let split = word
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(word.len());
    let (number, unit) = word.split_at(split);
    let factor = match unit {
        "s" => 1_000_000_000,
        "ms" => 1_000_000,
        "us" => 1_000,
        "ns" => 1,
        _ => bail!("`{word}` is no time: its unit is s, ms, us or ns"),
    };
    integer(number)?
        .checked_mul(factor)
        .with_context(|| format!("`{word}` is too long"))
}

/// Parses `TABLE [PRIORITY] KEY:VALUE…`.
pub(super) fn entry(text: &str) -> Result<Entry> {
    let mut words = text.split_whitespace();
    let table = unquoted(words.next().context("a table is missing")?);
    let mut entry = Entry {
        table,
        priority: None,
        keys: Vec::new(),
    };
    for word in words {
        match word.rsplit_once(':') {
            Some((key, value)) => entry.keys.push((unquoted(key), value.to_owned())),
            None if entry.priority.is_none() && entry.keys.is_empty() => {
                let number = word.parse();
                entry.priority = Some(number.with_context(|| format!("`{word}` is no priority"))?);
            }
            None => bail!("`{word}` is no key with a value"),
        }
    }
    Ok(entry)
}

/// Parses an entry, followed by an action with `(…)`.
pub(super) fn entry_and_action(text: &str) -> Result<(Entry, Action)> {
    let open = text.find('(').context("an action with `(…)` is missing")?;
    let end = text[..open]
        .rfind(char::is_whitespace)
        .context("an action is missing")?;
    let (head, action) = text.split_at(end);
    Ok((entry(head)?, action_of(action)?))
}

/// Parses `ID[*WEIGHT][@PORT]`.
fn member(word: &str) -> Result<Member> {
    let (word, port) = match word.split_once('@') {
        Some((word, port)) => (word, Some(u32::try_from(integer(port)?)?)),
        None => (word, None),
    };
    let (id, weight) = word.split_once('*').unwrap_or((word, "1"));
    let small = |text| -> Result<u32> { Ok(u32::try_from(integer(text)?)?) };
    Ok((small(id)?, small(weight)?, port))
}

fn rates(committed: &str, peak: &str) -> Result<Rates> {
    Ok(Rates {
        committed: rate(committed)?,
        other: rate(peak)?,
        is_one: false,
    })
}

/// Parses `RATE:BURST`, the rate in units per microsecond, as on bmv2's command line.
fn rate(word: &str) -> Result<(u64, u64)> {
    let (rate, burst) = word.split_once(':').context("`rate:burst` is expected")?;
    let rate: f64 = rate
        .parse()
        .with_context(|| format!("`{rate}` is no rate"))?;
    Ok(((rate * 1e6).round() as u64, integer(burst)?))
}

fn bytes(text: &str) -> Result<Vec<u8>> {
    let digits: Option<Vec<u8>> = text
        .chars()
        .filter(|c| !c.is_whitespace())
        .map(|c| c.to_digit(16).map(|d| d as u8))
        .collect();
    let digits = digits.with_context(|| format!("`{text}` is not hexadecimal"))?;
    anyhow::ensure!(digits.len() % 2 == 0, "`{text}` has half a byte");
    Ok(digits.chunks(2).map(|d| d[0] << 4 | d[1]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_understood() {
        let parsed = |line: &str| {
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            parse(word, rest).unwrap().unwrap()
        };
        assert_eq!(parsed("wait 250ms"), Control::Wait(250_000_000));
        let members = vec![(7, 1, None), (8, 3, Some(2))];
        let group = Control::Group("p".to_owned(), 1, Change::Modify, members);
        assert_eq!(parsed("group_modify p 1 7 8*3@2"), group);
        let rates = Rates {
            committed: (5, 4),
            other: (20, 5),
            is_one: false,
        };
        let set = Control::Rates("m".to_owned(), 2, Some(rates));
        assert_eq!(parsed("meter_set_rates m 2 0.000005:4 0.00002:5"), set);
        let Control::CheckDirect(entry, true, 3) =
            parsed("check_direct_counter t 4 a:1 packets == 3")
        else {
            panic!()
        };
        assert_eq!((entry.priority, entry.keys.len()), (Some(4), 1));
        assert_eq!(parse("frobnicate", "").unwrap(), None);
        assert!(parse("wait", "10").is_err());
    }
}
