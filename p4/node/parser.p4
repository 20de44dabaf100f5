// SPDX-License-Identifier: Apache-2.0 OR MIT
// The parser and the deparser of the node's program (k8s_node.p4).

parser NodeParser(packet_in pkt, out headers_t h, inout metadata_t m,
                  in pna_main_parser_input_metadata_t istd) {
    // UDP ports of QUIC servers other than 443.
    value_set<bit<16>>(16) quic_ports;

    state start {
        m.length = (bit<16>) pkt.length();
        transition select(istd.recirculated) {
            true: bridge;
            default: network;
        }
    }
    state bridge {
        pkt.extract(h.bridge);
        transition network;
    }
    state network {
        NetworkParser.apply(pkt, h.network, m.network);
        transition select(h.network.tcp.isValid(), h.network.udp.isValid(), h.network.udp.dst_port) {
            (true, _, _): accept;
            (_, true, PORT_VXLAN): tunnel;
            (_, true, PORT_GENEVE): tunnel;
            (_, true, PORT_HTTPS): quic;
            (_, true, quic_ports): quic;
            (_, true, _): accept;
            default: others;
        }
    }

    // Tunnels begin at wires; what a virtual port sends, or was in a tunnel already, is payload.
    state tunnel {
        transition select(is_net_port(istd.input_port), istd.recirculated, h.network.udp.dst_port) {
            (true, false, PORT_VXLAN): vxlan;
            (true, false, PORT_GENEVE): geneve;
            default: accept;
        }
    }
    state vxlan {
        pkt.extract(h.vxlan);
        m.is_tunnel = h.vxlan.flags & 0x08 != 0;
        m.vni = h.vxlan.vni;
        transition accept;
    }
    state geneve {
        pkt.extract(h.geneve);
        pkt.extract(h.geneve_options, (bit<32>) h.geneve.options_len * 32);
        m.is_tunnel = h.geneve.version == 0 && h.geneve.is_control == 0 && h.geneve.is_critical == 0
            && h.geneve.protocol == ETHERTYPE_TEB;
        m.vni = h.geneve.vni;
        transition accept;
    }

    state quic {
        m.is_payload_reached = true;
        QuicParser.apply(pkt, m.quic);
        transition accept;
    }

    state others {
        transition select(h.network.ipv4.isValid(), h.network.ipv6.isValid()) {
            (true, _): ipv4_others;
            (_, true): ipv6_others;
            default: no_ip;
        }
    }
    state no_ip {
        transition select(h.network.vlan.isValid(), h.network.ethernet.ether_type,
                          h.network.vlan.ether_type) {
            (false, ETHERTYPE_ARP, _): arp;
            (true, _, ETHERTYPE_ARP): arp;
            default: accept;
        }
    }
    state arp {
        pkt.extract(h.arp);
        transition accept;
    }
    state ipv4_others {
        transition select(m.network.is_later_fragment, h.network.ipv4.protocol) {
            (0, PROTO_SCTP): sctp;
            default: accept;
        }
    }
    state ipv6_others {
        transition select(h.network.ipv6.next_header) {
            PROTO_SCTP: sctp;
            PROTO_ICMPV6: icmpv6;
            PROTO_HOP_BY_HOP: extensions;
            PROTO_ROUTING: extensions;
            PROTO_FRAGMENT: extensions;
            PROTO_AUTHENTICATION: extensions;
            PROTO_DESTINATION: extensions;
            default: accept;
        }
    }
    // A later fragment has no ports. Tunnels do not begin here: their peers send no extension headers.
    state extensions {
        m.is_extended = true;
        Ipv6ExtensionsParser.apply(pkt, h.network.ipv6.next_header, h.extensions, m.chain);
        m.network.is_later_fragment = m.chain.is_later_fragment;
        transition select(m.network.is_later_fragment, m.chain.protocol) {
            (0, PROTO_TCP): tcp;
            (0, PROTO_UDP): udp;
            (0, PROTO_SCTP): sctp;
            (0, PROTO_ICMPV6): extended_icmpv6;
            default: accept;
        }
    }
    state tcp {
        pkt.extract(h.network.tcp);
        m.network.src_port = h.network.tcp.src_port;
        m.network.dst_port = h.network.tcp.dst_port;
        transition accept;
    }
    state udp {
        pkt.extract(h.network.udp);
        m.network.src_port = h.network.udp.src_port;
        m.network.dst_port = h.network.udp.dst_port;
        transition select(h.network.udp.dst_port) {
            PORT_HTTPS: quic;
            quic_ports: quic;
            default: accept;
        }
    }
    // Multicast listeners' messages come behind hop-by-hop options (the router alert). Solicitations are not
    // answered here.
    state extended_icmpv6 {
        transition select(pkt.lookahead<bit<8>>()) {
            130 .. 137: untracked;
            143: untracked;
            default: accept;
        }
    }
    state sctp {
        pkt.extract(h.sctp);
        m.network.src_port = h.sctp.src_port;
        m.network.dst_port = h.sctp.dst_port;
        transition accept;
    }
    // Multicast listeners and neighbor discovery (RFC 2710, 3810, 4861) have no connections.
    state icmpv6 {
        transition select(pkt.lookahead<bit<8>>(), h.network.ipv6.payload_len) {
            (ICMPV6_NEIGHBOR_SOLICITATION, 24): solicitation;
            (ICMPV6_NEIGHBOR_SOLICITATION, 32): solicitation_with_address;
            (130 .. 137, _): untracked;
            (143, _): untracked;
            default: accept;
        }
    }
    state solicitation {
        pkt.extract(h.neighbor);
        m.is_solicitation = true;
        transition untracked;
    }
    state solicitation_with_address {
        pkt.extract(h.neighbor);
        pkt.extract(h.link_address);
        // Options of other types are not looked at, such as a probe's nonce (RFC 7527).
        m.is_solicitation = h.link_address.length == 1;
        transition untracked;
    }
    state untracked {
        m.is_untracked = true;
        transition accept;
    }
}

control NodeDeparser(packet_out pkt, in headers_t h, in metadata_t m,
                     in pna_main_output_metadata_t ostd) {
    apply {
        pkt.emit(h.bridge);
        if (h.outer_ethernet.isValid()) {
            pkt.emit(h.outer_ethernet);
            pkt.emit(h.outer_ipv4);
            pkt.emit(h.outer_ipv6);
            pkt.emit(h.outer_udp);
            pkt.emit(h.outer_vxlan);
            pkt.emit(h.outer_geneve);
        }
        pkt.emit(h.network.ethernet);
        pkt.emit(h.network.vlan);
        pkt.emit(h.network.ipv4);
        pkt.emit(h.network.ipv4_options);
        pkt.emit(h.network.ipv6);
        if (h.extensions.first.isValid()) {
            pkt.emit(h.extensions);
        }
        pkt.emit(h.network.tcp);
        pkt.emit(h.network.udp);
        pkt.emit(h.sctp);
        pkt.emit(h.arp);
        pkt.emit(h.neighbor);
        pkt.emit(h.link_address);
        pkt.emit(h.vxlan);
        pkt.emit(h.geneve);
        pkt.emit(h.geneve_options);
    }
}
