// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Counters of the P4Runtime server.

use adit_p4runtime::server::Counts;

use crate::metrics::{Exposition, Kind};

/// Writes the counters of undelivered messages and ended connections.
pub(super) fn write(out: &mut Exposition, counts: &Counts) {
    let help = "Messages that no P4Runtime client received, by kind.";
    let mut f = out.family("adit_p4runtime_undelivered_total", Kind::Counter, help);
    for (kind, count) in counts.undelivered {
        f.sample(&[("kind", kind)], count);
    }
    let help = "Connections that the P4Runtime server closed, by reason.";
    let mut f = out.family(
        "adit_p4runtime_connections_ended_total",
        Kind::Counter,
        help,
    );
    for (reason, count) in [
        ("idle", counts.closed_idle),
        ("stalled", counts.closed_stalled),
        ("full", counts.refused),
    ] {
        f.sample(&[("reason", reason)], count);
    }
}
