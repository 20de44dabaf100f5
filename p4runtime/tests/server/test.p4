// SPDX-License-Identifier: Apache-2.0 OR MIT
// Something of each kind of entity.
#include <core.p4>
#include <v1model.p4>

@controller_header("packet_in")
header packet_in_t { bit<9> port; bit<7> reason; }
@controller_header("packet_out")
header packet_out_t { bit<9> port; bit<7> unused; }
header ethernet_t { bit<48> dst; bit<48> src; bit<16> type; }
struct headers_t { packet_out_t from_control; packet_in_t to_control; ethernet_t ethernet; }
struct learnt_t { bit<48> address; bit<9> port; }
struct metadata_t { bit<32> color; }

parser P(packet_in pkt, out headers_t h, inout metadata_t m, inout standard_metadata_t s) {
    value_set<bit<16>>(4) known;
    state start {
        transition select(s.ingress_port) { 510: from_cpu; default: ethernet; }
    }
    state from_cpu { pkt.extract(h.from_control); transition ethernet; }
    state ethernet {
        pkt.extract(h.ethernet);
        transition select(h.ethernet.type) { known: accept; default: accept; }
    }
}
control V(inout headers_t h, inout metadata_t m) { apply {} }
control I(inout headers_t h, inout metadata_t m, inout standard_metadata_t s) {
    direct_counter(CounterType.packets_and_bytes) counted;
    direct_meter<bit<32>>(MeterType.packets) limited;
    counter(8, CounterType.packets_and_bytes) seen;
    meter(4, MeterType.packets) shared;
    register<bit<32>>(4) marks;
    action_selector(HashAlgorithm.crc16, 16, 8) paths;

    action forward(bit<9> port) { s.egress_spec = port; }
    action drop() { mark_to_drop(s); }
    action limit(bit<9> port) { limited.read(m.color); s.egress_spec = port; }
    action learn() { digest<learnt_t>(1, { h.ethernet.src, s.ingress_port }); }
    action punt(bit<7> reason) {
        s.egress_spec = 510;
        h.to_control.setValid();
        h.to_control.port = s.ingress_port;
        h.to_control.reason = reason;
    }

    table stations {
        key = { h.ethernet.dst: exact; }
        actions = { forward; drop; punt; }
        default_action = drop();
        counters = counted;
        support_timeout = true;
        size = 4096;
    }
    table rules {
        key = { h.ethernet.src: ternary; h.ethernet.type: range; s.ingress_port: optional; }
        actions = { limit; learn; NoAction; }
        meters = limited;
        size = 64;
    }
    table routes {
        key = { h.ethernet.dst: lpm; h.ethernet.src: selector; }
        actions = { forward; drop; }
        implementation = paths;
        size = 64;
    }
    apply {
        if (h.from_control.isValid()) {
            s.egress_spec = h.from_control.port;
            h.from_control.setInvalid();
        } else if (!routes.apply().hit) {
            stations.apply();
            if (rules.apply().hit && m.color == 2) { mark_to_drop(s); }
        }
    }
}
control E(inout headers_t h, inout metadata_t m, inout standard_metadata_t s) { apply {} }
control D(packet_out pkt, in headers_t h) { apply { pkt.emit(h.to_control); pkt.emit(h.ethernet); } }

V1Switch(P(), V(), I(), E(), V(), D()) main;
