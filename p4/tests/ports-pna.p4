// SPDX-License-Identifier: Apache-2.0 OR MIT
// Sides that ports are on, and what version 0.7 of PNA has for actions without conditions of their
// own: adding entries, and restarting timers, if something holds.

#include <adit.p4>

header h_t { bit<8> op; bit<8> key; bit<8> side; bit<8> result; }
struct H { h_t h; }
struct M {}

parser MainParser(packet_in pkt, out H h, inout M m, in pna_main_parser_input_metadata_t i) {
    state start {
        pkt.extract(h.h);
        transition select(is_net_port(i.input_port)) {
            true: from_wire;
            default: accept;
        }
    }
    state from_wire { h.h.side = 0x10; transition accept; }
}

control MainControl(inout H h, inout M m, in pna_main_input_metadata_t i,
                    inout pna_main_output_metadata_t o) {
    action known() {
        h.h.result = 1;
        set_entry_expire_time_if(h.h.op == 1, (ExpireTimeProfileId_t) 2);
        update_expire_info(h.h.op == 2 || h.h.op == 3, h.h.op == 3, (ExpireTimeProfileId_t) 2);
    }
    action learn() {
        AddEntryErrorStatus_t status =
            add_entry_if(h.h.op != 9, "known", {}, (ExpireTimeProfileId_t) 0);
        h.h.result = 0xf0 + (bit<8>) status;
    }
    table flows {
        key = { h.h.key: exact; }
        actions = { @tableonly known; @defaultonly learn; }
        add_on_miss = true;
        default_action = learn();
        pna_idle_timeout = PNA_IdleTimeout_t.AUTO_DELETE;
        default_idle_timeout_for_data_plane_added_entries = 1;
    }
    apply {
        if (is_host_port(i.input_port)) { h.h.side = h.h.side + 1; }
        h.h.side = h.h.side + SelectByDirection(is_net_port(i.input_port), 8w0x20, 8w0x02);
        flows.apply();
        send_to_port((PortId_t) 1);
    }
}

control MainDeparser(packet_out pkt, in H h, in M m, in pna_main_output_metadata_t o) {
    apply { pkt.emit(h); }
}

PNA_NIC(MainParser(), MainControl(), MainDeparser()) main;
