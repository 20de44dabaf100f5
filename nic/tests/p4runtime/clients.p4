// SPDX-License-Identifier: Apache-2.0 OR MIT
// Something of each kind of entity, for clients to read and write.

#include <core.p4>
#include <pna.p4>

@controller_header("packet_in")
header packet_in_t {
    bit<32> port;
}
@controller_header("packet_out")
header packet_out_t {
    bit<32> port;
}
header ethernet_t {
    bit<48> dst;
    bit<48> src;
    bit<16> type;
}
header ipv4_t {
    bit<96> before;
    bit<32> src;
    bit<32> dst;
}
struct headers_t {
    packet_out_t from_control;
    ethernet_t ethernet;
    ipv4_t ipv4;
}
struct learnt_t {
    bit<48> address;
    bit<32> port;
}
struct metadata_t { }

parser TestParser(packet_in pkt, out headers_t h, inout metadata_t m,
                  in pna_main_parser_input_metadata_t istd) {
    value_set<bit<16>>(4) routed;
    state start {
        pkt.extract(h.ethernet);
        transition select(h.ethernet.type) {
            routed: ipv4;
            default: accept;
        }
    }
    state ipv4 {
        pkt.extract(h.ipv4);
        transition accept;
    }
}

control TestPre(in headers_t h, inout metadata_t m, in pna_pre_input_metadata_t istd,
                inout pna_pre_output_metadata_t ostd) {
    apply { }
}

control TestControl(inout headers_t h, inout metadata_t m, in pna_main_input_metadata_t istd,
                    inout pna_main_output_metadata_t ostd) {
    DirectCounter<bit<64>>(PNA_CounterType_t.PACKETS_AND_BYTES) stations_counter;
    Counter<bit<64>, bit<8>>(8, PNA_CounterType_t.PACKETS_AND_BYTES) seen;
    Register<bit<32>, bit<8>>(4) marks;
    Digest<learnt_t>() learn;

    action drop() {
        drop_packet();
    }
    action forward(PortId_t port) {
        send_to_port(port);
    }
    action count(bit<8> index) {
        seen.count(index);
    }
    table stations {
        key = { h.ethernet.dst: exact; }
        actions = { forward; drop; }
        default_action = drop();
        pna_direct_counter = stations_counter;
        size = 65536;
    }
    table routes {
        key = { h.ipv4.dst: lpm; }
        actions = { forward; drop; }
        default_action = drop();
        size = 1024;
    }
    table rules {
        key = {
            h.ethernet.src: ternary;
            h.ethernet.type: range;
        }
        actions = { count; NoAction; }
        default_action = NoAction();
        size = 128;
    }
    ActionSelector(PNA_HashAlgorithm_t.CRC32, 64, 16) paths;
    table ways {
        key = {
            h.ethernet.src: exact;
            h.ethernet.dst: selector;
        }
        actions = { forward; drop; }
        default_action = drop();
        pna_implementation = paths;
        size = 16;
    }
    apply {
        learn.pack({ h.ethernet.src, (bit<32>)istd.input_port });
        rules.apply();
        ways.apply();
        if (h.ipv4.isValid()) {
            routes.apply();
        } else {
            stations.apply();
        }
    }
}

control TestDeparser(packet_out pkt, in headers_t h, in metadata_t m,
                     in pna_main_output_metadata_t ostd) {
    apply {
        pkt.emit(h.ethernet);
        pkt.emit(h.ipv4);
    }
}

PNA_NIC(TestParser(), TestPre(), TestControl(), TestDeparser()) main;
