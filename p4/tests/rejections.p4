// SPDX-License-Identifier: Apache-2.0 OR MIT
// Packets that are rejected: at once, after a translation, and in a second pass. A frame's first byte
// selects; a mirror shows the packet itself.

#include <adit.p4>

header h_t { bit<8> op; bit<88> rest; bit<16> ether_type; }
struct H { h_t h; }
struct M {}

parser MainParser(packet_in pkt, out H h, inout M m, in pna_main_parser_input_metadata_t i) {
    state start { pkt.extract(h.h); transition accept; }
}

control MainControl(inout H h, inout M m, in pna_main_input_metadata_t i,
                    inout pna_main_output_metadata_t o) {
    Conntrack(4) ct;
    apply {
        ConntrackPacket_t packet;
        if (h.h.op == 0x12) {
            // No tuple is left, or the range is wrong: the packet would be dropped without an answer.
            ConntrackRange_t none = { 5, 0, 2, 1, false, false };
            ct.track(14, 0, packet);
            if (ct.commit(packet = packet, source = none) != ConntrackStatus_t.COMMITTED) {
                reject();
            }
        } else if (h.h.op == 0x22 && i.recirculated == false) {
            // The answer is to the frame as it came.
            h.h.op = 0x32;
            recirculate();
        } else if (h.h.op == 0x42) {
            reject();
            send_to_port((PortId_t) 7);
        } else if (h.h.op == 0x52) {
            mirror_packet((MirrorSlotId_t) 0, (MirrorSessionId_t) 1);
            reject();
        } else {
            send_to_port((PortId_t) 7);
            reject();
        }
    }
}

control MainDeparser(packet_out pkt, in H h, in M m, in pna_main_output_metadata_t o) {
    apply { pkt.emit(h); }
}

PNA_NIC(MainParser(), MainControl(), MainDeparser()) main;
