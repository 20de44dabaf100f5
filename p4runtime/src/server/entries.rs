// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Conversion of table entries between P4Runtime messages and the engine's form.

use adit_p4_frontend::ir::{self, limbs_of, Chosen, Match};
use adit_pipeline::p4::tables::{Action, Entry, EntryState, Origin, Table};

use super::fault::{Fault, Result};
use super::kept::Kept;
use super::names::{listed, Kind};
use super::pipeline::{Pipeline, Thing};
use super::rates::shown_config;
use super::texts::Unknown;
use crate::bytes::{from_limbs, hex, limbs};
use crate::proto::v1::{self, field_match::FieldMatchType, table_action};

/// Returns the mask of the `length` most significant bits of a width, as limbs.
fn prefix_mask(width: u32, length: u32) -> Vec<u64> {
    let mut mask = vec![0u64; limbs_of(width) as usize];
    for bit in width.saturating_sub(length)..width {
        mask[bit as usize / 64] |= 1 << (bit % 64);
    }
    mask
}

/// Decodes the value of a field or parameter.
fn value(name: &str, bytes: &[u8], width: u32) -> Result<Vec<u64>> {
    limbs(bytes, width).map_err(|error| Fault::of(name, error))
}

fn type_name(given: &FieldMatchType) -> &'static str {
    match given {
        FieldMatchType::Exact(_) => "exact",
        FieldMatchType::Ternary(_) => "ternary",
        FieldMatchType::Lpm(_) => "lpm",
        FieldMatchType::Range(_) => "range",
        FieldMatchType::Optional(_) => "optional",
        FieldMatchType::Other(_) => "other",
    }
}

/// Converts the match of one key.
pub(crate) fn to_match(
    name: &str,
    kind: &str,
    width: u32,
    given: &FieldMatchType,
) -> Result<Match> {
    let masked = |value: Vec<u64>, mask: Vec<u64>, what: &str| {
        if value.iter().zip(&mask).any(|(v, m)| v & !m != 0) {
            return Err(Fault::invalid(format!(
                "match field `{name}`: the value {} has bits outside of its {what} {}",
                hex(&from_limbs(&value)),
                hex(&from_limbs(&mask))
            )));
        }
        if mask.iter().all(|m| *m == 0) {
            return Err(Fault::invalid(format!(
                "match field `{name}`: the {what} is 0: a field that matches anything is left out"
            )));
        }
        Ok(Match::Ternary(value, mask))
    };
    match (kind, given) {
        ("exact", FieldMatchType::Exact(m)) => Ok(Match::Exact(value(name, &m.value, width)?)),
        ("optional", FieldMatchType::Optional(m)) => {
            Ok(Match::Exact(value(name, &m.value, width)?))
        }
        ("lpm", FieldMatchType::Lpm(m)) => {
            let length = u32::try_from(m.prefix_len).ok().filter(|l| *l <= width);
            let length = length.ok_or_else(|| {
                Fault::invalid(format!(
                    "match field `{name}`: prefix_len is {}: the field has {width} bits",
                    m.prefix_len
                ))
            })?;
            let value = value(name, &m.value, width)?;
            masked(value, prefix_mask(width, length), "prefix")
        }
        ("ternary", FieldMatchType::Ternary(m)) => masked(
            value(name, &m.value, width)?,
            value(name, &m.mask, width)?,
            "mask",
        ),
        ("range", FieldMatchType::Range(m)) => {
            let low = value(name, &m.low, width)?;
            let high = value(name, &m.high, width)?;
            if low.iter().all(|l| *l == 0) && high == prefix_mask(width, width) {
                return Err(Fault::invalid(format!(
                    "match field `{name}`: the range has all values: a field that matches \
                     anything is left out"
                )));
            }
            if low.iter().rev().gt(high.iter().rev()) {
                return Err(Fault::invalid(format!(
                    "match field `{name}`: the range's low {} is above its high {}",
                    hex(&m.low),
                    hex(&m.high)
                )));
            }
            Ok(Match::Range(low, high))
        }
        (_, given) => Err(Fault::invalid(format!(
            "match field `{name}` has a match of type {}: it takes {kind}",
            type_name(given)
        ))),
    }
}

