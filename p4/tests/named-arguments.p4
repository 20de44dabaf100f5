// SPDX-License-Identifier: Apache-2.0 OR MIT
// Arguments with names are evaluated, and copied back, in the order of the call and not in that of
// the parameters: of functions, actions, controls, methods of externs and `verify`.

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
    state start {
        b.extract(hdr = h.h);
        verify(toSignal = error.StackOutOfBounds, check = h.h.op != 6);
        transition accept;
    }
}

bit<8> bump(inout bit<8> x) {
    x = x + 1;
    return x;
}

bit<8> pair(in bit<8> u, in bit<8> v) { return u * 16 + v; }

void both(out bit<8> x, out bit<8> y) {
    x = 1;
    y = 2;
}

control joined(inout bit<8> x, in bit<8> y) {
    apply { x = x * 16 + y; }
}

control I(inout H h, inout M m, inout standard_metadata_t s) {
    joined() part;
    register<bit<8>>(size = 8) r;
    action put(inout bit<8> x, in bit<8> y) { x = x * 16 + y; }
    apply {
        s.egress_spec = 1;
        switch (h.h.op) {
            0: { h.h.c = pair(v = bump(h.h.a), u = bump(h.h.a)); }
            1: { put(y = bump(h.h.a), x = h.h.a); put(x = h.h.b, y = bump(h.h.b)); }
            2: { part.apply(y = bump(h.h.a), x = h.h.a); part.apply(x = h.h.b, y = bump(h.h.b)); }
            3: {
                r.write(value = bump(h.h.a), index = (bit<32>) bump(h.h.a));
                r.read(index = (bit<32>) h.h.a, result = h.h.b);
            }
            4: { both(y = h.h.b, x = h.h.b); both(x = h.h.c, y = h.h.c); }
            5: { h.h.c = pair(v = pair(v = bump(h.h.a), u = bump(h.h.a)), u = h.h.a); }
            6: { if (s.parser_error == error.StackOutOfBounds) { h.h.b = 1; } }
        }
    }
}

#include "v1model-skeleton.p4"
