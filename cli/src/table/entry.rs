// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The syntax of table entries, on the command line and in files:
//!
//! ```text
//! TABLE FIELD=MATCH … ACTION(NAME=VALUE, …) [priority=N] [idle-timeout=SECONDS] [metadata=TEXT]
//! TABLE default ACTION(…) [metadata=TEXT]
//! ```

use adit_p4runtime::bytes::shortest;
use adit_p4runtime::proto::v1::{
    action::Param, entity::Entity, table_action, Action as ActionMessage, FieldMatch, TableAction,
    TableEntry,
};
use anyhow::{bail, ensure, Context, Result};

use super::call::{self, Wants};
use super::catalog::{find, Action, Catalog, Holder, Table};
use super::one_shot;
use super::value::{parse, show};

const NANOSECONDS: f64 = 1e9;

/// Splits a line into words; none ends within parentheses, or before them.
fn words(line: &str) -> Result<Vec<String>> {
    let (mut words, mut word, mut depth) = (Vec::new(), String::new(), 0usize);
    let mut rest = line.trim().chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '(' => depth += 1,
            ')' => {
                depth = depth.checked_sub(1).context("a `)` without its `(`")?;
            }
            _ => {}
        }
        if !c.is_whitespace() || depth > 0 {
            word.push(c);
            continue;
        }
        while rest.next_if(|c| c.is_whitespace()).is_some() {}
        // `route (3)` is one word.
        if rest.peek() != Some(&'(') {
            words.push(std::mem::take(&mut word));
        }
    }
    ensure!(depth == 0, "a `(` without its `)`");
    words.push(word);
    words.retain(|word| !word.is_empty());
    Ok(words)
}

/// Parses bytes: text, or `0x…`.
fn read_bytes(text: &str) -> Result<Vec<u8>> {
    let Some(digits) = text.strip_prefix("0x") else {
        return Ok(text.as_bytes().to_vec());
    };
    let wrong = || format!("`{text}`: behind 0x are two digits for each byte");
    let is_right = digits.len() % 2 == 0 && digits.bytes().all(|c| c.is_ascii_hexdigit());
    ensure!(is_right, "{}", wrong());
    let bytes = (0..digits.len()).step_by(2).map(|at| {
        let byte = &digits[at..at + 2];
        u8::from_str_radix(byte, 16).with_context(wrong)
    });
    bytes.collect()
}

/// Formats bytes for [`read_bytes`].
fn shown_bytes(bytes: &[u8]) -> String {
    let is_plain = |byte: &u8| byte.is_ascii_graphic() && !b"()#'\"".contains(byte);
    match bytes.iter().all(is_plain) && !bytes.starts_with(b"0x") {
        true => String::from_utf8_lossy(bytes).into_owned(),
        false => {
            let digits = bytes.iter().map(|byte| format!("{byte:02x}"));
            format!("0x{}", digits.collect::<String>())
        }
    }
}

/// Parses an entry of a table, or a member or group of an action profile.
pub(crate) fn read(catalog: &Catalog, line: &str, wants: Wants) -> Result<Entity> {
    let words = words(line)?;
    let Some((name, words)) = words.split_first() else {
        bail!("an entry begins with the name of its table");
    };
    match catalog.holder(name)? {
        Holder::Table(table) => table
            .read(words, wants)
            .map(Entity::TableEntry)
            .with_context(|| format!("table `{}`", table.alias)),
        Holder::Profile(profile) => profile
            .read(words, wants)
            .with_context(|| format!("action profile `{}`", profile.alias)),
    }
}

