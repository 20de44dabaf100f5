// SPDX-License-Identifier: Apache-2.0 OR MIT
// Registers and counters: wide values, structures of several fields, indices beyond the end, all
// kinds of counters.

#include <v1model.p4>

header h_t { bit<8> op; bit<8> index; bit<100> wide; bit<4> pad; }
struct H { h_t h; }
struct M {}

parser P(packet_in b, out H h, inout M m, inout standard_metadata_t s) {
    state start { b.extract(h.h); transition accept; }
}

control I(inout H h, inout M m, inout standard_metadata_t s) {
    register<bit<100>>(3) wide;
    register<bit<8>>(256) bytes;
    counter(2, CounterType.packets) packets;
    counter(2, CounterType.bytes) lengths;
    direct_counter(CounterType.packets_and_bytes) own;
    action nothing() { own.count(); }
    table counted {
        key = { h.h.index: exact; }
        actions = { nothing; }
        default_action = nothing();
        counters = own;
    }
    apply {
        s.egress_spec = 1;
        bit<32> at = (bit<32>) h.h.index;
        switch (h.h.op) {
            0: { wide.write(at, h.h.wide); }
            1: { wide.read(h.h.wide, at); }
            2: {
                @atomic {
                    bit<8> value;
                    bytes.read(value, at);
                    value = value + 1;
                    bytes.write(at, value);
                    h.h.wide = (bit<100>) value;
                }
            }
            3: { packets.count(at); lengths.count(at); }
            4: { counted.apply(); }
        }
    }
}

#include "v1model-skeleton.p4"
