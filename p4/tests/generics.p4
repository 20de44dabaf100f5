// SPDX-License-Identifier: Apache-2.0 OR MIT
// Generic functions and controls, overloads by number and by name, default values and names of
// arguments, constructor parameters, controls and parsers that are applied without an instance's
// name, loops over ranges, every operator that assigns.

#include <v1model.p4>

header h_t { bit<8> op; bit<8> a; bit<8> b; bit<16> c; }
struct H { h_t h; }
struct M {}

parser Fields<T>(packet_in b, out T fields) {
    state start { b.extract(fields); transition accept; }
}

parser P(packet_in b, out H h, inout M m, inout standard_metadata_t s) {
    state start { Fields<h_t>.apply(b, h.h); transition accept; }
}

T chosen<T>(in bool first, in T x, in T y) {
    if (first) { return x; }
    return y;
}
bit<8> f(in bit<8> x) { return x + 1; }
bit<8> f(in bit<8> x, in bit<8> y) { return x + y; }
bit<8> f(in bit<8> x, in bit<8> z) { return x - z; }
bit<8> count(inout bit<8> x) {
    x += 1;
    return x;
}
bit<8> scaled(in bit<8> x, in bit<8> by = 2, in bit<8> plus = 0) { return x * by + plus; }

control Keep<T>(inout T x, inout T y)(T instead, bool both) {
    apply {
        y = x;
        x = instead;
        if (both) { y = x; }
    }
}

control I(inout H h, inout M m, inout standard_metadata_t s) {
    Keep<bit<8>>(8w3, false) three;
    Keep<bit<16>>(instead = 16w0x100, both = true) wide;
    bit<16> other = 0;
    apply {
        s.egress_spec = 1;
        switch (h.h.op) {
            0: { h.h.a = chosen(h.h.a > h.h.b, h.h.a, h.h.b); h.h.c = chosen<bit<16>>(h.h.c > 0x1234, h.h.c, 0x1234); }
            1: { h.h.a = f(h.h.a); h.h.b = f(x = h.h.b, y = 0x10); h.h.c = 8w0 ++ f(z = 1, x = 3); }
            2: { h.h.a = scaled(h.h.a); h.h.b = scaled(x = h.h.b, plus = 1); h.h.c = 8w0 ++ scaled(by = 5, x = 2); }
            3: { three.apply(h.h.a, h.h.b); wide.apply(h.h.c, other); h.h.c += other; }
            4: {
                bit<8> n = 0;
                for (bit<8> i in 1 .. h.h.a) {
                    for (bit<8> j in 0 .. 1) { if (j == 1) { break; } n += i; }
                    if (i == h.h.b) { break; }
                }
                h.h.c = 8w0 ++ n;
            }
            5: {
                h.h.a += 1; h.h.a -= 3; h.h.a *= 2; h.h.b &= 0x3c; h.h.b |= 0x81; h.h.b ^= 0xff;
                h.h.c <<= 4; h.h.c >>= 2; h.h.c[7:0] |+|= 0xf0;
            }
            6: { h.h.a |-|= 5; h.h.b /= 3; h.h.c %= 10; }
            8: { h.h.a = scaled(plus = scaled(h.h.a), x = h.h.b); }
            // What is called in operands and arguments is called from left to right, and once.
            7: { h.h.c = chosen(true, h.h.a ++ count(h.h.b), count(h.h.b) ++ h.h.a) + (bit<16>) count(h.h.b); }
        }
    }
}

#include "v1model-skeleton.p4"
