// SPDX-License-Identifier: Apache-2.0 OR MIT
// Takes frames out of IPv4, and sends them to the wire.

#include <adit.p4>
#include <adit_headers.p4>

struct headers_t {
    ethernet_h ethernet;
    ipv4_h     ipv4;
}
struct metadata_t { bool is_inner; }

parser P(packet_in pkt, out headers_t h, inout metadata_t m,
         in pna_main_parser_input_metadata_t istd) {
    state start {
        m.is_inner = istd.recirculated;
        pkt.extract(h.ethernet);
        pkt.extract(h.ipv4);
        transition accept;
    }
}

control C(inout headers_t h, inout metadata_t m, in pna_main_input_metadata_t istd,
          inout pna_main_output_metadata_t ostd) {
    // With it the NIC puts fragments together.
    Conntrack(16) connections;
    apply {
        ConntrackPacket_t packet;
        if (!m.is_inner && h.ipv4.protocol == 97) {
            h.ethernet.setInvalid();
            h.ipv4.setInvalid();
            recirculate_inner();
        } else if (fragment_size() == 0) {
            connections.track(14, 0, packet);
            if (packet.state & ADIT_CT_INVALID == 0) {
                send_to_port((PortId_t) 0);
            }
        }
    }
}

control D(packet_out pkt, in headers_t h, in metadata_t m, in pna_main_output_metadata_t ostd) {
    apply { pkt.emit(h); }
}

PNA_NIC(P(), C(), D()) main;
