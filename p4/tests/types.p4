// SPDX-License-Identifier: Apache-2.0 OR MIT
// Every kind of type: typedef, type, enums with and without values, errors, booleans, signed
// integers, varbits as values, tuples, generic structures, and what each begins as.

#include <v1model.p4>

typedef bit<8> byte_t;
type bit<8> port_t;
enum color_t { RED, GREEN, BLUE }
enum bit<8> kind_t { NONE = 0, ONE = 1, SEVEN = 7 }
enum int<8> sign_t { MINUS = -1, PLUS = 1 }
error { Odd }
struct pair_t<A, B> { A first; B second; }
struct all_t { color_t color; kind_t kind; error err; bool yes; int<8> number; port_t port; }

header h_t { bit<8> op; kind_t kind; port_t port; bool yes; bit<7> pad; int<8> number; byte_t r; }
header v_t { bit<8> length; varbit<32> data; }
struct H { h_t h; v_t v; v_t w; }
struct M { all_t all; pair_t<bit<8>, tuple<bit<8>, bool>> pair; }

parser P(packet_in b, out H h, inout M m, inout standard_metadata_t s) {
    state start {
        b.extract(h.h);
        transition select(h.h.op) { 8 .. 9: varbits; default: accept; }
    }
    state varbits {
        b.extract(h.v, (bit<32>) b.lookahead<bit<8>>() * 8);
        b.extract(h.w, (bit<32>) b.lookahead<bit<8>>() * 8);
        transition accept;
    }
}

const all_t SAMPLE = { color_t.BLUE, kind_t.SEVEN, error.Odd, true, -3, (port_t) 4 };

control I(inout H h, inout M m, inout standard_metadata_t s) {
    apply {
        s.egress_spec = 1;
        switch (h.h.op) {
            // What nobody wrote is zero, false, the first of its enum, NoError.
            0: { if (m.all == { color_t.RED, kind_t.NONE, error.NoError, false, 0, (port_t) 0 }) { h.h.r = 1; } }
            1: { m.all = SAMPLE;
                 if (m.all.err == error.Odd && m.all.color != color_t.RED) { h.h.kind = m.all.kind; }
                 h.h.number = m.all.number; h.h.port = m.all.port; h.h.yes = m.all.yes; }
            // A kind that has no name is a value as any other.
            2: { switch (h.h.kind) { kind_t.ONE: { h.h.r = 1; } kind_t.SEVEN: { h.h.r = 7; } default: { h.h.r = (bit<8>) h.h.kind; } } }
            3: { h.h.number = h.h.number * -2; if (h.h.number < -1) { h.h.r = 0xff; } }
            4: { h.h.number = (int<8>) (int<16>) h.h.number; h.h.r = (bit<8>) (h.h.number >> 1); }
            5: { h.h.port = (port_t) ((bit<8>) h.h.port + 1); h.h.yes = !h.h.yes; h.h.r = 7w0 ++ (bit<1>) h.h.yes; }
            6: { m.pair = { 5, { 6, true } }; h.h.r = m.pair.first + m.pair.second[0]; h.h.yes = m.pair.second[1]; }
            7: { sign_t sign = (sign_t) h.h.number; if (sign == sign_t.MINUS) { h.h.r = 1; } h.h.number = sign_t.PLUS; }
            8: { if (h.v.data == h.w.data) { h.h.r = 1; } }
            9: { h.v.data = h.w.data; h.v.length = h.w.length; }
            10: { all_t rest = { color = color_t.GREEN, ... }; if (rest.color == color_t.GREEN && !rest.yes) { h.h.r = 3; } }
        }
    }
}

#include "v1model-skeleton.p4"
