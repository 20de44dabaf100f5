// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Counters of the P4 program.

use adit_pipeline::p4::DropReason;

use crate::function::Function;
use crate::metrics::{Exposition, Kind};

/// Writes the counters of the running program.
pub(super) fn write(out: &mut Exposition, function: &Function) {
    let Some(engine) = function.datapath().engine() else {
        return;
    };
    let help = "Packets and copies that the P4 engine dropped, by reason.";
    let mut f = out.family("adit_p4_dropped_total", Kind::Counter, help);
    for reason in DropReason::ALL {
        f.sample(&[("reason", reason.name())], engine.dropped(reason));
    }
    let help =
        "Messages of the P4 program for the control plane that were lost to full queues, by kind.";
    let mut f = out.family("adit_p4_lost_total", Kind::Counter, help);
    for (kind, lost) in [
        ("digest", engine.digests().lost()),
        ("idle", engine.idle().lost()),
        ("packet_in", engine.packets_in().lost()),
        ("packet_out", engine.packets_out().lost()),
    ] {
        f.sample(&[("kind", kind)], lost);
    }
}
