// SPDX-License-Identifier: Apache-2.0 OR MIT
// Meters of v1model: by index and of entries, packets and bytes.

#include <v1model.p4>

header h_t { bit<8> kind; bit<8> index; bit<8> color; }
struct H { h_t h; }
struct M { bit<2> color; }

parser P(packet_in b, out H h, inout M m, inout standard_metadata_t s) {
    state start { b.extract(h.h); transition accept; }
}

control I(inout H h, inout M m, inout standard_metadata_t s) {
    meter(3, MeterType.bytes) lengths;
    meter(3, MeterType.packets) packets;
    direct_meter<bit<2>>(MeterType.packets) own;
    direct_counter(CounterType.packets_and_bytes) count;

    action measure() { own.read(m.color); }
    table flows {
        key = { h.h.index: exact; }
        actions = { measure; NoAction; }
        meters = own;
        counters = count;
    }
    apply {
        s.egress_spec = 1;
        switch (h.h.kind) {
            0: { lengths.execute_meter((bit<32>) h.h.index, h.h.color); }
            1: { packets.execute_meter((bit<32>) h.h.index, h.h.color); }
            2: { flows.apply(); h.h.color = 6w0 ++ m.color; }
        }
    }
}

#include "v1model-skeleton.p4"
