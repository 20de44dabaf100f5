// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Entries by the names of tables, actions and their parts, in the order of P4Info.

use std::net::IpAddr;

use adit_node::program::address;
use adit_p4runtime::bytes::shortest;
use adit_p4runtime::proto::config::{P4Info, Preamble};
use adit_p4runtime::proto::v1::{
    self, entity::Entity, field_match as matched, update::Type, FieldMatch, TableAction,
    TableEntry, Update,
};

/// The value of a match field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    /// This value.
    Exact(Vec<u8>),
    /// Values that begin with so many bits of this one.
    Prefix(Vec<u8>, i32),
    /// Values that have the bits of this one in a mask.
    Ternary(Vec<u8>, Vec<u8>),
    /// Any value.
    Any,
}

impl Key {
    /// A number.
    pub fn number(value: u64) -> Key {
        Key::Exact(value.to_be_bytes().to_vec())
    }

    /// An address.
    pub fn address(value: IpAddr) -> Key {
        Key::Exact(address(value).to_vec())
    }

    /// The addresses of a network, whose prefix has so many bits in its own family.
    pub fn network(value: IpAddr, bits: i32) -> Key {
        let mapped = if value.is_ipv4() { 96 } else { 0 };
        Key::Prefix(address(value).to_vec(), mapped + bits)
    }

    /// The same network as a value and its mask.
    pub fn masked(value: IpAddr, bits: u32) -> Key {
        let mapped = if value.is_ipv4() { 96 } else { 0 };
        let mask = u128::MAX.checked_shl(128 - mapped - bits).unwrap_or(0);
        let value = u128::from_be_bytes(address(value)) & mask;
        Key::Ternary(value.to_be_bytes().to_vec(), mask.to_be_bytes().to_vec())
    }

    fn field(&self) -> Option<matched::FieldMatchType> {
        let short = |bytes: &[u8]| shortest(bytes).to_vec();
        Some(match self {
            Key::Exact(value) => matched::FieldMatchType::Exact(matched::Exact {
                value: short(value),
            }),
            // A prefix of no bits is no match.
            Key::Any | Key::Prefix(_, 0) => return None,
            Key::Prefix(value, prefix_len) => matched::FieldMatchType::Lpm(matched::Lpm {
                value: short(value),
                prefix_len: *prefix_len,
            }),
            Key::Ternary(value, mask) => matched::FieldMatchType::Ternary(matched::Ternary {
                value: short(value),
                mask: short(mask),
            }),
        })
    }
}

fn is_named(preamble: Option<&Preamble>, name: &str) -> bool {
    preamble.is_some_and(|it| it.name.rsplit('.').next() == Some(name))
}

fn id(preamble: Option<&Preamble>) -> u32 {
    preamble.map_or(0, |it| it.id)
}

/// The update that adds an entry. A priority of 0 is none.
///
/// # Panics
///
/// Panics if the program has no such table or action: the test is wrong.
pub fn entry(
    info: &P4Info,
    table: &str,
    keys: &[Key],
    priority: i32,
    action: &str,
    arguments: &[&[u8]],
) -> Update {
    let mut tables = info.tables.iter();
    let found = tables.find(|it| is_named(it.preamble.as_ref(), table));
    let table = found.unwrap_or_else(|| panic!("no table {table}"));
    let mut actions = info.actions.iter();
    let found = actions.find(|it| is_named(it.preamble.as_ref(), action));
    let action = found.unwrap_or_else(|| panic!("no action {action}"));
    assert_eq!(table.match_fields.len(), keys.len(), "keys of {table:?}");
    assert_eq!(action.params.len(), arguments.len(), "of {action:?}");
    let fields = table.match_fields.iter().zip(keys);
    let fields = fields.filter_map(|(field, key)| {
        Some(FieldMatch {
            field_id: field.id,
            field_match_type: Some(key.field()?),
        })
    });
    let params = action.params.iter().zip(arguments);
    let params = params.map(|(param, value)| v1::action::Param {
        param_id: param.id,
        value: shortest(value).to_vec(),
    });
    let entry = TableEntry {
        table_id: id(table.preamble.as_ref()),
        r#match: fields.collect(),
        priority,
        action: Some(TableAction {
            r#type: Some(v1::table_action::Type::Action(v1::Action {
                action_id: id(action.preamble.as_ref()),
                params: params.collect(),
            })),
        }),
        ..TableEntry::default()
    };
    Update {
        r#type: Type::Insert as i32,
        entity: Some(v1::Entity {
            entity: Some(Entity::TableEntry(entry)),
        }),
    }
}
