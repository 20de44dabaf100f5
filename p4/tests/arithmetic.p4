// SPDX-License-Identifier: Apache-2.0 OR MIT
// Operators on integers of up to 64 bits and beyond, signed and not.

#include <v1model.p4>

header op_t {
    bit<8>   op;
    bit<16>  a;
    bit<16>  b;
    bit<16>  r;
    bit<128> w;
}
struct H { op_t o; }
struct M {}

parser P(packet_in b, out H h, inout M m, inout standard_metadata_t s) {
    state start { b.extract(h.o); transition accept; }
}

control I(inout H h, inout M m, inout standard_metadata_t s) {
    int<16> x;
    int<16> y;
    apply {
        s.egress_spec = 1;
        x = (int<16>) h.o.a;
        y = (int<16>) h.o.b;
        switch (h.o.op) {
            1: { h.o.r = h.o.a + h.o.b; h.o.w = h.o.w + 1; }
            2: { h.o.r = h.o.a |+| h.o.b; h.o.w = h.o.w |+| h.o.w; }
            3: { h.o.r = (bit<16>) (x |-| y); h.o.w = -h.o.w; }
            4: { h.o.r = (bit<16>) (x >> 4); h.o.w = h.o.w >> 68; }
            5: { h.o.r = (x < y) ? 16w1 : 0; h.o.w = (bit<128>) h.o.a ++ h.o.b == 144w0 ? 128w1 : 2; }
            6: { h.o.r[11:4] = h.o.a[7:0]; h.o.w[71:56] = h.o.b; }
            7: { h.o.r = h.o.a * h.o.b; h.o.w = h.o.w * h.o.w; }
            8: { h.o.r = h.o.a / 7 + h.o.b % 7; h.o.w = ~(h.o.w ^ 1); }
        }
    }
}

#include "v1model-skeleton.p4"
