// SPDX-License-Identifier: Apache-2.0 OR MIT
// Checksums of v1model: verified, updated, under a condition, with the payload.

#include <v1model.p4>

header h_t { bit<8> op; bit<8> wrong; bit<16> a; bit<16> b; bit<16> sum; }
struct H { h_t h; }
struct M {}

parser P(packet_in b, out H h, inout M m, inout standard_metadata_t s) {
    state start { b.extract(h.h); transition accept; }
}

control V(inout H h, inout M m) {
    apply {
        verify_checksum(h.h.op == 1, { h.h.a, h.h.b }, h.h.sum, HashAlgorithm.csum16);
        verify_checksum_with_payload(h.h.op == 2, { h.h.a, h.h.b }, h.h.sum,
                                     HashAlgorithm.csum16);
    }
}

control I(inout H h, inout M m, inout standard_metadata_t s) {
    apply {
        s.egress_spec = 1;
        h.h.wrong = (bit<8>) s.checksum_error;
        if (h.h.op >= 3) { h.h.a = h.h.a - 1; }
    }
}
control E(inout H h, inout M m, inout standard_metadata_t s) { apply {} }
control C(inout H h, inout M m) {
    apply {
        update_checksum(h.h.op == 3, { h.h.a, h.h.b }, h.h.sum, HashAlgorithm.csum16);
        update_checksum_with_payload(h.h.op == 4, { h.h.a, h.h.b }, h.h.sum,
                                     HashAlgorithm.csum16);
        update_checksum(h.h.op == 5, { h.h.a, h.h.b }, h.h.sum, HashAlgorithm.crc16);
    }
}
control D(packet_out b, in H h) { apply { b.emit(h); } }

V1Switch(P(), V(), I(), E(), C(), D()) main;
