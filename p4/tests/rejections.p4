// SPDX-License-Identifier: Apache-2.0 OR MIT
// Packets that are rejected: at once, after a translation, in a second pass, with a router's reasons, and out
// of another packet. A frame's first byte selects; a mirror shows the packet itself.

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
        if (is_answer()) {
            // The answer behind the 14 bytes that were in front of the packet; op 0x82 does not send it,
            // and 0x92 rejects it.
            if (h.h.op == 0x92) { reject(); } else if (h.h.op != 0x82) { send_to_port((PortId_t) 8); }
        } else if (h.h.op[7:5] == 3 || h.h.op[7:5] == 4) {
            if (!i.recirculated) {
                recirculate();
            } else {
                bit<16> offset = h.h.op == 0x76 ? 16w2000 : 14;
                RejectReason_t reason = h.h.op == 0x62 ? RejectReason_t.HOPS_EXCEEDED : RejectReason_t.REFUSED;
                reject_behind(reason, 0, 0, offset);
            }
        } else if (h.h.op == 0xb2) {
            reject_with(RejectReason_t.HOPS_EXCEEDED, 0xc0000209, 0);
        } else if (h.h.op == 0xc2) {
            reject_with(RejectReason_t.TOO_BIG, 0x20010db8000000000000000000000009, 1400);
        } else if (h.h.op == 0xd2) {
            reject_with(RejectReason_t.TOO_BIG, 0, 1400);
            send_to_port((PortId_t) 7);
        } else if (h.h.op == 0xe2) {
            send_to_port((PortId_t) 7);
            reject_with(RejectReason_t.REFUSED, 0, 0);
        } else if (h.h.op == 0x12) {
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