/// Converts a match for clients; `None` if it matches anything.
pub(crate) fn from_match(kind: &str, width: u32, is: &Match) -> Option<FieldMatchType> {
    let full = || from_limbs(&prefix_mask(width, width));
    Some(match (kind, is) {
        (_, Match::Any) => return None,
        ("exact", Match::Exact(v) | Match::Ternary(v, _)) => {
            FieldMatchType::Exact(v1::field_match::Exact {
                value: from_limbs(v),
            })
        }
        ("optional", Match::Exact(v) | Match::Ternary(v, _)) => {
            FieldMatchType::Optional(v1::field_match::Optional {
                value: from_limbs(v),
            })
        }
        ("lpm", Match::Exact(v)) => FieldMatchType::Lpm(v1::field_match::Lpm {
            value: from_limbs(v),
            prefix_len: width as i32,
        }),
        ("lpm", Match::Ternary(v, mask)) => FieldMatchType::Lpm(v1::field_match::Lpm {
            value: from_limbs(v),
            prefix_len: mask.iter().map(|m| m.count_ones()).sum::<u32>() as i32,
        }),
        ("range", Match::Range(low, high)) => FieldMatchType::Range(v1::field_match::Range {
            low: from_limbs(low),
            high: from_limbs(high),
        }),
        ("range", Match::Exact(v)) => FieldMatchType::Range(v1::field_match::Range {
            low: from_limbs(v),
            high: from_limbs(v),
        }),
        (_, Match::Exact(v)) => FieldMatchType::Ternary(v1::field_match::Ternary {
            value: from_limbs(v),
            mask: full(),
        }),
        (_, Match::Ternary(v, mask)) => FieldMatchType::Ternary(v1::field_match::Ternary {
            value: from_limbs(v),
            mask: from_limbs(mask),
        }),
        _ => return None,
    })
}

impl Pipeline {
    /// Returns the table with that id.
    pub(crate) fn table(&self, id: u32) -> Result<(usize, &Table)> {
        match self.things.get(&id) {
            Some(Thing::Table(n)) => Ok((*n, &self.engine.tables()[*n])),
            _ => Err(self.unknown(Kind::Table, id)),
        }
    }

    /// Converts the keys of an entry.
    pub(crate) fn matches(
        &self,
        n: usize,
        given: &[v1::FieldMatch],
        unknown: Unknown,
    ) -> Result<Vec<Match>> {
        let spec = self.engine.tables()[n].spec();
        let mut list: Vec<Option<Match>> = vec![None; spec.keys.len()];
        for field in given {
            let at = self.keys[n]
                .iter()
                .position(|id| *id == field.field_id && *id != 0);
            let Some(at) = at else {
                return Err(self.unknown_field(n, field.field_id));
            };
            let key = &spec.keys[at];
            let named = |what: &str| {
                Err(Fault::invalid(format!(
                    "match field `{}` ({}) of table `{}` {what}",
                    key.name, field.field_id, spec.name
                )))
            };
            if list[at].is_some() {
                return named("is given twice");
            }
            let Some(kind) = &field.field_match_type else {
                return named("has no match type");
            };
            let place = (self.tables[n], field.field_id);
            let kind = self.texts.number_match(place, &key.name, kind, unknown)?;
            list[at] = Some(to_match(&key.name, &key.kind, key.width, &kind)?);
        }
        let keys = list.into_iter().zip(&spec.keys);
        keys.map(|(given, key)| match given {
            Some(given) => Ok(given),
            None if key.kind == "exact" => Err(Fault::invalid(format!(
                "match field `{}` of table `{}` is missing: it is matched exact",
                key.name, spec.name
            ))),
            None => Ok(Match::Any),
        })
        .collect()
    }

