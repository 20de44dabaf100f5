// SPDX-License-Identifier: Apache-2.0 OR MIT
// Digests of v1model: structures and lists, by receiver.

#include <v1model.p4>

header h_t { bit<8> op; bit<16> a; bit<4> b; bit<4> c; }
struct H { h_t h; }
struct M {}
struct report_t { bit<16> a; bit<9> port; bool odd; }

parser P(packet_in b, out H h, inout M m, inout standard_metadata_t s) {
    state start { b.extract(h.h); transition accept; }
}

control I(inout H h, inout M m, inout standard_metadata_t s) {
    apply {
        s.egress_spec = 1;
        if (h.h.op == 1) {
            digest<report_t>(7, { h.h.a, s.ingress_port, h.h.b[0:0] == 1 });
        } else if (h.h.op == 2) {
            // Also if the packet is dropped, and with what it was then.
            digest(8, { h.h.a, h.h.b });
            h.h.a = 0;
            mark_to_drop(s);
        }
    }
}

#include "v1model-skeleton.p4"
