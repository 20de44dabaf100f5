// SPDX-License-Identifier: Apache-2.0 OR MIT
// Flows that are learnt and expire, timers that a program restarts, and idle entries of which the
// control plane is told.

#include <adit.p4>

header h_t { bit<8> op; bit<8> key; bit<8> profile; bit<8> result; }
struct H { h_t h; }
struct M {}

parser MainParser(packet_in pkt, out H h, inout M m, in pna_main_parser_input_metadata_t i) {
    state start { pkt.extract(h.h); transition accept; }
}

control MainControl(inout H h, inout M m, in pna_main_input_metadata_t i,
                    inout pna_main_output_metadata_t o) {
    action known(bit<8> value) {
        h.h.result = value;
        if (h.h.op == 1) { restart_expire_timer(); }
        if (h.h.op == 2) { set_entry_expire_time((ExpireTimeProfileId_t) h.h.profile); }
    }
    action learn() {
        AddEntryErrorStatus_t status =
            add_entry("known", { h.h.key + 0x40 }, (ExpireTimeProfileId_t) h.h.profile);
        h.h.result = 0xff;
        if (status == ADD_ENTRY_NOT_DONE) { h.h.result = 0xee; }
    }
    table flows {
        key = { h.h.key: exact; }
        actions = { @tableonly known; @defaultonly learn; }
        add_on_miss = true;
        default_action = learn();
        pna_idle_timeout = PNA_IdleTimeout_t.AUTO_DELETE;
        size = 3;
    }
    action set(bit<8> value) { h.h.result = value; }
    table watched {
        key = { h.h.key: exact; }
        actions = { set; NoAction; }
        pna_idle_timeout = PNA_IdleTimeout_t.NOTIFY_CONTROL;
    }
    apply {
        send_to_port((PortId_t) 1);
        if (h.h.op == 9) { watched.apply(); } else { flows.apply(); }
    }
}

control MainDeparser(packet_out pkt, in H h, in M m, in pna_main_output_metadata_t o) {
    apply { pkt.emit(h); }
}

PNA_NIC(MainParser(), MainControl(), MainDeparser()) main;