    /// Converts an action with its arguments.
    pub(crate) fn chosen(&self, table: &ir::Table, given: &v1::Action) -> Result<Chosen> {
        let name = self.names.get(&given.action_id);
        let at = name.and_then(|name| table.actions.iter().position(|a| a.name == *name));
        let (Some(name), Some(at)) = (name, at) else {
            return Err(self.unknown_action(table, given.action_id));
        };
        let action = &table.actions[at];
        let ids = self
            .actions
            .get(name)
            .map_or(&[][..], |ids| &ids.parameters);
        let mut arguments: Vec<Option<Vec<u64>>> = vec![None; action.parameters.len()];
        for param in &given.params {
            let place = ids.iter().position(|id| *id == param.param_id);
            let place = place.filter(|p| *p < arguments.len());
            let Some(place) = place else {
                let there = action.parameters.iter().zip(ids);
                let there = listed(there.map(|(p, id)| (p.name.as_str(), *id)));
                return Err(Fault::invalid(format!(
                    "param {} of action `{name}` does not exist; params: {there}",
                    param.param_id
                )));
            };
            let parameter = &action.parameters[place];
            if arguments[place].is_some() {
                return Err(Fault::invalid(format!(
                    "param `{}` ({}) of action `{name}` is given twice",
                    parameter.name, param.param_id
                )));
            }
            let (id, name) = ((given.action_id, param.param_id), &parameter.name);
            let number = self.texts.number(id, name, &param.value, Unknown::Numbered);
            arguments[place] = Some(value(name, &number?, parameter.width)?);
        }
        let missing = arguments.iter().position(Option::is_none);
        if let Some(missing) = missing {
            return Err(Fault::invalid(format!(
                "param `{}` of action `{name}` is missing",
                action.parameters[missing].name
            )));
        }
        let arguments: Vec<Vec<u64>> = arguments.into_iter().flatten().collect();
        self.rules.check_action(name, &arguments)?;
        Ok(Chosen {
            action: at as u32,
            arguments,
        })
    }

    fn action(&self, table: &Table, given: &Option<v1::TableAction>) -> Result<Action> {
        use table_action::Type;
        let spec = table.spec();
        match given.as_ref().and_then(|a| a.r#type.as_ref()) {
            Some(Type::Action(_)) if table.profile().is_some() => Err(Fault::invalid(format!(
                "table `{}` has an action profile: an entry's action is a member id, a group id \
                 or an action profile action set, not an action",
                spec.name
            ))),
            Some(Type::Action(action)) => Ok(Action::Direct(self.chosen(spec, action)?)),
            Some(_) if table.profile().is_none() => Err(Fault::invalid(format!(
                "table `{}` has no action profile: an entry's action is an action, no member, \
                 group or set",
                spec.name
            ))),
            Some(Type::ActionProfileMemberId(member)) => Ok(Action::Member(*member)),
            Some(Type::ActionProfileGroupId(group)) => Ok(Action::Group(*group)),
            Some(Type::ActionProfileActionSet(set)) => {
                Ok(Action::Set(self.action_set(table, set)?))
            }
            None => Err(Fault::invalid(format!(
                "the entry of table `{}` has no action",
                spec.name
            ))),
        }
    }

    /// Checks a priority against the table's kinds of keys.
    pub(crate) fn priority(&self, table: &Table, given: i32) -> Result<i64> {
        match (table.has_priorities(), given) {
            (true, ..=0) => Err(Fault::invalid(format!(
                "priority is {given}: entries of table `{}` have one above 0, since it has a \
                 ternary, range or optional match field",
                table.spec().name
            ))),
            (false, 1.. | ..=-1) => Err(Fault::invalid(format!(
                "priority is {given}: entries of table `{}` have none (0), since it has no \
                 ternary, range or optional match field",
                table.spec().name
            ))),
            _ => Ok(i64::from(given)),
        }
    }

