// SPDX-License-Identifier: Apache-2.0 OR MIT
// The classifier from layer 4 to 7: flows by addresses, protocol and ports, and QUIC connections
// by their id, which stays while addresses and ports change. An entry puts what it matches on a
// receive queue, names the flow, or both. What no entry matches is dropped or goes to the slow
// path, as the default actions say.

#include <adit.p4>
#include <adit_headers.p4>

// Bytes of a connection id in short headers: they do not say it, servers that are told apart by
// their ids agree on it. Compile with another value to change it, from 1 to 20.
#ifndef QUIC_SHORT_ID_BYTES
#define QUIC_SHORT_ID_BYTES 8
#endif

// What is the same in all versions of QUIC (RFC 8999): a long header has eight bits of flags, a
// version and the length of the id before it, a short one the flags.
#define QUIC_LONG_BITS 48
#define QUIC_ID(before, bytes)                                                              \
    (bit<160>) (pkt.lookahead<bit<(before + 8 * bytes)>>()[8 * bytes - 1:0]) << (160 - 8 * bytes)

struct metadata_t {
    network_t network;
    bool      is_payload_reached;
    bit<8>    quic_id_len; // in bytes; 0 without an id
    bit<160>  quic_id; // from the left
}

parser ClassifierParser(packet_in pkt, out network_headers_t h, inout metadata_t m,
                        in pna_main_parser_input_metadata_t istd) {
    // UDP ports that QUIC servers have, beside that of HTTPS.
    value_set<bit<16>>(16) quic_ports;

    state start {
        NetworkParser.apply(pkt, h, m.network);
        transition select(h.udp.isValid(), h.udp.dst_port) {
            (true, PORT_HTTPS): udp_payload;
            (true, quic_ports): udp_payload;
            default: accept;
        }
    }
    // QUIC is looked at, so that it stays payload. What is too short for an id is not QUIC, and
    // not malformed either.
    state udp_payload {
        m.is_payload_reached = true;
        transition select(pkt.lookahead<bit<1>>()) {
            1: quic_long;
            default: quic_short;
        }
    }
    state quic_short {
        m.quic_id = QUIC_ID(8, QUIC_SHORT_ID_BYTES);
        m.quic_id_len = QUIC_SHORT_ID_BYTES;
        transition accept;
    }
    state quic_long {
        transition select(pkt.lookahead<bit<QUIC_LONG_BITS>>()[7:0]) {
            1: quic_long_1;
            2: quic_long_2;
            3: quic_long_3;
            4: quic_long_4;
            5: quic_long_5;
            6: quic_long_6;
            7: quic_long_7;
            8: quic_long_8;
            9: quic_long_9;
            10: quic_long_10;
            11: quic_long_11;
            12: quic_long_12;
            13: quic_long_13;
            14: quic_long_14;
            15: quic_long_15;
            16: quic_long_16;
            17: quic_long_17;
            18: quic_long_18;
            19: quic_long_19;
            20: quic_long_20;
            default: accept;
        }
    }
#define QUIC_LONG(n)                             \
    state quic_long_##n {                        \
        m.quic_id = QUIC_ID(QUIC_LONG_BITS, n);  \
        m.quic_id_len = n;                       \
        transition accept;                       \
    }
    QUIC_LONG(1)
    QUIC_LONG(2)
    QUIC_LONG(3)
    QUIC_LONG(4)
    QUIC_LONG(5)
    QUIC_LONG(6)
    QUIC_LONG(7)
    QUIC_LONG(8)
    QUIC_LONG(9)
    QUIC_LONG(10)
    QUIC_LONG(11)
    QUIC_LONG(12)
    QUIC_LONG(13)
    QUIC_LONG(14)
    QUIC_LONG(15)
    QUIC_LONG(16)
    QUIC_LONG(17)
    QUIC_LONG(18)
    QUIC_LONG(19)
    QUIC_LONG(20)
}

