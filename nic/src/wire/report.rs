// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The ports' counters as metrics.

use super::counters::{PortCounters, RxDrop, TxDrop};
use crate::metrics::{Exposition, Family, Kind};

/// Adds the counters of all ports to `out`. Each port is given with its name (`tap:wire0`). The
/// label `port` is the index in the list.
pub fn write_metrics(out: &mut Exposition, ports: &[(&str, &PortCounters)]) {
    let receive = "received from the wire";
    let transmit = "put on the wire";
    counter(
        out,
        ports,
        "adit_wire_receive_frames_total",
        &frames(receive),
        |c| c.rx_frames,
    );
    counter(
        out,
        ports,
        "adit_wire_receive_bytes_total",
        &bytes(receive),
        |c| c.rx_bytes,
    );
    let help = "Frames from the wire that the port dropped, by reason.";
    reasons(
        out,
        ports,
        "adit_wire_receive_drops_total",
        help,
        |c, family, labels| {
            for reason in RxDrop::ALL {
                sample(family, labels, reason.label(), c.rx_dropped(reason));
            }
        },
    );
    counter(
        out,
        ports,
        "adit_wire_transmit_frames_total",
        &frames(transmit),
        |c| c.tx_frames,
    );
    counter(
        out,
        ports,
        "adit_wire_transmit_bytes_total",
        &bytes(transmit),
        |c| c.tx_bytes,
    );
    let help = "Frames for the wire that were dropped, by reason.";
    reasons(
        out,
        ports,
        "adit_wire_transmit_drops_total",
        help,
        |c, family, labels| {
            for reason in TxDrop::ALL {
                sample(family, labels, reason.label(), c.tx_dropped(reason));
            }
        },
    );
    let help = "Receive errors of the host.";
    counter(out, ports, "adit_wire_receive_failures_total", help, |c| {
        c.rx_failures
    });
    let help = "Times that a frame had to wait because the wire was full.";
    counter(out, ports, "adit_wire_backpressure_total", help, |c| {
        c.tx_backpressure
    });
}

fn frames(what: &str) -> String {
    format!("Frames {what}; one that is segmented later, or was merged, counts as its segments.")
}

fn bytes(what: &str) -> String {
    format!("Bytes of frames {what}, without frame check sequences.")
}

fn counter(
    out: &mut Exposition,
    ports: &[(&str, &PortCounters)],
    name: &'static str,
    help: &str,
    value: fn(&PortCounters) -> u64,
) {
    let mut family = out.family(name, Kind::Counter, help);
    for (i, (wire, counters)) in ports.iter().enumerate() {
        family.sample(&[("port", &i.to_string()), ("wire", wire)], value(counters));
    }
}

fn reasons(
    out: &mut Exposition,
    ports: &[(&str, &PortCounters)],
    name: &'static str,
    help: &str,
    write: fn(&PortCounters, &mut Family<'_>, (&str, &str)),
) {
    let mut family = out.family(name, Kind::Counter, help);
    for (i, (wire, counters)) in ports.iter().enumerate() {
        write(counters, &mut family, (&i.to_string(), wire));
    }
}

fn sample(family: &mut Family<'_>, (port, wire): (&str, &str), reason: &str, value: u64) {
    family.sample(&[("port", port), ("wire", wire), ("reason", reason)], value);
}

#[cfg(test)]
mod tests {
    use adit_pipeline::offload::OnWire;

    use super::*;

    #[test]
    fn each_counter_of_each_port_is_there_once() {
        let mut first = PortCounters::default();
        first.received(OnWire::single(60));
        first.sent(OnWire {
            frames: 2,
            bytes: 100,
        });
        first.drop_rx(RxDrop::Runt);
        first.drop_tx(TxDrop::Down, 1);
        let second = PortCounters::default();
        let mut out = Exposition::new();
        write_metrics(&mut out, &[("tap:a", &first), ("unix:b", &second)]);
        let text = out.finish();
        for line in [
            r#"adit_wire_receive_bytes_total{port="0",wire="tap:a"} 60"#,
            r#"adit_wire_transmit_bytes_total{port="0",wire="tap:a"} 100"#,
            r#"adit_wire_transmit_frames_total{port="0",wire="tap:a"} 2"#,
            r#"adit_wire_receive_drops_total{port="0",wire="tap:a",reason="runt"} 1"#,
            r#"adit_wire_transmit_drops_total{port="0",wire="tap:a",reason="down"} 1"#,
            r#"adit_wire_transmit_drops_total{port="1",wire="unix:b",reason="down"} 0"#,
            r#"adit_wire_backpressure_total{port="1",wire="unix:b"} 0"#,
        ] {
            assert_eq!(
                text.lines().filter(|found| *found == line).count(),
                1,
                "{line}\n{text}"
            );
        }
        assert_eq!(
            text.lines()
                .filter(|line| line.starts_with("# TYPE"))
                .count(),
            8
        );
    }
}
