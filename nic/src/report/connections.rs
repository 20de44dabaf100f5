// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Counters of the connections.

use adit_conntrack::Tracker;

use crate::metrics::{Exposition, Kind};

/// Writes the counters of the tracker. Names are those of `conntrack -S`.
pub(super) fn write(out: &mut Exposition, tracker: &Tracker) {
    let help = "Connections that are tracked.";
    let connections = tracker.len() as u64;
    out.family("adit_connections", Kind::Gauge, help)
        .sample(&[], connections);
    let help = "Connections for which there is memory.";
    out.family("adit_connections_max", Kind::Gauge, help)
        .sample(&[], tracker.capacity() as u64);
    let statistics = tracker.statistics();
    let help = "Events of the connection tracker, by the names of conntrack -S.";
    let mut f = out.family("adit_conntrack_events_total", Kind::Counter, help);
    for (event, count) in statistics.of_linux() {
        f.sample(&[("event", event)], count);
    }
    let help = "Packets without a connection, by reason.";
    let mut f = out.family("adit_conntrack_invalid_total", Kind::Counter, help);
    for (reason, &count) in &statistics.invalid_by_reason {
        f.sample(&[("reason", reason)], count);
    }
    let help =
        "Connections that could not be translated, since all ports were in use or reserved, by \
                address.";
    let mut f = out.family("adit_nat_exhausted_total", Kind::Counter, help);
    for (address, count) in tracker.exhausted() {
        let address = address.map_or_else(|| "others".to_owned(), |address| address.to_string());
        f.sample(&[("address", &address)], count);
    }
    let help = "Packets that the connection tracker had dropped, by reason.";
    let mut f = out.family("adit_conntrack_dropped_total", Kind::Counter, help);
    for (reason, &count) in &statistics.drop_by_reason {
        f.sample(&[("reason", reason)], count);
    }
}
