// SPDX-License-Identifier: Apache-2.0 OR MIT
// Which of several entries wins: the program's order and numbers, the control plane's numbers, the
// longest prefix beside exact keys.

#include <v1model.p4>

header h_t { bit<8> op; bit<8> x; bit<8> y; bit<8> r; }
struct H { h_t h; }
struct M {}

parser P(packet_in b, out H h, inout M m, inout standard_metadata_t s) {
    state start { b.extract(h.h); transition accept; }
}

control I(inout H h, inout M m, inout standard_metadata_t s) {
    action set(bit<8> r) { h.h.r = r; }
    // Its second entry is behind one that has all of it, which is what is tested.
    @noWarn("unreachable")
    table in_order {
        key = { h.h.x: ternary; }
        actions = { set; NoAction; }
        const entries = {
            0x10 &&& 0xf0: set(1);
            0x11: set(2);
            0x00 &&& 0x0f: set(3);
            _: set(4);
        }
    }
    table annotated {
        key = { h.h.x: ternary; }
        actions = { set; NoAction; }
        const entries = {
            0x10 &&& 0xf0: set(1) @priority(3);
            0x11 &&& 0xff: set(2) @priority(2);
            0x01 &&& 0x03: set(3) @priority(1);
        }
    }
    table smallest {
        key = { h.h.x: range; }
        actions = { set; NoAction; }
        largest_priority_wins = false;
        priority_delta = 10;
        const entries = {
            priority = 20: 0 .. 9: set(1);
            5 .. 9: set(2);
            priority = 1: 9 .. 9: set(3);
        }
    }
    table numbered {
        key = { h.h.x: ternary; h.h.y: optional; }
        actions = { set; NoAction; }
        entries = {
            priority = 10: (0x10 &&& 0xf0, _): set(1);
            const priority = 30: (0x12, 5): set(2);
        }
    }
    table prefix {
        key = { h.h.x: lpm; h.h.y: exact; }
        actions = { set; NoAction; }
    }
    table mixed {
        key = { h.h.x: lpm; h.h.y: ternary; }
        actions = { set; NoAction; }
    }
    apply {
        s.egress_spec = 1;
        switch (h.h.op) {
            0: { in_order.apply(); }
            1: { annotated.apply(); }
            2: { smallest.apply(); }
            3: { numbered.apply(); }
            4: { prefix.apply(); }
            5: { mixed.apply(); }
        }
    }
}

#include "v1model-skeleton.p4"