impl Table {
    fn read(&self, words: &[String], wants: Wants) -> Result<TableEntry> {
        let mut entry = TableEntry {
            table_id: self.id,
            ..TableEntry::default()
        };
        let mut matched: Vec<u32> = Vec::new();
        let is_default = words.first().is_some_and(|word| word == "default");
        entry.is_default_action = is_default;
        for word in words.iter().skip(usize::from(is_default)) {
            let before_arguments = word.split('(').next().unwrap_or_default();
            let Some((name, value)) = before_arguments
                .contains('=')
                .then(|| word.split_once('='))
                .flatten()
            else {
                let action = self.read_action(word, is_default)?;
                entry.action = Some(match entry.action.take() {
                    None => action,
                    Some(before) => one_shot::both(before, action)
                        .with_context(|| format!("`{word}`: a second action"))?,
                });
                continue;
            };
            #[allow(deprecated, reason = "the standard still has controller_metadata")]
            match name {
                "metadata" => {
                    entry.metadata = read_bytes(value)?;
                    continue;
                }
                "controller-metadata" => {
                    let number = value.parse().ok();
                    entry.controller_metadata =
                        number.with_context(|| format!("`{word}`: 0 to {}", u64::MAX))?;
                    continue;
                }
                _ => {}
            }
            ensure!(
                !is_default,
                "`{word}`: the default action has no match, priority or timeout"
            );
            match name {
                "priority" => {
                    entry.priority =
                        value.parse().ok().filter(|p| *p > 0).with_context(|| {
                            format!("`{word}`: a priority is 1 to {}", i32::MAX)
                        })?;
                }
                "idle-timeout" => {
                    let seconds: Option<f64> = value.trim_end_matches('s').parse().ok();
                    let seconds = seconds.filter(|s| (1e-9..=9e9).contains(s));
                    let seconds = seconds.with_context(|| format!("`{word}`: seconds, above 0"))?;
                    entry.idle_timeout_ns = (seconds * NANOSECONDS).round() as i64;
                }
                _ => {
                    let field = find(self.fields.iter(), "match field", "it", name)?;
                    ensure!(
                        !matched.contains(&field.id),
                        "`{}` is matched twice",
                        field.name
                    );
                    matched.push(field.id);
                    entry
                        .r#match
                        .extend(field.parse(value)?.map(|is| FieldMatch {
                            field_id: field.id,
                            field_match_type: Some(is),
                        }));
                }
            }
        }
        if !is_default {
            let lacks = |field: &&super::matching::Field| {
                field.kind_name() == "exact" && !matched.contains(&field.id)
            };
            if let Some(field) = self.fields.iter().find(lacks) {
                bail!(
                    "the match field `{}` is missing: {}={}",
                    field.name,
                    field.name,
                    field.syntax()
                );
            }
            if self.has_priorities() && entry.priority == 0 {
                bail!("priority=N is missing: of the entries that match, the highest wins");
            }
            if !self.has_priorities() && entry.priority != 0 {
                bail!(
                    "its entries have no priority: no field is matched ternary, range or optional"
                );
            }
        }
        if wants == Wants::Key {
            // Lines that `dump` prints can be deleted.
            entry.action = None;
        } else if entry.action.is_none() {
            bail!("an action is missing: {}", self.action_syntax(is_default));
        }
        Ok(entry)
    }

    pub(crate) fn has_priorities(&self) -> bool {
        let by_priority = |kind| ["ternary", "range", "optional"].contains(&kind);
        self.fields.iter().any(|f| by_priority(f.kind_name()))
    }

    /// Returns the syntax of the valid actions.
    fn action_syntax(&self, is_default: bool) -> String {
        if self.has_profile && !is_default {
            return self.indirect_syntax().to_owned();
        }
        let actions = self.actions.iter();
        let actions: Vec<_> = actions
            .filter(|a| {
                if is_default {
                    a.in_default
                } else {
                    a.in_entries
                }
            })
            .map(Action::signature)
            .collect();
        actions.join(", ")
    }

