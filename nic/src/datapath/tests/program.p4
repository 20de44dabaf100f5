// SPDX-License-Identifier: Apache-2.0 OR MIT
// Does what the last byte of the source address says.

#include <adit.p4>
#include <adit_headers.p4>

struct headers_t {
    ethernet_h outer;
    ethernet_h ethernet;
    ipv4_h     ipv4;
}
struct metadata_t {}

parser P(packet_in pkt, out headers_t h, inout metadata_t m,
         in pna_main_parser_input_metadata_t istd) {
    state start { pkt.extract(h.ethernet); pkt.extract(h.ipv4); transition accept; }
}

control C(inout headers_t h, inout metadata_t m, in pna_main_input_metadata_t istd,
          inout pna_main_output_metadata_t ostd) {
    Counter<bit<64>, bit<1>>(1, PNA_CounterType_t.PACKETS_AND_BYTES) seen;
    apply {
        seen.count(0);
        switch (h.ethernet.src[7:0]) {
            1: {
                set_queue(1);
                set_flow_id((FlowId_t) 0x12345678);
                send_to_port(ADIT_PORT_SWITCH);
            }
            2: { drop_packet(); }
            3: { send_to_port((PortId_t) 0); }
            4: { send_to_port((PortId_t) ADIT_FIRST_HOST_PORT); }
            5: {
                h.outer = h.ethernet;
                h.outer.ether_type = ETHERTYPE_TEB;
                send_to_port(ADIT_PORT_SWITCH);
            }
            7: { send_to_port((PortId_t) 77); }
            8: { h.ipv4.dst = 0xc0000207; send_to_port(ADIT_PORT_SWITCH); }
            9: { set_queue(99); set_hash(1); send_to_port(ADIT_PORT_SWITCH); }
            10: { send_to_port(ADIT_PORT_CPU); }
            11: {
                h.ipv4.identification = input_queue();
                set_queue(input_queue());
                send_to_port(ADIT_PORT_SWITCH);
            }
            12: { reject(); }
            13: { fragment_packet(600, 14); send_to_port(ADIT_PORT_SWITCH); }
            14: {
                h.outer = h.ethernet;
                h.outer.ether_type = ETHERTYPE_TEB;
                fragment_packet(600, 28);
                send_to_port(ADIT_PORT_SWITCH);
            }
            15: { fragment_packet(600, 14); drop_packet(); }
        }
    }
}

control D(packet_out pkt, in headers_t h, in metadata_t m, in pna_main_output_metadata_t ostd) {
    apply { pkt.emit(h); }
}

PNA_NIC(P(), C(), D()) main;
