// SPDX-License-Identifier: Apache-2.0 OR MIT
// The classifier from layer 4 to 7: flows by addresses, protocol and ports, and QUIC connections
// by their id, which stays while addresses and ports change. An entry puts what it matches on a
// receive queue, names the flow, or both. What no entry matches is dropped or goes to the slow
// path, as the default actions say. The hash of a QUIC packet is that of its connection's id.

#include <adit.p4>
#include <adit_headers.p4>
#include <adit_quic.p4>

struct metadata_t {
    network_t network;
    bool      is_payload_reached;
    quic_t    quic;
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
    state udp_payload {
        m.is_payload_reached = true;
        QuicParser.apply(pkt, m.quic);
        transition accept;
    }
}

control ClassifierControl(inout network_headers_t h, inout metadata_t m,
                          in pna_main_input_metadata_t istd,
                          inout pna_main_output_metadata_t ostd) {
    DirectCounter<bit<64>>(PNA_CounterType_t.PACKETS_AND_BYTES) connections;
    DirectCounter<bit<64>>(PNA_CounterType_t.PACKETS_AND_BYTES) flows4;
    DirectCounter<bit<64>>(PNA_CounterType_t.PACKETS_AND_BYTES) flows6;
    Counter<bit<64>, bit<1>>(1, PNA_CounterType_t.PACKETS) malformed;
    Hash<bit<32>>(PNA_HashAlgorithm_t.CRC32) by_connection;
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
            m.quic.id[159:32]: exact @name("quic_id");
            m.quic.id[31:0]: exact @name("quic_id_end");
            m.quic.id_len: exact @name("quic_id_len");
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
            if (m.quic.id_len != 0) {
                // So that RSS, too, keeps a connection on its queue.
                set_hash(by_connection.get_hash({ m.quic.id, m.quic.id_len }));
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
