// SPDX-License-Identifier: Apache-2.0 OR MIT
// Copy-in and copy-out: order, aliasing, `exit` and `return` in what is called, side effects in
// expressions and in operands that are not evaluated.

#include <v1model.p4>

header h_t {
    bit<8> op;
    bit<8> a;
    bit<8> b;
    bit<8> c;
}
struct H { h_t h; }
struct M {}

parser P(packet_in b, out H h, inout M m, inout standard_metadata_t s) {
    state start { b.extract(h.h); transition accept; }
}

bit<8> bump(inout bit<8> x) {
    x = x + 1;
    return x;
}

void swap<T>(inout T x, inout T y) {
    T t = x;
    x = y;
    y = t;
}

control inner(inout bit<8> x, out bit<8> y) {
    apply {
        y = 9;
        x = 5;
        if (y == 9) { exit; }
        x = 6;
    }
}

control I(inout H h, inout M m, inout standard_metadata_t s) {
    inner() part;
    action leave(inout bit<8> x) {
        x = 7;
        if (x == 7) { return; }
        x = 8;
    }
    apply {
        s.egress_spec = 1;
        switch (h.h.op) {
            1: { h.h.a = h.h.b + bump(h.h.b) + h.h.b; }
            2: { swap(h.h.a, h.h.b); swap(h.h.c, h.h.c); }
            3: { part.apply(h.h.a, h.h.b); h.h.c = 1; }
            4: { leave(h.h.a); h.h.c = 1; }
            5: { if (h.h.a == 0 && bump(h.h.b) == 1 || bump(h.h.c) == 1) { h.h.a = 0xff; } }
            6: { { bit<8> a = h.h.a; h.h.b = a; } h.h = { 6, h.h.c, h.h.a, h.h.b }; }
        }
    }
}

#include "v1model-skeleton.p4"
