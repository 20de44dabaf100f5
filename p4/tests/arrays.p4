// SPDX-License-Identifier: Apache-2.0 OR MIT
// Arrays of what is no header, in headers, structures and variables; places in tuples; parts of
// integers that begin at a bit which a packet names.

#include <v1model.p4>

struct pair_t { bit<4> left; bit<4> right; }
header h_t {
    bit<8>    op;
    bit<8>    index;
    bit<8>[4] bytes;
    pair_t[2] pairs;
    bit<32>   word;
    bit<40>   wide;
}
struct H { h_t h; }
struct M { bit<16>[3] sums; bit<8>[2][2] square; tuple<bit<8>, bit<16>> both; bool[2] flags; }

parser P(packet_in b, out H h, inout M m, inout standard_metadata_t s) {
    state start { b.extract(h.h); transition accept; }
}

bit<16> sum(in bit<8>[4] values) {
    bit<16> all = 0;
    for (bit<8> v in values) { all += (bit<16>) v; }
    return all;
}

control I(inout H h, inout M m, inout standard_metadata_t s) {
    action swap(inout pair_t p) { p = { p.right, p.left }; }
    apply {
        s.egress_spec = 1;
        bit<8>[4] copy = h.h.bytes;
        bit<8> i = h.h.index;
        switch (h.h.op) {
            // Read and written by an index of the packet; nothing is written beyond the end.
            1: { h.h.bytes[i] = 0xff; }
            2: { h.h.bytes[0] = copy[i]; }
            // Whole arrays, literals, comparison.
            3: { copy[1] = 0x77; h.h.bytes = copy; }
            4: { h.h.bytes = { 1, 2, 3, 4 }; }
            5: { if (h.h.bytes == copy) { h.h.bytes[0] = 0xaa; } copy[3] = copy[3] + 1;
                 if (h.h.bytes != copy) { h.h.bytes[1] = 0xbb; } }
            6: { m.sums[i] = sum(h.h.bytes); h.h.word = m.sums[1] ++ m.sums[2]; }
            7: { swap(h.h.pairs[i]); }
            8: { m.square[1][i] = 9; m.square[0] = m.square[1];
                 h.h.bytes = { m.square[0][0], m.square[0][1], m.square[1][0], m.square[1][1] }; }
            9: { m.both = { 1, 2 }; m.both[0] = i; m.both[1][15:8] = 5; m.both[1] += 1;
                 h.h.word = 8w0 ++ m.both[0] ++ m.both[1]; }
            10: { m.flags[i] = true; if (m.flags[1]) { h.h.bytes[0] = 1; } }
            // Parts.
            11: { h.h.word = 24w0 ++ h.h.word[i +: 8]; }
            12: { h.h.word[i +: 8] = 0xee; }
            13: { h.h.wide[i +: 12] = 0xabc; }
            14: { h.h.word[15:0][i +: 4] = 0; }
            15: { h.h.bytes[1][i +: 2] = 3; }
            16: { h.h.word = (bit<32>) (h.h.word + 1)[i +: 4]; }
        }
    }
}

#include "v1model-skeleton.p4"
