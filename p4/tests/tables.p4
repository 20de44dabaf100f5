// SPDX-License-Identifier: Apache-2.0 OR MIT
// Tables whose entries come at run time: the longest prefix, the largest priority, bound
// parameters, defaults; and counters.

#include <v1model.p4>

header h_t {
    bit<8>  kind;
    bit<32> key;
    bit<16> result;
}
struct H { h_t h; }
struct M {}

parser P(packet_in b, out H h, inout M m, inout standard_metadata_t s) {
    state start { b.extract(h.h); transition accept; }
}

control I(inout H h, inout M m, inout standard_metadata_t s) {
    counter(4, CounterType.packets_and_bytes) seen;
    register<bit<16>>(2) last;

    action set(inout bit<16> field, bit<16> value) { field = field + value; }
    action drop() { mark_to_drop(s); }

    table prefixes {
        key = { h.h.key: lpm; }
        actions = { set(h.h.result); drop; }
        default_action = drop();
    }
    table masks {
        key = { h.h.key: ternary; h.h.kind: optional; }
        actions = { set(h.h.result); @defaultonly drop; }
        default_action = drop();
    }
    table ranges {
        key = { h.h.key: range; }
        actions = { set(h.h.result); NoAction; }
    }

    apply {
        s.egress_spec = 1;
        seen.count((bit<32>) h.h.kind);
        switch (h.h.kind) {
            0: { if (prefixes.apply().miss) { exit; } }
            1: 2: { masks.apply(); }
            3: {
                switch (ranges.apply().action_run) {
                    set: { h.h.result[15:12] = 0xa; }
                    NoAction: { h.h.result = 0xffff; }
                }
            }
        }
        last.write(0, h.h.result);
    }
}

#include "v1model-skeleton.p4"
