// SPDX-License-Identifier: Apache-2.0 OR MIT
// Header stacks and unions: push, pop, run-time indices, next and last, copies, validity.

#include <v1model.p4>

header op_t { bit<8> op; bit<8> n; }
header e_t { bit<8> v; }
header f_t { bit<16> v; }
header_union u_t { e_t e; f_t f; }
struct H { op_t op; e_t[4] s; u_t[2] u; e_t tail; }
struct M {}

parser P(packet_in b, out H h, inout M m, inout standard_metadata_t s) {
    state start {
        b.extract(h.op);
        transition more;
    }
    state more {
        b.extract(h.s.next);
        transition select(h.s.lastIndex, h.s.last.v) {
            (2, _): unions;
            (_, 0): unions;
            _: more;
        }
    }
    state unions {
        transition select(h.op.op) {
            9: both;
            _: accept;
        }
    }
    state both {
        b.extract(h.u[0].e);
        b.extract(h.u[1].f);
        transition accept;
    }
}

control I(inout H h, inout M m, inout standard_metadata_t s) {
    apply {
        s.egress_spec = 1;
        switch (h.op.op) {
            1: { h.s.push_front(1); }
            2: { h.s.push_front(2); h.s[0].setValid(); h.s[0].v = 0xaa; h.s[1] = { 0xbb }; }
            3: { h.s.pop_front(1); }
            4: { h.s.pop_front(9); }
            // An index that comes with the packet; beyond the end nothing is written.
            5: { h.s[h.op.n].v = 0xcc; }
            6: { h.tail.setValid(); h.tail.v = h.s[h.op.n].v; }
            7: { h.s[1].setInvalid(); h.s[3] = h.s[0]; }
            8: { e_t[4] copy = h.s; h.s[0].v = 1; h.s = copy; h.s[2] = copy[0]; }
            9: {
                // Of a union one header is valid: a valid one makes the other invalid.
                u_t u = h.u[1];
                h.u[0].f.setValid();
                h.u[0].f.v = 0x1234;
                if (!h.u[0].e.isValid() && h.u[1].isValid() && u == h.u[1]) {
                    h.u[1].e = { 0x77 };
                }
            }
            10: { h.s = (e_t[4]) { { 1 }, { 2 }, { 3 }, { 4 } }; h.tail = (e_t) {#}; }
            11: {
                bit<8> sum = 0;
                for (bit<8> i in 0 .. 3) { if (h.s[i].isValid()) { sum += h.s[i].v; } }
                h.tail = { sum };
            }
            12: { h.tail = { (bit<8>) h.s.size }; if (h.s[0] == h.s[1]) { h.tail.v = 0xee; } }
        }
    }
}

#include "v1model-skeleton.p4"
