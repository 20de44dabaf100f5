// SPDX-License-Identifier: Apache-2.0 OR MIT
// A table of each kind, for the tests of `adit table`.
#include <core.p4>
#include <v1model.p4>

header ethernet_t { bit<48> dst; bit<48> src; bit<16> type; }
header ipv4_t { bit<32> src; bit<32> dst; bit<16> port; bit<8> priority; }
struct headers_t { ethernet_t ethernet; ipv4_t ipv4; }
struct metadata_t { bit<16> nexthop; }

parser P(packet_in pkt, out headers_t h, inout metadata_t m, inout standard_metadata_t s) {
    state start { pkt.extract(h.ethernet); pkt.extract(h.ipv4); transition accept; }
}
control V(inout headers_t h, inout metadata_t m) { apply {} }
control I(inout headers_t h, inout metadata_t m, inout standard_metadata_t s) {
    direct_counter(CounterType.packets_and_bytes) routed;
    counter(16, CounterType.packets) seen;
    action_profile(8) profile;
    action_selector(HashAlgorithm.crc32, 16, 16) paths;

    action route(bit<16> nexthop) { m.nexthop = nexthop; }
    action forward(bit<48> mac, bit<9> port) { h.ethernet.dst = mac; s.egress_spec = port; }
    action drop() { mark_to_drop(s); }
    action no_route() { seen.count(0); mark_to_drop(s); }

    table routes {
        key = { h.ipv4.dst: lpm; }
        actions = { route; drop; @defaultonly no_route; }
        default_action = no_route();
        counters = routed;
        size = 1024;
    }
    table rules {
        key = { h.ipv4.src: ternary; h.ipv4.port: range; h.ethernet.type: optional; h.ipv4.priority: ternary; }
        actions = { drop; NoAction; }
        size = 16;
    }
    table nexthops {
        key = { m.nexthop: exact; }
        actions = { forward; drop; }
        default_action = drop();
        size = 4;
    }
    table hosts {
        key = { h.ethernet.src: exact; }
        actions = { forward; drop; }
        implementation = profile;
    }
    table ways {
        key = { m.nexthop: exact; h.ipv4.src: selector; }
        actions = { forward; drop; }
        implementation = paths;
    }
    apply { routes.apply(); rules.apply(); nexthops.apply(); hosts.apply(); ways.apply(); }
}
control E(inout headers_t h, inout metadata_t m, inout standard_metadata_t s) { apply {} }
control D(packet_out pkt, in headers_t h) { apply { pkt.emit(h); } }

V1Switch(P(), V(), I(), E(), V(), D()) main;