control ClassifierControl(inout network_headers_t h, inout metadata_t m,
                          in pna_main_input_metadata_t istd,
                          inout pna_main_output_metadata_t ostd) {
    DirectCounter<bit<64>>(PNA_CounterType_t.PACKETS_AND_BYTES) connections;
    DirectCounter<bit<64>>(PNA_CounterType_t.PACKETS_AND_BYTES) flows4;
    DirectCounter<bit<64>>(PNA_CounterType_t.PACKETS_AND_BYTES) flows6;
    Counter<bit<64>, bit<1>>(1, PNA_CounterType_t.PACKETS) malformed;
    bool is_found = false;

    action drop() {
        drop_packet();
    }
    // The control plane gets the packet.
    action to_slow_path() {
        send_to_port(ADIT_PORT_CPU);
    }
    // The driver's rules and RSS decide.
    action pass() {
        send_to_port(ADIT_PORT_SWITCH);
    }
    action to_queue(bit<16> queue) {
        set_queue(queue);
        send_to_port(ADIT_PORT_SWITCH);
    }
    action to_flow(FlowId_t flow_id) {
        set_flow_id(flow_id);
        send_to_port(ADIT_PORT_SWITCH);
    }
    action classify(bit<16> queue, FlowId_t flow_id) {
        set_queue(queue);
        set_flow_id(flow_id);
        send_to_port(ADIT_PORT_SWITCH);
    }
    // To a virtual port whatever the frame's address is.
    action to_port(PortId_t port, bit<16> queue, FlowId_t flow_id) {
        set_queue(queue);
        set_flow_id(flow_id);
        send_to_port(port);
    }

    table quic {
        key = {
            // In two parts, as many tools have no numbers of more than 128 bits.
            m.quic_id[159:32]: exact @name("quic_id");
            m.quic_id[31:0]: exact @name("quic_id_end");
            m.quic_id_len: exact @name("quic_id_len");
        }
        actions = { to_queue; to_flow; classify; to_port; drop; pass; @defaultonly NoAction; }
        const default_action = NoAction();
        pna_direct_counter = connections;
        size = 1048576;
#ifdef QUIC_ENTRIES
        entries = { QUIC_ENTRIES }
#endif
    }
    table ipv4_flows {
        key = {
            h.ipv4.src: exact;
            h.ipv4.dst: exact;
            h.ipv4.protocol: exact;
            m.network.src_port: exact;
            m.network.dst_port: exact;
        }
        actions = { to_queue; to_flow; classify; to_port; drop; pass; to_slow_path; }
        default_action = pass();
        pna_direct_counter = flows4;
        size = 1048576;
#ifdef IPV4_FLOW_ENTRIES
        entries = { IPV4_FLOW_ENTRIES }
#endif
    }
    table ipv6_flows {
        key = {
            h.ipv6.src: exact;
            h.ipv6.dst: exact;
            h.ipv6.next_header: exact;
            m.network.src_port: exact;
            m.network.dst_port: exact;
        }
        actions = { to_queue; to_flow; classify; to_port; drop; pass; to_slow_path; }
        default_action = pass();
        pna_direct_counter = flows6;
        size = 1048576;
    }

    apply {
        if (istd.parser_error != error.NoError && !m.is_payload_reached) {
            malformed.count(0);
            drop();
        } else if (!is_net_port(istd.input_port)) {
            pass();
        } else {
            if (m.quic_id_len != 0) {
                is_found = quic.apply().hit;
                connections.count();
            }
            if (!is_found) {
                if (h.ipv4.isValid()) {
                    ipv4_flows.apply();
                    flows4.count();
                } else if (h.ipv6.isValid()) {
                    ipv6_flows.apply();
                    flows6.count();
                } else {
                    // ARP and the like.
                    pass();
                }
            }
        }
    }
}

control ClassifierDeparser(packet_out pkt, in network_headers_t h, in metadata_t m,
                           in pna_main_output_metadata_t ostd) {
    apply { pkt.emit(h); }
}

PNA_NIC(ClassifierParser(), ClassifierControl(), ClassifierDeparser()) main;
