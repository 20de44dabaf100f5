// SPDX-License-Identifier: Apache-2.0 OR MIT
// Functions that are given objects: each call works on the object of its own, also through another
// function; controls have instances of their own.

#include <v1model.p4>

header h_t { bit<8> op; bit<8> a; bit<8> b; }
struct H { h_t h; }
struct M {}

parser P(packet_in b, out H h, inout M m, inout standard_metadata_t s) {
    state start { b.extract(h.h); transition accept; }
}

bit<8> bump(register<bit<8>> cell, in bit<8> by) {
    bit<8> value;
    cell.read(value, 0);
    value = value + by;
    cell.write(0, value);
    return value;
}

void both(register<bit<8>> one, register<bit<8>> two, inout bit<8> a, inout bit<8> b) {
    a = bump(one, a);
    b = bump(two, b);
}

control part(inout bit<8> x) {
    register<bit<8>>(1) mine;
    apply { x = bump(mine, x); }
}

control I(inout H h, inout M m, inout standard_metadata_t s) {
    register<bit<8>>(1) first;
    register<bit<8>>(1) second;
    part() left;
    part() right;
    apply {
        s.egress_spec = 1;
        switch (h.h.op) {
            0: { both(first, second, h.h.a, h.h.b); }
            1: { both(second, first, h.h.a, h.h.b); }
            2: { left.apply(h.h.a); right.apply(h.h.b); }
        }
    }
}

#include "v1model-skeleton.p4"
