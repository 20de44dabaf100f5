// SPDX-License-Identifier: Apache-2.0 OR MIT
// A packet filter: rules over the addresses, protocol, ports and TCP flags of IPv4 and IPv6, in
// both directions. What passes goes on to the layer 2 stage.

#include <adit.p4>
#include <adit_headers.p4>
#include <adit_ipv6.p4>

struct metadata_t {
    network_t         network;
    // Behind the extension headers of IPv6, which leave as they came.
    bit<8>            protocol;
    bool              is_extended;
    ipv6_extensions_t extensions;
    ipv6_chain_t      chain;
    bit<1>            from_wire;
    PNA_MeterColor_t  color;
}

parser FilterParser(packet_in pkt, out network_headers_t h, inout metadata_t m,
                    in pna_main_parser_input_metadata_t istd) {
    state start {
        NetworkParser.apply(pkt, h, m.network);
        transition select(h.ipv6.isValid(), h.ipv6.next_header) {
            (true, PROTO_HOP_BY_HOP): extensions;
            (true, PROTO_ROUTING): extensions;
            (true, PROTO_FRAGMENT): extensions;
            (true, PROTO_AUTHENTICATION): extensions;
            (true, PROTO_DESTINATION): extensions;
            default: accept;
        }
    }
    state extensions {
        m.is_extended = true;
        Ipv6ExtensionsParser.apply(pkt, h.ipv6.next_header, m.extensions, m.chain);
        transition select(m.chain.is_later_fragment, m.chain.protocol) {
            (0, PROTO_TCP): tcp;
            (0, PROTO_UDP): udp;
            default: accept;
        }
    }
    state tcp {
        pkt.extract(h.tcp);
        m.network.src_port = h.tcp.src_port;
        m.network.dst_port = h.tcp.dst_port;
        transition accept;
    }
    state udp {
        pkt.extract(h.udp);
        m.network.src_port = h.udp.src_port;
        m.network.dst_port = h.udp.dst_port;
        transition accept;
    }
}

control FilterControl(inout network_headers_t h, inout metadata_t m, in pna_main_input_metadata_t istd,
                      inout pna_main_output_metadata_t ostd) {
    DirectCounter<bit<64>>(PNA_CounterType_t.PACKETS_AND_BYTES) rules4;
    DirectCounter<bit<64>>(PNA_CounterType_t.PACKETS_AND_BYTES) rules6;
    Meter<bit<10>>(1024, PNA_MeterType_t.BYTES) policers;
    // Packets that a policer let through, by its index, and those that it dropped.
    Counter<bit<64>, bit<10>>(1024, PNA_CounterType_t.PACKETS) conforming;
    Counter<bit<64>, bit<10>>(1024, PNA_CounterType_t.PACKETS) exceeding;
    Counter<bit<64>, bit<1>>(1, PNA_CounterType_t.PACKETS) malformed;

    action permit() {
        send_to_port(ADIT_PORT_SWITCH);
    }
    action deny() {
        drop_packet();
    }
    // Permits what conforms to the meter of that index, green or yellow.
    action police(bit<10> meter) {
        m.color = policers.execute(meter);
        if (m.color == PNA_MeterColor_t.RED) {
            exceeding.count(meter);
            drop_packet();
        } else {
            conforming.count(meter);
            send_to_port(ADIT_PORT_SWITCH);
        }
    }

    table ipv4_rules {
        key = {
            m.from_wire: ternary;
            istd.input_port: ternary;
            h.ipv4.src: ternary;
            h.ipv4.dst: ternary;
            h.ipv4.protocol: ternary;
            m.network.is_later_fragment: ternary;
            m.network.src_port: range;
            m.network.dst_port: range;
            h.tcp.flags: ternary;
        }
        actions = { permit; deny; police; }
        default_action = permit();
        pna_direct_counter = rules4;
        size = 16384;
#ifdef IPV4_RULE_ENTRIES
        entries = { IPV4_RULE_ENTRIES }
#endif
    }
    table ipv6_rules {
        key = {
            m.from_wire: ternary;
            istd.input_port: ternary;
            h.ipv6.src: ternary;
            h.ipv6.dst: ternary;
            m.protocol: ternary @name("h.ipv6.next_header");
            m.network.src_port: range;
            m.network.dst_port: range;
            h.tcp.flags: ternary;
            // The number of a fragment header is no protocol. Later fragments have no ports.
            m.chain.is_fragment: ternary;
            m.chain.is_later_fragment: ternary;
        }
        actions = { permit; deny; police; }
        default_action = permit();
        pna_direct_counter = rules6;
        size = 16384;
    }

    apply {
        m.from_wire = (bit<1>) is_net_port(istd.input_port);
        // What is behind the end of the datagram, such as a frame's padding, is no header of it. The
        // length of a jumbogram (RFC 2675) is in its hop-by-hop options.
        bit<16> transport = h.tcp.isValid() ? 16w20 : (h.udp.isValid() ? 16w8 : 0);
        bool is_truncated = h.ipv4.isValid() && h.ipv4.total_len < ((bit<16>) h.ipv4.ihl << 2) + transport
            || h.ipv6.isValid() && h.ipv6.payload_len < m.chain.length + transport
                && (h.ipv6.payload_len != 0 || h.ipv6.next_header != PROTO_HOP_BY_HOP);
        if (istd.parser_error != error.NoError || is_truncated) {
            malformed.count(0);
            drop_packet();
        } else if (h.ipv4.isValid()) {
            ipv4_rules.apply();
            rules4.count();
        } else if (h.ipv6.isValid()) {
            m.protocol = m.is_extended ? m.chain.protocol : h.ipv6.next_header;
            ipv6_rules.apply();
            rules6.count();
        } else {
            permit();
        }
    }
}

control FilterDeparser(packet_out pkt, in network_headers_t h, in metadata_t m,
                       in pna_main_output_metadata_t ostd) {
    apply {
        pkt.emit(h.ethernet);
        pkt.emit(h.vlan);
        pkt.emit(h.ipv4);
        pkt.emit(h.ipv4_options);
        pkt.emit(h.ipv6);
        if (m.is_extended) {
            pkt.emit(m.extensions);
        }
        pkt.emit(h.tcp);
        pkt.emit(h.udp);
    }
}

PNA_NIC(FilterParser(), FilterControl(), FilterDeparser()) main;
