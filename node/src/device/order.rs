// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The order of writes (`p4/K8S_NODE.md`).

use crate::program::Program;
use crate::reconcile::{Key, Order};

/// The tables and the selector, in the order in which what they refer to is written, each with its
/// place among deletions.
pub(super) fn of(program: &Program, key: &Key) -> Order {
    let (write, delete) = match key {
        Key::Entry { table, .. } if *table == program.endpoints.id => (0, 6),
        Key::Member { .. } => (1, 4),
        Key::Entry { table, .. } if *table == program.sticky_members.id => (2, 5),
        Key::Group { .. } => (3, 3),
        Key::Entry { table, .. } if *table == program.backends.id => (4, 2),
        // A packet to an address of which only the services are gone is refused, not routed.
        Key::Entry { table, .. } if *table == program.services.id => (5, 0),
        Key::Entry { .. } => (6, 1),
    };
    Order { write, delete }
}
