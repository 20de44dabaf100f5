// SPDX-License-Identifier: Apache-2.0 OR MIT
// Copies and rounds of v1model: clones at ingress and egress, multicast, resubmission,
// recirculation, what metadata they keep, truncation.

#include <v1model.p4>

header h_t { bit<8> op; bit<8> instance; bit<8> rid; bit<8> kept; bit<8> lost; }
struct H { h_t h; }
struct M {
    @field_list(1, 3) bit<8> kept;
    @field_list(2)    bit<8> lost;
    @field_list(3)    bit<8> rounds;
}

parser P(packet_in b, out H h, inout M m, inout standard_metadata_t s) {
    state start { b.extract(h.h); transition accept; }
}

control V(inout H h, inout M m) { apply {} }
control C(inout H h, inout M m) { apply {} }
control D(packet_out b, in H h) { apply { b.emit(h); } }

control I(inout H h, inout M m, inout standard_metadata_t s) {
    apply {
        s.egress_spec = 1;
        bit<8> op = h.h.op;
        if (s.instance_type == 4 || s.instance_type == 6) { m.rounds = m.rounds + 1; }
        else { m.kept = 0x11; m.lost = 0x22; }
        if (op == 1) { clone_preserving_field_list(CloneType.I2E, 5, 1); h.h.lost = 0x99; }
        else if (op == 2) { s.mcast_grp = 7; }
        else if (op == 3 && m.rounds < 2) { resubmit_preserving_field_list(3); h.h.lost = 0x99; }
        else if (op == 7) { clone(CloneType.I2E, 6); mark_to_drop(s); }
        else if (op == 8) { s.mcast_grp = 99; }
    }
}

control E(inout H h, inout M m, inout standard_metadata_t s) {
    apply {
        bit<8> op = h.h.op;
        h.h.instance = (bit<8>) s.instance_type;
        h.h.rid = (bit<8>) s.egress_rid;
        if (op == 4 && s.instance_type == 0) {
            clone_preserving_field_list(CloneType.E2E, 5, 1);
        }
        if (op == 5 && m.rounds < 3) { recirculate_preserving_field_list(3); }
        if (op == 6) { truncate(3); }
        h.h.kept = m.kept;
        if (h.h.lost == 0) { h.h.lost = m.lost; }
        if (op == 3 || op == 5) { h.h.lost = m.rounds; }
    }
}

V1Switch(P(), V(), I(), E(), C(), D()) main;
