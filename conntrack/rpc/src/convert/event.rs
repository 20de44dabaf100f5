// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The values that an event is about.

use adit_conntrack::{Changes, Event};

/// Bits of `enum ip_conntrack_events` (`linux/netfilter/nf_conntrack_common.h`).
mod bit {
    pub(super) const NEW: u32 = 1 << 0;
    pub(super) const RELATED: u32 = 1 << 1;
    pub(super) const DESTROY: u32 = 1 << 2;
    pub(super) const REPLY: u32 = 1 << 3;
    pub(super) const ASSURED: u32 = 1 << 4;
    pub(super) const PROTOINFO: u32 = 1 << 5;
    pub(super) const HELPER: u32 = 1 << 6;
    pub(super) const MARK: u32 = 1 << 7;
    pub(super) const LABEL: u32 = 1 << 10;
}

fn of_changes(changes: &Changes) -> u32 {
    let Changes {
        reply,
        assured,
        proto,
        mark,
        label,
        helper,
    } = *changes;
    let all = [
        (reply, bit::REPLY),
        (assured, bit::ASSURED),
        (proto, bit::PROTOINFO),
        (mark, bit::MARK),
        (label, bit::LABEL),
        (helper, bit::HELPER),
    ];
    let set = all.iter().filter(|(is_set, _)| *is_set);
    set.map(|(_, bit)| bit).sum()
}

/// The bits of an event of a connection; those of an expectation have none.
pub(crate) fn event_values(event: &Event) -> u32 {
    match event {
        Event::New(connection, changes) => {
            let new = match connection.master {
                Some(_) => bit::RELATED,
                None => bit::NEW,
            };
            new | of_changes(changes)
        }
        Event::Update(_, changes) => of_changes(changes),
        Event::Destroy(_) => bit::DESTROY,
        Event::ExpectNew(_) | Event::ExpectDestroy(_) => 0,
    }
}
