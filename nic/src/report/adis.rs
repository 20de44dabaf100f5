// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Counters of ADIs, summed over all ADIs: there may be ten thousand.

use adit_uapi::virtchnl2::adi::fault_reason;

use crate::drops::DropReason;
use crate::function::Function;
use crate::metrics::{Exposition, Kind};

pub(super) fn write(out: &mut Exposition, function: &Function) {
    let datapath = function.datapath();
    let totals = datapath.adi_totals();
    out.family("adit_adis", Kind::Gauge, "ADIs.")
        .sample(&[], totals.adis);
    let c = totals.frames;
    let mut f = out.family(
        "adit_adi_frames_total",
        Kind::Counter,
        "Frames to and from ADIs.",
    );
    for (direction, cast, n) in [
        ("rx", "unicast", c.rx_unicast),
        ("rx", "multicast", c.rx_multicast),
        ("rx", "broadcast", c.rx_broadcast),
        ("tx", "unicast", c.tx_unicast),
        ("tx", "multicast", c.tx_multicast),
        ("tx", "broadcast", c.tx_broadcast),
    ] {
        f.sample(&[("direction", direction), ("cast", cast)], n);
    }
    let mut f = out.family(
        "adit_adi_bytes_total",
        Kind::Counter,
        "Bytes to and from ADIs.",
    );
    f.sample(&[("direction", "rx")], c.rx_bytes);
    f.sample(&[("direction", "tx")], c.tx_bytes);
    let help = "Frames to and from ADIs that were dropped, by reason.";
    let mut f = out.family("adit_adi_dropped_total", Kind::Counter, help);
    for reason in DropReason::ALL {
        for (direction, counts) in [("rx", totals.drops.rx), ("tx", totals.drops.tx)] {
            let labels = [("direction", direction), ("reason", reason.label())];
            f.sample(&labels, counts.get(reason));
        }
    }
    let help = "Queues of ADIs that were stopped, by reason.";
    let mut f = out.family("adit_adi_faults_total", Kind::Counter, help);
    for (reason, n) in (0..).zip(totals.faults).skip(1) {
        let name = fault_reason::name(reason).unwrap_or("unknown");
        f.sample(&[("reason", &name.to_lowercase())], n);
    }
    let help = "Multicast and broadcast frames for ADIs, by outcome.";
    let mut f = out.family("adit_switch_floods_total", Kind::Counter, help);
    f.sample(&[("outcome", "copied")], totals.floods.copied);
    f.sample(&[("outcome", "dropped")], totals.floods.dropped);
    let t = datapath.queues().translator.counters();
    let help = "Translations of addresses with a PASID, by outcome.";
    let mut f = out.family("adit_translations_total", Kind::Counter, help);
    f.sample(&[("outcome", "cached")], t.hits);
    f.sample(&[("outcome", "walked")], t.walks);
    f.sample(&[("outcome", "fault")], t.faults);
    out.family(
        "adit_adi_log_pages",
        Kind::Gauge,
        "Pages that the logs of what ADIs write have bits for.",
    )
    .sample(&[], datapath.queues().translator.logged_pages());
    let causes = datapath.queues().interrupts.adi.counters();
    let help = "Causes of ADIs that were reported, by reason.";
    let mut f = out.family("adit_cause_entries_total", Kind::Counter, help);
    f.sample(&[("reason", "interrupt")], causes.interrupts);
    f.sample(&[("reason", "fault")], causes.faults);
    f.sample(&[("reason", "lost")], causes.lost);
    out.family(
        "adit_cause_ring_faults_total",
        Kind::Counter,
        "Cause rings stopped because their memory was not accessible.",
    )
    .sample(&[], causes.ring_faults);
    let help = "Queues and vectors of ADIs that are no longer polled, and kicks.";
    let mut f = out.family("adit_adi_sleeps_total", Kind::Counter, help);
    f.sample(&[("what", "asleep")], causes.slept);
    f.sample(&[("what", "kick")], totals.kicks);
    let mut f = out.family(
        "adit_adi_awake",
        Kind::Gauge,
        "Queues and vectors of ADIs that are polled.",
    );
    f.sample(&[("what", "queue")], totals.awake_queues);
    let vectors = datapath.queues().interrupts.adi.awake() as u64;
    f.sample(&[("what", "vector")], vectors);
}
