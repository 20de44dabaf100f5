// SPDX-License-Identifier: Apache-2.0 OR MIT
// Something of each kind that a successor has to continue: entries of the source, learnt ones, registers
// with an initial value, numbers of flows.

#include <adit.p4>

header h_t { bit<8> op; bit<8> key; bit<8> value; bit<8> unused; }
struct H { h_t h; }
struct M {}

parser MainParser(packet_in pkt, out H h, inout M m, in pna_main_parser_input_metadata_t i) {
    state start { pkt.extract(h.h); transition accept; }
}

control MainControl(inout H h, inout M m, in pna_main_input_metadata_t i,
                    inout pna_main_output_metadata_t o) {
    DirectCounter<bit<64>>(PNA_CounterType_t.PACKETS) counted;
    DirectCounter<bit<64>>(PNA_CounterType_t.PACKETS) counted_fixed;
    Register<bit<32>, bit<8>>(4, 32w7) marks;

    action none() { h.h.op = 0; }
    action set(bit<8> value) { h.h.op = value; counted.count(); }
    table own {
        key = { h.h.key: exact; }
        actions = { set; @defaultonly none; }
        default_action = none();
        pna_direct_counter = counted;
        entries = { 1: set(0x11); 2: set(0x12); 3: set(0x13); }
        size = 3;
    }
    action set_fixed(bit<8> value) { h.h.op = value; counted_fixed.count(); }
    table fixed {
        key = { h.h.key: exact; }
        actions = { set_fixed; @defaultonly none; }
        default_action = none();
        pna_direct_counter = counted_fixed;
        const entries = { 5: set_fixed(0x55); }
    }
    action known(bit<8> value) { h.h.op = value; }
    action learn() {
        add_entry_for("known", { h.h.key }, 32w10);
        h.h.op = 0xff;
    }
    table flows {
        key = { h.h.key: exact; }
        actions = { @tableonly known; @defaultonly learn; }
        add_on_miss = true;
        default_action = learn();
        pna_idle_timeout = PNA_IdleTimeout_t.AUTO_DELETE;
    }
    apply {
        send_to_port((PortId_t) 1);
        if (h.h.op == 0) {
            own.apply();
        } else if (h.h.op == 1) {
            flows.apply();
        } else if (h.h.op == 2) {
            fixed.apply();
        } else if (h.h.op == 3) {
            h.h.op = (bit<8>) (bit<32>) allocate_flow_id();
        } else {
            marks.write(h.h.key, (bit<32>) h.h.value);
        }
    }
}

control MainDeparser(packet_out pkt, in H h, in M m, in pna_main_output_metadata_t o) {
    apply { pkt.emit(h); }
}

PNA_NIC(MainParser(), MainControl(), MainDeparser()) main;
