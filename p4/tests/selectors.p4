// SPDX-License-Identifier: Apache-2.0 OR MIT
// An action selector shared by two tables, and an action profile: members, groups, weights, ports
// that go down, groups without anybody.

#include <v1model.p4>

header h_t { bit<8> table_number; bit<16> group; bit<8> flow; bit<16> seen; }
struct H { h_t h; }
struct M {}

parser P(packet_in b, out H h, inout M m, inout standard_metadata_t s) {
    state start { b.extract(h.h); transition accept; }
}

control I(inout H h, inout M m, inout standard_metadata_t s) {
    action_selector(HashAlgorithm.identity, 16, 16) ecmp;
    action_profile(2) nexthops;

    action fwd(bit<9> port) { s.egress_spec = port; }
    action mark(bit<16> value, bit<9> port) { h.h.seen = value; s.egress_spec = port; }
    action drop() { mark_to_drop(s); }

    table routes {
        key = { h.h.group: exact; h.h.flow: selector; }
        actions = { fwd; mark; drop; }
        default_action = drop();
        implementation = ecmp;
    }
    table others {
        key = { h.h.group: ternary; h.h.flow: selector; }
        actions = { drop; mark; fwd; }
        default_action = mark(0xdddd, 9);
        implementation = ecmp;
    }
    table plain {
        key = { h.h.group: lpm; }
        actions = { fwd; mark; drop; }
        default_action = drop();
        implementation = nexthops;
    }

    apply {
        switch (h.h.table_number) {
            0: { if (!routes.apply().hit) { h.h.seen = 0xffff; } }
            1: { others.apply(); }
            2: { plain.apply(); }
        }
    }
}

#include "v1model-skeleton.p4"