    fn indirect_syntax(&self) -> &'static str {
        match self.has_selector {
            true => "member(N), group(N) or action(ACTION(...), weight=W, watch=PORT) ...",
            false => "member(N)",
        }
    }

    fn read_action(&self, text: &str, is_default: bool) -> Result<TableAction> {
        let chosen = |kind| Ok(TableAction { r#type: Some(kind) });
        if self.has_profile && !is_default {
            let (name, arguments) = call::split(text)?;
            let wants = || format!("`{text}`: the table wants {}", self.indirect_syntax());
            return match name {
                "member" => chosen(table_action::Type::ActionProfileMemberId(
                    arguments.parse().with_context(wants)?,
                )),
                "group" if self.has_selector => chosen(table_action::Type::ActionProfileGroupId(
                    arguments.parse().with_context(wants)?,
                )),
                _ if self.has_selector => {
                    let set = one_shot::read(self, text).with_context(wants)?;
                    chosen(table_action::Type::ActionProfileActionSet(set))
                }
                _ => bail!("{}", wants()),
            };
        }
        let action = call::read_checked(&self.actions, text, |action| {
            let (is_right, place) = match is_default {
                true => (action.in_default, "the default"),
                false => (action.in_entries, "an action of entries"),
            };
            ensure!(
                is_right,
                "`{}` cannot be {place}; these can: {}",
                action.alias,
                self.action_syntax(is_default)
            );
            Ok(())
        })?;
        chosen(table_action::Type::Action(action))
    }

    /// Formats the matches of an entry.
    pub(crate) fn shown_matches(&self, entry: &TableEntry) -> Vec<(String, String)> {
        let fields = self.fields.iter().filter_map(|field| {
            let mut given = entry.r#match.iter();
            let given = given.find(|m| m.field_id == field.id)?;
            let shown = field.shown(given.field_match_type.as_ref()?);
            Some((self.field_name(&field.name).to_owned(), shown))
        });
        fields.collect()
    }

    /// Returns a field's name in matches; some names have another meaning there.
    fn field_name<'n>(&self, name: &'n str) -> &'n str {
        match name {
            "priority" => ".priority",
            "metadata" => ".metadata",
            name => name,
        }
    }

    /// Formats an action.
    pub(crate) fn shown_action(&self, action: Option<&TableAction>) -> String {
        match action.and_then(|a| a.r#type.as_ref()) {
            Some(table_action::Type::Action(given)) => call::shown(&self.actions, given),
            Some(table_action::Type::ActionProfileMemberId(id)) => format!("member({id})"),
            Some(table_action::Type::ActionProfileGroupId(id)) => format!("group({id})"),
            Some(table_action::Type::ActionProfileActionSet(set)) => one_shot::shown(self, set),
            None => "-".to_owned(),
        }
    }

    /// Formats an entry.
    pub(crate) fn line(&self, entry: &TableEntry) -> String {
        let mut line = self.alias.clone();
        if entry.is_default_action {
            line.push_str(" default");
        }
        for (field, is) in self.shown_matches(entry) {
            line.push_str(&format!(" {field}={is}"));
        }
        if entry.action.is_some() {
            line.push_str(&format!(" {}", self.shown_action(entry.action.as_ref())));
        }
        if entry.priority != 0 {
            line.push_str(&format!(" priority={}", entry.priority));
        }
        if entry.idle_timeout_ns != 0 {
            let seconds = entry.idle_timeout_ns as f64 / NANOSECONDS;
            line.push_str(&format!(" idle-timeout={seconds}"));
        }
        if !entry.metadata.is_empty() {
            line.push_str(&format!(" metadata={}", shown_bytes(&entry.metadata)));
        }
        #[allow(deprecated, reason = "the standard still has controller_metadata")]
        if entry.controller_metadata != 0 {
            let number = entry.controller_metadata;
            line.push_str(&format!(" controller-metadata={number}"));
        }
        line
    }
}

impl Action {
    /// Formats the name and parameters.
    pub(crate) fn signature(&self) -> String {
        let parameters = self.parameters.iter();
        let parameters: Vec<_> = parameters
            .map(|p| match p.width {
                0 => format!("{}=TEXT", p.name),
                width => format!("{}=bit<{width}>", p.name),
            })
            .collect();
        format!("{}({})", self.alias, parameters.join(", "))
    }

    pub(super) fn read(&self, text: &str) -> Result<ActionMessage> {
        let mut values: Vec<Option<Vec<u8>>> = vec![None; self.parameters.len()];
        let given = text.split(',').filter(|_| !text.is_empty());
        for (n, argument) in given.enumerate() {
            let (at, value) = match argument.split_once('=') {
                Some((name, value)) => {
                    let name = name.trim();
                    let found = find(self.parameters.iter(), "parameter", "it", name)?;
                    let mut all = self.parameters.iter();
                    (all.position(|p| p.id == found.id).unwrap_or(n), value)
                }
                None => (n, argument),
            };
            let Some(parameter) = self.parameters.get(at) else {
                bail!("`{}` is an argument too many", argument.trim());
            };
            ensure!(values[at].is_none(), "`{}` is given twice", parameter.name);
            let value = parse(value.trim(), parameter.width)
                .with_context(|| format!("`{}`", parameter.name))?;
            values[at] = Some(match parameter.width {
                0 => value,
                _ => shortest(&value).to_vec(),
            });
        }
        let params = values.into_iter().zip(&self.parameters);
        let params = params.map(|(value, parameter)| {
            Ok(Param {
                param_id: parameter.id,
                value: value.with_context(|| format!("`{}` is missing", parameter.name))?,
            })
        });
        Ok(ActionMessage {
            action_id: self.id,
            params: params.collect::<Result<_>>()?,
        })
    }

    pub(super) fn show(&self, given: &ActionMessage) -> String {
        let arguments = self.parameters.iter().filter_map(|parameter| {
            let value = given.params.iter().find(|p| p.param_id == parameter.id)?;
            let value = show(&value.value, parameter.width, parameter.form);
            Some(format!("{}={value}", parameter.name))
        });
        let arguments: Vec<_> = arguments.collect();
        format!("{}({})", self.alias, arguments.join(", "))
    }
}
