// SPDX-License-Identifier: Apache-2.0 OR MIT
// Saturation, shifts by more than the width, casts and slices, at odd widths and beyond 64 bits.

#include <v1model.p4>

header h_t { bit<8> op; bit<72> a; bit<72> b; bit<72> r; }
struct H { h_t h; }
struct M {}

parser P(packet_in b, out H h, inout M m, inout standard_metadata_t s) {
    state start { b.extract(h.h); transition accept; }
}

control I(inout H h, inout M m, inout standard_metadata_t s) {
    apply {
        s.egress_spec = 1;
        bit<5> x = h.h.a[4:0];
        bit<5> y = h.h.b[4:0];
        int<5> sx = (int<5>) x;
        int<5> sy = (int<5>) y;
        int<72> wa = (int<72>) h.h.a;
        int<72> wb = (int<72>) h.h.b;
        switch (h.h.op) {
            0: { h.h.r = (bit<72>) (x |+| y); }
            1: { h.h.r = (bit<72>) (x |-| y); }
            2: { h.h.r = (bit<72>) (bit<5>) (sx |+| sy); }
            3: { h.h.r = (bit<72>) (bit<5>) (sx |-| sy); }
            4: { h.h.r = h.h.a |+| h.h.b; }
            5: { h.h.r = h.h.a |-| h.h.b; }
            6: { h.h.r = (bit<72>) (wa |+| wb); }
            7: { h.h.r = (bit<72>) (wa |-| wb); }
            8: { h.h.r = h.h.a << (bit<8>) h.h.b[7:0]; }
            9: { h.h.r = (bit<72>) (wa >> h.h.b[7:0]); }
            10: { h.h.r = (bit<72>) (int<72>) sx; }
            11: { h.h.r = (bit<72>) ((wa < wb) ? 1w1 : 0); h.h.r[70:8] = h.h.a[71:9]; }
            12: { h.h.r |+|= 0xff; h.h.r <<= 4; h.h.r ^= h.h.a; }
        }
    }
}

#include "v1model-skeleton.p4"
