// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Counters of the P4 program.

use adit_pipeline::p4::DropReason;
use adit_pipeline::reject::{Answer, Unanswered};

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
    let rejections = engine.rejections();
    let help = "Answers to packets that the P4 program rejected, by kind.";
    let mut f = out.family("adit_p4_reject_answers_total", Kind::Counter, help);
    for answer in Answer::ALL {
        f.sample(&[("kind", answer.name())], rejections.answers(answer));
    }
    let help = "Packets that the P4 program rejected and that were not answered, by reason.";
    let mut f = out.family("adit_p4_reject_unanswered_total", Kind::Counter, help);
    for reason in Unanswered::ALL {
        f.sample(&[("reason", reason.name())], rejections.unanswered(reason));
    }
    let (datagrams, bytes) = function.datapath().held_fragments();
    let help = "Incomplete datagrams whose fragments are held for the P4 program.";
    out.family("adit_fragments_datagrams", Kind::Gauge, help)
        .sample(&[], datagrams as u64);
    let help = "Bytes of the fragments that are held for the P4 program.";
    out.family("adit_fragments_bytes", Kind::Gauge, help)
        .sample(&[], bytes as u64);
    let help =
        "Datagrams that became complete, and datagrams and fragments that were dropped before, by \
                reason.";
    let mut f = out.family("adit_fragments_total", Kind::Counter, help);
    for (event, count) in function.datapath().fragment_statistics().named() {
        f.sample(&[("event", event)], count);
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
