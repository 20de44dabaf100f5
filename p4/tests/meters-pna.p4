// SPDX-License-Identifier: Apache-2.0 OR MIT
// Meters of PNA, which know the color that a packet has; counters that only a call counts.

#include <adit.p4>

header h_t { bit<8> kind; bit<8> color; bit<16> length; }
struct H { h_t h; }
struct M {}

parser MainParser(packet_in pkt, out H h, inout M m, in pna_main_parser_input_metadata_t i) {
    state start { pkt.extract(h.h); transition accept; }
}

control MainControl(inout H h, inout M m, in pna_main_input_metadata_t i,
                    inout pna_main_output_metadata_t o) {
    Meter<bit<8>>(4, PNA_MeterType_t.PACKETS) meters;
    DirectMeter(PNA_MeterType_t.BYTES) own;
    DirectCounter<bit<32>>(PNA_CounterType_t.PACKETS_AND_BYTES) count;

    PNA_MeterColor_t before;
    PNA_MeterColor_t after;
    action counted() { after = own.execute(before, 32w0 + (bit<32>) h.h.length); count.count(100); }
    action plain() { after = own.execute(); }
    table flows {
        key = { h.h.kind: exact; }
        actions = { counted; plain; NoAction; }
        pna_direct_meter = own;
        pna_direct_counter = count;
    }
    apply {
        send_to_port((PortId_t) 1);
        before = PNA_MeterColor_t.GREEN;
        after = PNA_MeterColor_t.GREEN;
        if (h.h.color == 1) { before = PNA_MeterColor_t.YELLOW; }
        if (h.h.color == 2) { before = PNA_MeterColor_t.RED; }
        if (h.h.kind == 0) { after = meters.execute(1, before); }
        else if (h.h.kind == 1) { after = meters.execute(1); }
        else { flows.apply(); }
        h.h.color = 0;
        if (after == PNA_MeterColor_t.YELLOW) { h.h.color = 1; }
        if (after == PNA_MeterColor_t.RED) { h.h.color = 2; }
    }
}

control MainDeparser(packet_out pkt, in H h, in M m, in pna_main_output_metadata_t o) {
    apply { pkt.emit(h); }
}

PNA_NIC(MainParser(), MainControl(), MainDeparser()) main;