    /// Converts a table entry.
    pub(crate) fn entry(&self, n: usize, given: &v1::TableEntry) -> Result<Entry> {
        let table = &self.engine.tables()[n];
        if given.meter_config.is_some() && table.direct_meter().is_none() {
            return Err(Fault::invalid(format!(
                "meter_config is given, and table `{}` has no direct meter",
                table.spec().name
            )));
        }
        if given.counter_data.is_some() && table.direct_counter().is_none() {
            return Err(Fault::invalid(format!(
                "counter_data is given, and table `{}` has no direct counter",
                table.spec().name
            )));
        }
        if given.time_since_last_hit.is_some() || given.meter_counter_data.is_some() {
            return Err(Fault::invalid(
                "time_since_last_hit or meter_counter_data is given in a write: they are read only",
            ));
        }
        Ok(Entry {
            keys: self.matches(n, &given.r#match, Unknown::Numbered)?,
            priority: self.priority(table, given.priority)?,
            action: self.action(table, &given.action)?,
            idle_timeout_ns: match given.idle_timeout_ns {
                0 => None,
                timeout @ ..=-1 => {
                    return Err(Fault::invalid(format!(
                        "idle_timeout_ns is {timeout}, below 0"
                    )))
                }
                timeout => Some(timeout as u64),
            },
            opaque: Kept::of(given)?.to_bytes(),
        })
    }

    /// Converts an action for clients.
    pub(crate) fn shown_action(
        &self,
        table: &ir::Table,
        action: &Action,
    ) -> Option<v1::TableAction> {
        let shown = match action {
            Action::Direct(chosen) => table_action::Type::Action(self.shown_chosen(table, chosen)?),
            Action::Member(member) => table_action::Type::ActionProfileMemberId(*member),
            Action::Group(group) => table_action::Type::ActionProfileGroupId(*group),
            Action::Set(actions) => self.shown_set(table, actions)?,
        };
        Some(v1::TableAction {
            r#type: Some(shown),
        })
    }

    pub(crate) fn shown_chosen(&self, table: &ir::Table, chosen: &Chosen) -> Option<v1::Action> {
        let action = table.actions.get(chosen.action as usize)?;
        let ids = self.actions.get(&action.name)?;
        let params = ids.parameters.iter().zip(&chosen.arguments);
        Some(v1::Action {
            action_id: ids.id,
            params: params
                .map(|(id, value)| v1::action::Param {
                    param_id: *id,
                    value: self.texts.shown((ids.id, *id), from_limbs(value)),
                })
                .collect(),
        })
    }

    /// Converts an entry's match fields for clients, without those that match anything.
    pub(crate) fn shown_matches(&self, n: usize, keys: &[Match]) -> Vec<v1::FieldMatch> {
        let spec = self.engine.tables()[n].spec();
        let fields = spec.keys.iter().zip(keys).zip(&self.keys[n]);
        fields
            .filter(|(_, id)| **id != 0)
            .filter_map(|((key, is), id)| {
                let is = from_match(&key.kind, key.width, is)?;
                Some(v1::FieldMatch {
                    field_id: *id,
                    field_match_type: Some(self.texts.shown_match((self.tables[n], *id), is)),
                })
            })
            .collect()
    }

    /// Converts what identifies an entry for clients.
    pub(crate) fn shown_key(&self, n: usize, keys: &[Match], priority: i64) -> v1::TableEntry {
        v1::TableEntry {
            table_id: self.tables[n],
            r#match: self.shown_matches(n, keys),
            priority: match self.engine.tables()[n].has_priorities() {
                true => i32::try_from(priority).unwrap_or(i32::MAX),
                false => 0,
            },
            ..Default::default()
        }
    }

    /// Converts an entry for clients. `wanted` selects the data that is reported beyond the entry.
    pub(crate) fn shown_entry(
        &self,
        n: usize,
        state: &EntryState,
        wanted: &v1::TableEntry,
        now_ns: u64,
    ) -> v1::TableEntry {
        let table = &self.engine.tables()[n];
        let entry = &state.entry;
        let counts = state.count.filter(|_| wanted.counter_data.is_some());
        let elapsed = now_ns.saturating_sub(state.last_hit_ns);
        let timed = wanted.time_since_last_hit.is_some() && entry.idle_timeout_ns.is_some();
        let mut shown = v1::TableEntry {
            action: self.shown_action(table.spec(), &entry.action),
            idle_timeout_ns: entry.idle_timeout_ns.map_or(0, |t| t as i64),
            counter_data: counts.map(|count| v1::CounterData {
                packet_count: count.packets as i64,
                byte_count: count.bytes as i64,
            }),
            time_since_last_hit: timed.then_some(v1::table_entry::IdleTimeout {
                elapsed_ns: elapsed as i64,
            }),
            meter_config: wanted.meter_config.and(state.meter).map(shown_config),
            is_const: state.origin == Origin::Program && table.spec().const_entries,
            ..self.shown_key(n, &entry.keys, entry.priority)
        };
        Kept::from_bytes(&entry.opaque).show(&mut shown);
        shown
    }
}
