// SPDX-License-Identifier: Apache-2.0 OR MIT
//! References between fields and parameters, from a program's annotations.

use std::collections::HashSet;

use adit_p4_frontend::control::{Annotation, Item};
use adit_p4_frontend::ir::Program;

use super::annotations::pairs;

/// The name of the multicast groups in annotations.
const GROUPS: &str = "builtin::multicast_group_table";

/// The maximum number of references of a program, since they are compared with each other.
const MAX_REFERENCES: usize = 4096;

/// The target of a reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Some keys of a table, in the order of their indexes.
    Keys(usize, Vec<usize>),
    /// Multicast groups, by their ids.
    Groups,
}

/// A reference: the fields or parameters with the values, and the index of the target.
#[derive(Clone, Debug)]
pub(super) struct Edge {
    pub(super) from: Vec<usize>,
    pub(super) place: usize,
}

/// A collector of the edges of annotated items.
pub(super) struct Finder<'p> {
    program: &'p Program,
    pub(super) places: Vec<Place>,
    /// The names of places, for messages.
    pub(super) names: Vec<String>,
    references: usize,
}

impl<'p> Finder<'p> {
    pub(super) fn new(program: &'p Program) -> Finder<'p> {
        Finder {
            program,
            places: Vec::new(),
            names: Vec::new(),
            references: 0,
        }
    }

    /// Returns the distinct references in an item's annotations of that name, and counts them.
    fn references(
        &mut self,
        item: &Item,
        annotation: &str,
    ) -> std::result::Result<Vec<(String, String)>, String> {
        let mut known = HashSet::new();
        let mut found = pairs(&item.annotations, annotation)?;
        found.retain(|pair| known.insert(pair.clone()));
        self.references += found.len();
        match self.references > MAX_REFERENCES {
            true => Err(format!(
                "`{}`: @{annotation}: the program has more than {MAX_REFERENCES} references",
                item.name
            )),
            false => Ok(found),
        }
    }

    fn table(&self, name: &str) -> std::result::Result<usize, String> {
        let tables = self.program.tables.iter().enumerate();
        let is_it = |full: &str| {
            full == name
                || full
                    .strip_suffix(name)
                    .is_some_and(|before| before.ends_with('.'))
        };
        let found: Vec<usize> = tables
            .filter(|(_, t)| is_it(&t.name))
            .map(|(n, _)| n)
            .collect();
        match found[..] {
            [n] => Ok(n),
            [] => Err(format!("table `{name}` does not exist")),
            [..] => Err(format!("table `{name}` may be one of {}", found.len())),
        }
    }

    fn key(&self, table: usize, field: &str) -> std::result::Result<usize, String> {
        let keys = &self.program.control.tables[table].keys;
        let found = keys.iter().position(|item| item.name == field);
        found.ok_or_else(|| {
            let names: Vec<&str> = keys.iter().take(8).map(|item| &*item.name).collect();
            format!(
                "match field `{field}` of table `{}` does not exist; match fields: {}",
                self.program.tables[table].name,
                names.join(", ")
            )
        })
    }

    fn place(&mut self, place: Place, name: String) -> usize {
        let found = self.places.iter().position(|known| *known == place);
        found.unwrap_or_else(|| {
            self.places.push(place);
            self.names.push(name);
            self.places.len() - 1
        })
    }

    /// Creates an edge from items to keys of a table, by pairs of their indexes.
    fn edge(&mut self, table: usize, mut pairs: Vec<(usize, usize)>) -> Edge {
        pairs.sort_by_key(|(_, key)| *key);
        let keys: Vec<usize> = pairs.iter().map(|(_, key)| *key).collect();
        let shown = &self.program.control.tables[table].keys;
        let names: Vec<&str> = keys.iter().map(|key| &*shown[*key].name).collect();
        let name = format!(
            "table `{}` ({})",
            self.program.tables[table].name,
            names.join(", ")
        );
        Edge {
            from: pairs.iter().map(|(from, _)| *from).collect(),
            place: self.place(Place::Keys(table, keys), name),
        }
    }

    /// Returns the edges of the match fields of a table or the parameters of an action.
    pub(super) fn edges(&mut self, items: &[Item]) -> std::result::Result<Vec<Edge>, String> {
        let mut edges = Vec::new();
        let mut by_table: Vec<(usize, Vec<(usize, usize)>)> = Vec::new();
        for (n, item) in items.iter().enumerate() {
            let of_item = |why: String| format!("`{}`: @refers_to: {why}", item.name);
            for (table, field) in self.references(item, "refers_to")? {
                if table == GROUPS {
                    if field != "multicast_group_id" {
                        let why = format!("{GROUPS} has multicast_group_id, not {field}");
                        return Err(of_item(why));
                    }
                    let place = self.place(Place::Groups, "multicast groups".to_owned());
                    edges.push(Edge {
                        from: vec![n],
                        place,
                    });
                    continue;
                }
                let table = self.table(&table).map_err(of_item)?;
                let pair = (n, self.key(table, &field).map_err(of_item)?);
                match by_table.iter_mut().find(|(t, _)| *t == table) {
                    Some((_, pairs)) => pairs.push(pair),
                    None => by_table.push((table, vec![pair])),
                }
            }
        }
        for (table, pairs) in by_table {
            // The same field twice refers to two entries.
            let mut rows: Vec<Vec<(usize, usize)>> = Vec::new();
            for pair in pairs {
                let free = |row: &&mut Vec<(usize, usize)>| row.iter().all(|p| p.1 != pair.1);
                match rows.iter_mut().find(free) {
                    Some(row) => row.push(pair),
                    None => rows.push(vec![pair]),
                }
            }
            edges.extend(rows.into_iter().map(|row| self.edge(table, row)));
        }
        Ok(edges)
    }

    /// Returns the edge from replicas to the keys of a table.
    pub(super) fn of_replicas_to(
        &mut self,
        table: usize,
    ) -> std::result::Result<Option<Edge>, String> {
        let keys = &self.program.control.tables[table].keys;
        let mut found = Vec::new();
        for (n, item) in keys.iter().enumerate() {
            for (by, field) in self.references(item, "referenced_by")? {
                let of_item = |why: String| format!("`{}`: @referenced_by: {why}", item.name);
                let from = match (by.as_str(), field.as_str()) {
                    (GROUPS, "replica.port") => 0,
                    (GROUPS, "replica.instance") => 1,
                    (GROUPS, _) => {
                        let why = "has replica.port and replica.instance, not";
                        return Err(of_item(format!("{GROUPS} {why} {field}")));
                    }
                    _ => return Err(of_item(format!("`{by}` is not {GROUPS}"))),
                };
                found.push((from, n));
            }
        }
        Ok((!found.is_empty()).then(|| self.edge(table, found)))
    }
}

pub(super) fn is_annotated(annotations: &[Annotation]) -> bool {
    let mut names = annotations.iter().map(|a| a.name.as_str());
    names.any(|name| matches!(name, "refers_to" | "referenced_by"))
}
