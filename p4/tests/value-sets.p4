// SPDX-License-Identifier: Apache-2.0 OR MIT
// Value sets that the control plane fills: one field, several fields with masks and ranges.

#include <v1model.p4>

header h_t { bit<8> kind; bit<16> port; bit<8> proto; }
header m_t { bit<8> way; }
struct H { m_t m; h_t h; }
struct M { bit<8> way; }
struct key_t {
    @match(ternary) bit<16> port;
    @match(range) bit<8> proto;
}

parser P(packet_in b, out H h, inout M m, inout standard_metadata_t s) {
    value_set<bit<8>>(2) kinds;
    value_set<key_t>(4) flows;
    state start {
        b.extract(h.h);
        transition select(h.h.kind) {
            1: fixed;
            kinds: learnt;
            _: more;
        }
    }
    state more {
        transition select(h.h.port, h.h.proto) {
            flows: flow;
            (_, _): accept;
        }
    }
    state fixed { m.way = 1; transition accept; }
    state learnt { m.way = 2; transition accept; }
    state flow { m.way = 3; transition accept; }
}

control I(inout H h, inout M m, inout standard_metadata_t s) {
    apply {
        s.egress_spec = 1;
        h.m.setValid();
        h.m.way = m.way;
    }
}

#include "v1model-skeleton.p4"
