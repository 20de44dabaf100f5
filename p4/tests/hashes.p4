// SPDX-License-Identifier: Apache-2.0 OR MIT
// The hash functions of v1model, over five bytes, with a base and a modulus.

#include <v1model.p4>

header h_t { bit<8> op; bit<8> a; bit<16> b; bit<16> c; }
header r_t { bit<32> value; }
struct H { h_t h; r_t r; }
struct M {}

parser P(packet_in b, out H h, inout M m, inout standard_metadata_t s) {
    state start { b.extract(h.h); transition accept; }
}

control I(inout H h, inout M m, inout standard_metadata_t s) {
    apply {
        s.egress_spec = 1;
        h.r.setValid();
        tuple<bit<8>, bit<16>, bit<16>> data = { h.h.a, h.h.b, h.h.c };
        bit<64> max = 64w1 << 32;
        switch (h.h.op) {
            0: { hash(h.r.value, HashAlgorithm.crc32, 32w0, data, max); }
            1: { hash(h.r.value, HashAlgorithm.crc16, 32w0, data, max); }
            2: { hash(h.r.value, HashAlgorithm.csum16, 32w0, data, max); }
            3: { hash(h.r.value, HashAlgorithm.xor16, 32w0, data, max); }
            4: { hash(h.r.value, HashAlgorithm.identity, 32w0, data, max); }
            5: { hash(h.r.value, HashAlgorithm.crc16, 32w10, data, 32w100); }
            6: { hash(h.r.value, HashAlgorithm.crc32, 8w5, data, 8w16); }
            // No modulus: the base.
            7: { hash(h.r.value, HashAlgorithm.crc32, 8w5, data, 8w0); }
            8: { hash(h.r.value, HashAlgorithm.crc32_custom, 32w0, data, max); }
            9: { hash(h.r.value, HashAlgorithm.crc16_custom, 32w0, data, max); }
            10: {
                random(h.r.value, 32w20, 32w21);
                if (h.r.value == 21) { h.r.value = 20; }
            }
        }
    }
}

#include "v1model-skeleton.p4"
