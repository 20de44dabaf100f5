// SPDX-License-Identifier: Apache-2.0 OR MIT
// The older forms of v1model: `mark_to_drop` without arguments, `clone3`, `resubmit` and
// `recirculate` with fields, of which none is kept; truncation in ingress, and twice.

#include <v1model.p4>

header h_t { bit<8> op; bit<8> instance; bit<8> kept; bit<8> rest; }
struct H { h_t h; }
struct M { bit<8> kept; }

parser P(packet_in b, out H h, inout M m, inout standard_metadata_t s) {
    state start { b.extract(h.h); transition accept; }
}

control V(inout H h, inout M m) { apply {} }
control C(inout H h, inout M m) { apply {} }
control D(packet_out b, in H h) { apply { b.emit(h); } }

// A control that does not have the standard metadata drops, too.
control Dropper(in bit<8> op) {
    action drop_it() { mark_to_drop(); }
    apply { if (op == 2) { drop_it(); } }
}

control I(inout H h, inout M m, inout standard_metadata_t s) {
    action drop() { mark_to_drop(); }
    Dropper() dropper;
    apply {
        s.egress_spec = 1;
        bit<8> op = h.h.op;
        m.kept = m.kept + 0x11;
        if (op == 1) { drop(); }
        dropper.apply(op);
        // What is written later revives.
        if (op == 3) { drop(); s.egress_spec = 4; }
        if (op == 4) { clone3(CloneType.I2E, 5, { m.kept }); }
        if (op == 5 && s.instance_type == 0) { resubmit({ m.kept }); }
        if (op == 7 || op == 8 || op == 10) { truncate(2); }
        if (op == 9) { truncate(3); }
        if (op == 10) { s.mcast_grp = 7; }
    }
}

control E(inout H h, inout M m, inout standard_metadata_t s) {
    action drop() { mark_to_drop(); }
    apply {
        h.h.instance = (bit<8>) s.instance_type;
        h.h.kept = m.kept;
        if (h.h.op == 6 && s.instance_type == 0) { recirculate({ m.kept }); }
        // The shortest length counts, whichever comes first.
        if (h.h.op == 8) { truncate(3); }
        if (h.h.op == 9) { truncate(1); }
        if (h.h.op == 11) { drop(); }
    }
}

V1Switch(P(), V(), I(), E(), C(), D()) main;
