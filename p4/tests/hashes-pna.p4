// SPDX-License-Identifier: Apache-2.0 OR MIT
// PNA's hashes and checksums over what a program gathers.

#include <adit.p4>

header h_t { bit<8> op; bit<8> a; bit<16> b; bit<16> c; }
header r_t { bit<64> value; }
struct H { h_t h; r_t r; }
struct M {}

parser MainParser(packet_in pkt, out H h, inout M m, in pna_main_parser_input_metadata_t i) {
    state start { pkt.extract(h.h); transition accept; }
}

control MainControl(inout H h, inout M m, in pna_main_input_metadata_t i,
                    inout pna_main_output_metadata_t o) {
    Hash<bit<32>>(PNA_HashAlgorithm_t.CRC32) crc32;
    Hash<bit<16>>(PNA_HashAlgorithm_t.CRC16) crc16;
    Hash<bit<32>>(PNA_HashAlgorithm_t.TOEPLITZ) toeplitz;
    Hash<bit<40>>(PNA_HashAlgorithm_t.IDENTITY) identity;
    Hash<bit<16>>(PNA_HashAlgorithm_t.ONES_COMPLEMENT16) ones;
    Hash<bit<32>>(PNA_HashAlgorithm_t.CRC32_CUSTOM) custom;
    Checksum<bit<32>>(PNA_HashAlgorithm_t.CRC32) gathered;
    Checksum<bit<16>>(PNA_HashAlgorithm_t.ONES_COMPLEMENT16) sum;
    Random<bit<64>>(7, 7) seven;
    Crc64() crc64;
    apply {
        send_to_port((PortId_t) 1);
        h.r.setValid();
        tuple<bit<8>, bit<16>, bit<16>> data = { h.h.a, h.h.b, h.h.c };
        switch (h.h.op) {
            0: { h.r.value = (bit<64>) crc32.get_hash(data); }
            1: { h.r.value = (bit<64>) crc16.get_hash(data); }
            2: { h.r.value = (bit<64>) toeplitz.get_hash(data); }
            3: { h.r.value = (bit<64>) identity.get_hash(data); }
            4: { h.r.value = (bit<64>) ones.get_hash(data); }
            5: { h.r.value = crc64.get_hash(data); }
            6: { h.r.value = (bit<64>) custom.get_hash(data); }
            7: { h.r.value = (bit<64>) crc16.get_hash(16w10, data, 16w100); }
            8: {
                // Piece by piece it is the same.
                gathered.update(h.h.a);
                gathered.update({ h.h.b, h.h.c });
                h.r.value = (bit<64>) gathered.get();
            }
            9: {
                sum.update(h.h.b);
                sum.clear();
                sum.update(data);
                h.r.value = (bit<64>) sum.get();
            }
            10: { h.r.value = seven.read(); }
        }
    }
}

control MainDeparser(packet_out pkt, in H h, in M m, in pna_main_output_metadata_t o) {
    apply { pkt.emit(h); }
}

PNA_NIC(MainParser(), MainControl(), MainDeparser()) main;
