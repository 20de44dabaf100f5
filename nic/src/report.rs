// SPDX-License-Identifier: Apache-2.0 OR MIT
//! All counters, as Prometheus text (exposition format 0.0.4).

mod adis;
mod connections;
mod p4runtime;
mod program;

use adit_conntrack::Tracker;
use adit_p4runtime::server::Counters;

use crate::dataplane::DataPlane;
use crate::drops::DropReason;
use crate::function::Function;
use crate::metrics::{Exposition, Kind};
use crate::wire::write_metrics;

/// All counters of the function, of its connections, and of the P4Runtime server.
#[must_use]
pub fn prometheus(function: &Function, tracker: &Tracker, p4rt: Option<&Counters>) -> String {
    let mut out = Exposition::new();
    vports(&mut out, function);
    wires(&mut out, function);
    adis::write(&mut out, function);
    program::write(&mut out, function);
    connections::write(&mut out, tracker);
    control(&mut out, function);
    if let Some(p4rt) = p4rt {
        p4runtime::write(&mut out, &p4rt.counts());
    }
    out.finish()
}

/// Frames of all virtual ports and ADIs in one line, for the log: delivered, sent, and dropped by
/// reason.
#[must_use]
pub fn summary(function: &Function) -> String {
    let datapath = function.datapath();
    let adis = datapath.adi_totals();
    let (mut frames, mut drops) = (adis.frames, adis.drops);
    for vport in datapath.vports() {
        frames.add(&datapath.counters(vport));
        if let Some(own) = datapath.drops(vport) {
            drops.rx.add(&own.rx);
            drops.tx.add(&own.tx);
        }
    }
    let delivered = frames.rx_unicast + frames.rx_multicast + frames.rx_broadcast;
    let sent = frames.tx_unicast + frames.tx_multicast + frames.tx_broadcast;
    let mut line = format!(
        "{delivered} frames ({} bytes) delivered, {sent} frames ({} bytes) sent",
        frames.rx_bytes, frames.tx_bytes
    );
    for (direction, counts) in [("received", drops.rx), ("to be sent", drops.tx)] {
        let reasons = DropReason::ALL.map(|reason| (reason.label(), counts.get(reason)));
        let reasons = reasons.iter().filter(|(_, frames)| *frames > 0);
        let reasons: Vec<_> = reasons.map(|(label, n)| format!("{label} {n}")).collect();
        if !reasons.is_empty() {
            line += &format!(
                ", {} dropped that were {direction} ({})",
                counts.total(),
                reasons.join(", ")
            );
        }
    }
    line
}

fn vports(out: &mut Exposition, function: &Function) {
    let datapath = function.datapath();
    let ports = || {
        datapath
            .vports()
            .map(|v| (v.0.to_string(), datapath.counters(v)))
    };
    let mut f = out.family(
        "adit_vport_frames_total",
        Kind::Counter,
        "Frames to and from the driver.",
    );
    for (vport, c) in ports() {
        for (direction, kind, n) in [
            ("rx", "unicast", c.rx_unicast),
            ("rx", "multicast", c.rx_multicast),
            ("rx", "broadcast", c.rx_broadcast),
            ("tx", "unicast", c.tx_unicast),
            ("tx", "multicast", c.tx_multicast),
            ("tx", "broadcast", c.tx_broadcast),
        ] {
            f.sample(
                &[("vport", &vport), ("direction", direction), ("cast", kind)],
                n,
            );
        }
    }
    let mut f = out.family(
        "adit_vport_bytes_total",
        Kind::Counter,
        "Bytes to and from the driver.",
    );
    for (vport, c) in ports() {
        f.sample(&[("vport", &vport), ("direction", "rx")], c.rx_bytes);
        f.sample(&[("vport", &vport), ("direction", "tx")], c.tx_bytes);
    }
    let help = "Frames between wire and driver that were dropped, by reason.";
    let mut f = out.family("adit_vport_dropped_total", Kind::Counter, help);
    for vport in datapath.vports() {
        let (Some(drops), name) = (datapath.drops(vport), vport.0.to_string()) else {
            continue;
        };
        for reason in DropReason::ALL {
            for (direction, counts) in [("rx", drops.rx), ("tx", drops.tx)] {
                let labels = [
                    ("vport", &*name),
                    ("direction", direction),
                    ("reason", reason.label()),
                ];
                f.sample(&labels, counts.get(reason));
            }
        }
    }
    let mut f = out.family("adit_vport_link_up", Kind::Gauge, "Link state: 1 if up.");
    for vport in datapath.vports() {
        f.sample(
            &[("vport", &vport.0.to_string())],
            u8::from(datapath.link(vport).0),
        );
    }
}

fn wires(out: &mut Exposition, function: &Function) {
    let datapath = function.datapath();
    let wires = datapath.vports().filter_map(|v| datapath.wire(v));
    let wires: Vec<_> = wires.map(|w| (w.name(), w.counters())).collect();
    write_metrics(out, &wires);
}

fn control(out: &mut Exposition, function: &Function) {
    let (m, c) = (function.mailbox().counters(), function.control().counters());
    out.family(
        "adit_mailbox_requests_total",
        Kind::Counter,
        "Messages from the driver.",
    )
    .sample(&[], m.requests);
    out.family(
        "adit_mailbox_posted_total",
        Kind::Counter,
        "Messages to the driver.",
    )
    .sample(&[], m.posted);
    let help = "Mailbox messages and rings that could not be used, by reason.";
    let mut f = out.family("adit_mailbox_faults_total", Kind::Counter, help);
    for (reason, n) in [
        ("bad_opcode", m.bad_opcode),
        ("too_long", m.too_long),
        ("no_buffer", m.no_buffer),
        ("request_dma", m.request_dma_faults),
        ("buffer_too_small", m.buffer_too_small),
        ("post_dma", m.post_dma_faults),
        ("ring", m.ring_faults),
    ] {
        f.sample(&[("reason", reason)], n);
    }
    let help = "virtchnl2 requests that were refused, by reason.";
    let mut f = out.family("adit_virtchnl2_refused_total", Kind::Counter, help);
    for (reason, n) in c.refused() {
        f.sample(&[("reason", &reason.to_string())], n);
    }
    let interrupts = function.datapath().queues().interrupts.counters();
    let mut f = out.family(
        "adit_interrupts_total",
        Kind::Counter,
        "Interrupts, by outcome.",
    );
    f.sample(&[("outcome", "signalled")], interrupts.signalled);
    f.sample(&[("outcome", "lost")], interrupts.lost);
    out.family(
        "adit_queue_faults_total",
        Kind::Counter,
        "Queues stopped by a fault.",
    )
    .sample(&[], function.datapath().faults().0);
    let counters = function.counters();
    let mut f = out.family(
        "adit_resets_total",
        Kind::Counter,
        "Resets of the function, by kind.",
    );
    f.sample(&[("kind", "software")], counters.software_resets);
    f.sample(&[("kind", "function")], counters.function_resets);
    out.family(
        "adit_stray_accesses_total",
        Kind::Counter,
        "Accesses to BAR0 at offsets without a register.",
    )
    .sample(&[], counters.stray_accesses);
    out.family(
        "adit_stray_kicks_total",
        Kind::Counter,
        "Kicks of ADIs that do not exist.",
    )
    .sample(&[], counters.stray_kicks);
}
