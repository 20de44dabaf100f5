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
            PROTO_HOP_BY_HOP: hop_by_hop;
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
    // Listeners' messages come behind hop-by-hop options of 8 bytes (the router alert).
    state hop_by_hop {
        bit<72> options = pkt.lookahead<bit<72>>();
        transition select(options[71:64], options[63:56], options[7:0]) {
            (PROTO_ICMPV6, 0, 130 .. 132): untracked;
            (PROTO_ICMPV6, 0, 143): untracked;
            default: accept;
        }
    }
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
    apply { pkt.emit(h); }
}
