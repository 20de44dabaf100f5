// SPDX-License-Identifier: Apache-2.0 OR MIT
//! All counters, as Prometheus text (exposition format 0.0.4).

use std::fmt::Write;

use crate::dataplane::DataPlane;
use crate::drops::Drop;
use crate::function::Function;
use crate::wire::{RxDrop, TxDrop};

/// One metric family under way.
struct Family<'a> {
    out: &'a mut String,
    name: &'static str,
}

impl<'a> Family<'a> {
    fn new(out: &'a mut String, name: &'static str, kind: &str, help: &str) -> Self {
        // Writing to a string does not fail.
        let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        Self { out, name }
    }

    fn counter(out: &'a mut String, name: &'static str, help: &str) -> Self {
        Self::new(out, name, "counter", help)
    }

    fn value(&mut self, labels: &[(&str, &str)], value: u64) {
        self.out.push_str(self.name);
        for (n, (label, text)) in labels.iter().enumerate() {
            let _ = write!(self.out, "{}{label}=\"", if n == 0 { '{' } else { ',' });
            for c in text.chars() {
                match c {
                    '\\' => self.out.push_str("\\\\"),
                    '"' => self.out.push_str("\\\""),
                    '\n' => self.out.push_str("\\n"),
                    c => self.out.push(c),
                }
            }
            self.out.push('"');
        }
        let _ = writeln!(
            self.out,
            "{} {value}",
            if labels.is_empty() { "" } else { "}" }
        );
    }
}

/// All counters of the function.
#[must_use]
pub fn prometheus(function: &Function) -> String {
    let mut out = String::new();
    vports(&mut out, function);
    wires(&mut out, function);
    control(&mut out, function);
    out
}

/// The counters that are not zero, a line each.
#[must_use]
pub fn summary(function: &Function) -> String {
    let all = prometheus(function);
    let counted = all
        .lines()
        .filter(|line| !line.starts_with('#') && !line.ends_with(" 0"));
    counted.collect::<Vec<_>>().join("\n")
}

fn vports(out: &mut String, function: &Function) {
    let datapath = function.datapath();
    let ports = || (0..datapath.vport_count()).map(|v| (v.to_string(), datapath.counters(v)));
    let mut f = Family::counter(
        out,
        "adit_vport_frames_total",
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
            f.value(
                &[("vport", &vport), ("direction", direction), ("cast", kind)],
                n,
            );
        }
    }
    let mut f = Family::counter(
        out,
        "adit_vport_bytes_total",
        "Bytes to and from the driver.",
    );
    for (vport, c) in ports() {
        f.value(&[("vport", &vport), ("direction", "rx")], c.rx_bytes);
        f.value(&[("vport", &vport), ("direction", "tx")], c.tx_bytes);
    }
    let help = "Frames between wire and driver that were dropped, by reason.";
    let mut f = Family::counter(out, "adit_vport_dropped_total", help);
    for vport in 0..datapath.vport_count() {
        let (Some(drops), name) = (datapath.drops(vport), vport.to_string()) else {
            continue;
        };
        for reason in Drop::ALL {
            for (direction, counts) in [("rx", drops.rx), ("tx", drops.tx)] {
                let labels = [
                    ("vport", &*name),
                    ("direction", direction),
                    ("reason", reason.label()),
                ];
                f.value(&labels, counts.get(reason));
            }
        }
    }
    let mut f = Family::new(
        out,
        "adit_vport_link_up",
        "gauge",
        "Whether the link is up.",
    );
    for vport in 0..datapath.vport_count() {
        f.value(
            &[("vport", &vport.to_string())],
            datapath.link(vport).0.into(),
        );
    }
}

