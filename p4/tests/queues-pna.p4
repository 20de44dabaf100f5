// SPDX-License-Identifier: Apache-2.0 OR MIT
// Inline filters: a flow's replies go to the queue that sent its first packet. Packets from host
// ports add it to an add-on-miss table, and replies (op 1) find it there.

#include <adit.p4>

header h_t { bit<8> op; bit<8> flow; bit<16> queue; }
struct H { h_t h; }
struct M {}

parser MainParser(packet_in pkt, out H h, inout M m, in pna_main_parser_input_metadata_t i) {
    state start {
        pkt.extract(h.h);
        // Also in a parser.
        transition select(input_queue()) {
            0x0101: odd;
            default: accept;
        }
    }
    state odd { h.h.op = h.h.op + 0x80; transition accept; }
}

control MainControl(inout H h, inout M m, in pna_main_input_metadata_t i,
                    inout pna_main_output_metadata_t o) {
    action to_queue(bit<16> queue) {
        h.h.queue = queue;
        set_queue(queue);
    }
    action learn() {
        add_entry("to_queue", { input_queue() }, (ExpireTimeProfileId_t) 0);
        h.h.queue = input_queue();
    }
    table sent {
        key = { h.h.flow: exact; }
        actions = { @tableonly to_queue; @defaultonly learn; }
        add_on_miss = true;
        default_action = learn();
    }

    apply {
        if (h.h.op == 2 && !i.recirculated) {
            recirculate();
            return;
        }
        if (is_host_port(i.input_port) || h.h.op == 1) {
            sent.apply();
        } else {
            h.h.queue = input_queue();
        }
        send_to_port((PortId_t) 1);
    }
}

control MainDeparser(packet_out pkt, in H h, in M m, in pna_main_output_metadata_t o) {
    apply { pkt.emit(h); }
}

PNA_NIC(MainParser(), MainControl(), MainDeparser()) main;
