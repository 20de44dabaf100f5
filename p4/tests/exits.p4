// SPDX-License-Identifier: Apache-2.0 OR MIT
// What exit and return leave behind: copies out of actions, controls and tables that are ended,
// applied tables in expressions, switch with labels that share a block.

#include <v1model.p4>

header h_t { bit<8> op; bit<8> a; bit<8> b; bit<8> c; }
struct H { h_t h; }
struct M {}

parser P(packet_in b, out H h, inout M m, inout standard_metadata_t s) {
    state start { b.extract(h.h); transition accept; }
}

control inner(inout bit<8> x, inout bit<8> y)(bit<8> start) {
    action leave(inout bit<8> z) { z = start; exit; }
    table t {
        key = { x: exact; }
        actions = { leave(y); NoAction; }
        const entries = { 1: leave(y); }
    }
    apply {
        x = x + 1;
        if (x == 9) { return; }
        t.apply();
        y = 0xff;
    }
}

control I(inout H h, inout M m, inout standard_metadata_t s) {
    inner(0x51) first;
    inner(0x52) second;
    action set(inout bit<8> x, in bit<8> y, out bit<8> z) { x = y; z = 3; }
    action plus(bit<8> n) { h.h.c = h.h.c + n; }
    table hits {
        key = { h.h.a: exact; }
        actions = { plus; NoAction; }
        const entries = { 1: plus(1); 2: plus(2); 3: NoAction(); }
        default_action = plus(0x10);
    }
    apply {
        s.egress_spec = 1;
        switch (h.h.op) {
            // The instance's own constant; the copies come out before everything ends.
            0: { first.apply(h.h.a, h.h.b); h.h.c = 1; }
            1: { second.apply(h.h.a, h.h.b); h.h.c = 1; }
            // The same place twice: the last copy stays.
            2: { set(h.h.a, h.h.b, h.h.a); }
            3: { set(h.h.b, h.h.a, h.h.c); }
            4: 5: { if (hits.apply().hit || hits.apply().miss) { h.h.b = h.h.b + 1; } }
            6: {
                switch (hits.apply().action_run) {
                    plus: { h.h.b = 1; }
                    default: { h.h.b = 2; }
                }
            }
            7: {
                for (bit<8> i = 0; i < 10; i = i + 1) {
                    if (i == 2) { continue; }
                    if (i == h.h.a) { break; }
                    h.h.b += i;
                }
            }
            8: { h.h.a = (h.h.b > 4 ? h.h.b : 4) + (bit<8>) (bit<1>) (h.h.c == 0); }
            default: { h.h.c = 0xdd; }
        }
    }
}

#include "v1model-skeleton.p4"