fn wires(out: &mut String, function: &Function) {
    let datapath = function.datapath();
    let wires = || (0..datapath.vport_count()).filter_map(|v| datapath.wire(v));
    let mut f = Family::counter(out, "adit_wire_frames_total", "Frames off and onto a wire.");
    for wire in wires() {
        let c = wire.counters();
        f.value(&[("wire", wire.name()), ("direction", "rx")], c.rx_frames);
        f.value(&[("wire", wire.name()), ("direction", "tx")], c.tx_frames);
    }
    let mut f = Family::counter(out, "adit_wire_bytes_total", "Bytes off and onto a wire.");
    for wire in wires() {
        let c = wire.counters();
        f.value(&[("wire", wire.name()), ("direction", "rx")], c.rx_bytes);
        f.value(&[("wire", wire.name()), ("direction", "tx")], c.tx_bytes);
    }
    let help = "Frames that a wire did not take or yield whole, by reason.";
    let mut f = Family::counter(out, "adit_wire_dropped_total", help);
    for wire in wires() {
        let c = wire.counters();
        for r in RxDrop::ALL {
            let labels = [
                ("wire", wire.name()),
                ("direction", "rx"),
                ("reason", r.label()),
            ];
            f.value(&labels, c.rx_dropped(r));
        }
        for r in TxDrop::ALL {
            let labels = [
                ("wire", wire.name()),
                ("direction", "tx"),
                ("reason", r.label()),
            ];
            f.value(&labels, c.tx_dropped(r));
        }
    }
    let help = "Times that a wire took no more for the moment.";
    let mut f = Family::counter(out, "adit_wire_backpressure_total", help);
    for wire in wires() {
        f.value(&[("wire", wire.name())], wire.counters().tx_backpressure);
    }
}

fn control(out: &mut String, function: &Function) {
    let (m, c) = (function.mailbox().counters(), function.control().counters());
    Family::counter(
        out,
        "adit_mailbox_requests_total",
        "Messages from the driver.",
    )
    .value(&[], m.requests);
    Family::counter(out, "adit_mailbox_posted_total", "Messages to the driver.")
        .value(&[], m.posted);
    let help = "Mailbox messages and rings that could not be used, by reason.";
    let mut f = Family::counter(out, "adit_mailbox_faults_total", help);
    for (reason, n) in [
        ("bad_opcode", m.bad_opcode),
        ("too_long", m.too_long),
        ("no_buffer", m.no_buffer),
        ("request_dma", m.request_dma_faults),
        ("buffer_too_small", m.buffer_too_small),
        ("post_dma", m.post_dma_faults),
        ("ring", m.ring_faults),
    ] {
        f.value(&[("reason", reason)], n);
    }
    let help = "virtchnl2 requests that were refused, by reason.";
    let mut f = Family::counter(out, "adit_virtchnl2_refused_total", help);
    for (reason, n) in c.refused() {
        f.value(&[("reason", &reason.to_string())], n);
    }
    let interrupts = function.datapath().interrupts.counters();
    let mut f = Family::counter(
        out,
        "adit_interrupts_total",
        "Interrupts, by what became of them.",
    );
    f.value(&[("outcome", "signalled")], interrupts.signalled);
    f.value(&[("outcome", "lost")], interrupts.lost);
    Family::counter(
        out,
        "adit_queue_faults_total",
        "Queues stopped because they were unusable.",
    )
    .value(&[], function.datapath().faults().0);
    let counters = function.counters();
    let mut f = Family::counter(out, "adit_resets_total", "Resets of the function, by kind.");
    f.value(&[("kind", "software")], counters.software_resets);
    f.value(&[("kind", "function")], counters.function_resets);
    Family::counter(
        out,
        "adit_stray_accesses_total",
        "Accesses to BAR0 at no register.",
    )
    .value(&[], counters.stray_accesses);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped() {
        let mut out = String::new();
        let mut f = Family::counter(&mut out, "x_total", "What x is.");
        f.value(&[], 1);
        f.value(&[("a", "q\"b\\s\nn"), ("b", "c")], 2);
        let expected = "# HELP x_total What x is.\n# TYPE x_total counter\nx_total 1\n\
                        x_total{a=\"q\\\"b\\\\s\\nn\",b=\"c\"} 2\n";
        assert_eq!(out, expected);
    }
}
