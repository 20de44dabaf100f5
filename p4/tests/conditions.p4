// SPDX-License-Identifier: Apache-2.0 OR MIT
// Conditions of several operands: of statements, expressions and loops, with the operands that are
// evaluated, in their order.

#include <adit.p4>

header h_t { bit<8> op; bit<8> bits; bit<8> result; bit<32> log; }
struct H { h_t h; }
struct M {}

const bool NEVER = 1 > 2;

bool seen(inout bit<32> log, in bit<32> operand, in bool value) {
    log = log << 4 | operand;
    return value;
}

parser MainParser(packet_in pkt, out H h, inout M m, in pna_main_parser_input_metadata_t i) {
    state start { pkt.extract(h.h); transition accept; }
}

control MainControl(inout H h, inout M m, in pna_main_input_metadata_t i,
                    inout pna_main_output_metadata_t o) {
    apply {
        bool a = h.h.bits[2:2] == 1;
        bool b = h.h.bits[1:1] == 1;
        bool c = h.h.bits[0:0] == 1;
        switch (h.h.op) {
            0: { if (seen(h.h.log, 1, a) && seen(h.h.log, 2, b)) { h.h.result = 1; } else { h.h.result = 2; } }
            1: { if (seen(h.h.log, 1, a) || seen(h.h.log, 2, b)) { h.h.result = 1; } else { h.h.result = 2; } }
            2: { if (!(seen(h.h.log, 1, a) && seen(h.h.log, 2, b))) { h.h.result = 1; } else { h.h.result = 2; } }
            3: { if (!(seen(h.h.log, 1, a) || seen(h.h.log, 2, b))) { h.h.result = 1; } else { h.h.result = 2; } }
            4: { if (seen(h.h.log, 1, a) && (seen(h.h.log, 2, b) || seen(h.h.log, 3, c))) { h.h.result = 1; } else { h.h.result = 2; } }
            5: { if (seen(h.h.log, 1, a) && seen(h.h.log, 2, b) || seen(h.h.log, 3, c)) { h.h.result = 1; } else { h.h.result = 2; } }
            6: { if (!(seen(h.h.log, 1, a) && !(seen(h.h.log, 2, b) || !seen(h.h.log, 3, c)))) { h.h.result = 1; } else { h.h.result = 2; } }
            7: { if (seen(h.h.log, 1, a) && seen(h.h.log, 2, b) && seen(h.h.log, 3, c)) { h.h.result = 1; } else { h.h.result = 2; } }
            8: { if (seen(h.h.log, 1, a) || seen(h.h.log, 2, b) || seen(h.h.log, 3, c)) { h.h.result = 1; } else { h.h.result = 2; } }
            9: { if ((seen(h.h.log, 1, a) || seen(h.h.log, 2, b)) && (seen(h.h.log, 2, b) || seen(h.h.log, 3, c))) { h.h.result = 1; } else { h.h.result = 2; } }
            10: { if ((seen(h.h.log, 1, a) && seen(h.h.log, 2, b)) != (seen(h.h.log, 2, b) || seen(h.h.log, 3, c))) { h.h.result = 1; } else { h.h.result = 2; } }
            11: { if ((true && seen(h.h.log, 1, a)) || (seen(h.h.log, 2, b) && NEVER)) { h.h.result = 1; } else { h.h.result = 2; } }
            // Without an else, in expressions and in loops.
            12: {
                if (!(seen(h.h.log, 1, a) && seen(h.h.log, 2, b))) { h.h.result = 3; }
                if (seen(h.h.log, 3, c) || seen(h.h.log, 1, a)) { h.h.result = h.h.result + 0x10; }
            }
            13: {
                h.h.result = seen(h.h.log, 1, a) && !(seen(h.h.log, 2, b) || seen(h.h.log, 3, c))
                    ? (seen(h.h.log, 2, b) ? 8w1 : 2) : 3;
                bool is_kept = a || b && c;
                if (is_kept) { h.h.result = h.h.result + 0x10; }
            }
            14: {
                for (bit<8> n = 0; seen(h.h.log, 1, n < 3) && (seen(h.h.log, 2, a) || n < 2); n = n + 1) {
                    h.h.result = h.h.result + 1;
                }
            }
        }
        send_to_port((PortId_t) 1);
    }
}

control MainDeparser(packet_out pkt, in H h, in M m, in pna_main_output_metadata_t o) {
    apply { pkt.emit(h); }
}

PNA_NIC(MainParser(), MainControl(), MainDeparser()) main;
