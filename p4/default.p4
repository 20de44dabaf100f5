// SPDX-License-Identifier: Apache-2.0 OR MIT
// What the NIC runs when it is given no program: its layer 2 stage, for every frame as it is.

#include <adit.p4>

struct headers_t {}
struct metadata_t {}

parser DefaultParser(packet_in pkt, out headers_t h, inout metadata_t m,
                     in pna_main_parser_input_metadata_t istd) {
    state start { transition accept; }
}

control DefaultControl(inout headers_t h, inout metadata_t m, in pna_main_input_metadata_t istd,
                       inout pna_main_output_metadata_t ostd) {
    apply { send_to_port(ADIT_PORT_SWITCH); }
}

control DefaultDeparser(packet_out pkt, in headers_t h, in metadata_t m,
                        in pna_main_output_metadata_t ostd) {
    apply {}
}

PNA_NIC(DefaultParser(), DefaultControl(), DefaultDeparser()) main;
