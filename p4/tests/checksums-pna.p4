// SPDX-License-Identifier: Apache-2.0 OR MIT
// PNA's incremental checksum: a header changes, and its checksum by the difference (RFC 1624).

#include <adit.p4>

header h_t { bit<8> op; bit<8> pad; bit<16> a; bit<32> b; bit<16> sum; }
struct H { h_t h; }
struct M { bit<16> state; bool ok; }

parser MainParser(packet_in pkt, out H h, inout M m, in pna_main_parser_input_metadata_t i) {
    InternetChecksum() whole;
    InternetChecksum() rest;
    state start {
        pkt.extract(h.h);
        whole.clear();
        whole.add({ h.h.a, h.h.b, h.h.sum });
        m.ok = whole.get() == 0;
        // What the checksum would be without these two.
        rest.clear();
        rest.subtract(h.h.sum);
        rest.subtract({ h.h.a, h.h.b });
        m.state = rest.get_state();
        transition accept;
    }
}

control MainControl(inout H h, inout M m, in pna_main_input_metadata_t i,
                    inout pna_main_output_metadata_t o) {
    apply {
        send_to_port((PortId_t) 1);
        if (!m.ok) { h.h.pad = 0xee; }
        if (h.h.op == 1) { h.h.a = h.h.a + 0x100; h.h.b = h.h.b ^ 0xff00ff00; }
        else if (h.h.op == 2) { h.h.b = 0; }
    }
}

control MainDeparser(packet_out pkt, in H h, in M m, in pna_main_output_metadata_t o) {
    InternetChecksum() sum;
    apply {
        H out_h = h;
        sum.set_state(m.state);
        sum.add({ h.h.a, h.h.b });
        out_h.h.sum = sum.get();
        pkt.emit(out_h);
    }
}

PNA_NIC(MainParser(), MainControl(), MainDeparser()) main;
