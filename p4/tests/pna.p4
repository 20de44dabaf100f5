// SPDX-License-Identifier: Apache-2.0 OR MIT
// PNA with a pre-control: flows that are learnt on a miss, recirculation, mirrors, a checksum that
// is kept by differences, forwarding calls of which the last wins.

#include <pna.p4>

header h_t {
    bit<8>  op;
    bit<16> key;
    bit<16> value;
    bit<16> sum;
}
struct H { h_t h; }
struct M { bit<16> learnt; }

parser MainParser(packet_in pkt, out H h, inout M m, in pna_main_parser_input_metadata_t istd) {
    state start { pkt.extract(h.h); transition accept; }
}

control Pre(in H h, inout M m, in pna_pre_input_metadata_t istd,
            inout pna_pre_output_metadata_t ostd) {
    apply { m.learnt = 0x10; }
}

struct learn_params { bit<16> value; }

control MainControl(inout H h, inout M m, in pna_main_input_metadata_t istd,
                    inout pna_main_output_metadata_t ostd) {
    Counter<bit<64>, bit<8>>(8, PNA_CounterType_t.PACKETS) seen;
    Register<bit<16>, bit<8>>(4, 16w7) last;
    Hash<bit<32>>(PNA_HashAlgorithm_t.CRC32) crc;

    action use(bit<16> value) { m.learnt = m.learnt + value; }
    action learn() {
        learn_params params = { h.h.value };
        if (!add_entry("use", params, (ExpireTimeProfileId_t) 8w1)) { m.learnt = 0xdead; }
    }
    table flows {
        key = { h.h.key: exact; }
        actions = { @tableonly use; @defaultonly learn; }
        add_on_miss = true;
        default_action = learn();
        size = 2;
    }

    apply {
        seen.count(h.h.op);
        send_to_port((PortId_t) 1);
        switch (h.h.op) {
            1: { flows.apply(); h.h.value = m.learnt; }
            2: {
                if (istd.pass == (PassNumber_t) 2) { send_to_port((PortId_t) 2); }
                else { h.h.key = h.h.key + 1; recirculate(); }
            }
            3: { recirculate(); }
            4: { mirror_packet((MirrorSlotId_t) 0, (MirrorSessionId_t) 5); drop_packet(); }
            5: { h.h.value = last.read(1); last.write(1, h.h.key); }
            6: { bit<32> v = crc.get_hash({ h.h.key, h.h.value }); h.h.key = v[31:16]; h.h.value = v[15:0]; }
            7: { drop_packet(); send_to_port(istd.input_port); }
        }
    }
}

control MainDeparser(packet_out pkt, in H h, in M m, in pna_main_output_metadata_t ostd) {
    InternetChecksum() sum;
    apply {
        H out_h = h;
        sum.add({ h.h.key, h.h.value });
        if (h.h.op != 3) { out_h.h.sum = sum.get(); }
        pkt.emit(out_h);
    }
}

PNA_NIC(MainParser(), Pre(), MainControl(), MainDeparser()) main;
