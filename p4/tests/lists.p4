// SPDX-License-Identifier: Apache-2.0 OR MIT
// Lists: loops over literals and constants of them, elements of structures and with values of the
// packet, `break` and `continue`, indices, a list that a constructor is given.

#include <v1model.p4>

header h_t {
    bit<8> op;
    bit<8> a;
    bit<8> b;
}
struct H { h_t h; }
struct M {}

struct pair_t { bit<8> x; bit<8> y; }
type bit<8> port_t;
const list<bit<8>> ODD = { 1, 3, 5, 7 };
const list<pair_t> PAIRS = { { 1, 10 }, { 2, 20 }, { 3, 30 } };
const list<port_t> PORTS = { 4, 5 };

parser P(packet_in b, out H h, inout M m, inout standard_metadata_t s) {
    state start { b.extract(h.h); transition accept; }
}

control Sum(inout bit<8> x)(list<bit<8>> l) {
    apply { for (bit<8> i in l) { x = x + i; } }
}

control I(inout H h, inout M m, inout standard_metadata_t s) {
    Sum((list<bit<8>>) { 100, 1 }) sum;
    apply {
        s.egress_spec = 1;
        switch (h.h.op) {
            0: { for (bit<8> i in (list<bit<8>>) { 1, 5, 9 }) { h.h.a = h.h.a + i; } }
            1: { for (bit<8> i in ODD) { if (i == 3) { continue; } if (i == 7) { break; } h.h.a = h.h.a + i; } }
            2: { for (pair_t p in PAIRS) { if (p.x == h.h.a) { h.h.b = p.y; } } }
            3: { for (bit<8> i in { h.h.a, h.h.b, 1 }) { h.h.a = h.h.a + i; } }
            4: { sum.apply(h.h.a); }
            5: { h.h.a = ODD[3]; h.h.b = PAIRS[1].y; }
            6: { for (port_t p in PORTS) { h.h.a = h.h.a + (bit<8>) p; } }
            7: { for (bit<8> i in (list<bit<8>>) {}) { h.h.a = i; } }
        }
    }
}

#include "v1model-skeleton.p4"
