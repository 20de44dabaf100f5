// SPDX-License-Identifier: Apache-2.0 OR MIT
// Ethernet in UDP over IPv4. What is between UDP and the inner Ethernet header, the programs say
// that include this: TUNNEL_PORT, TUNNEL_BYTES, tunnel_t, TunnelParser, make_tunnel and
// remove_tunnel.
//
// From virtual ports: by port and destination address frames go into a tunnel, or to the layer 2
// stage. From wires: what is for an endpoint and network that has an entry comes out of its tunnel.

struct headers_t {
    // Around a tunnel, or of what came from a wire and is in none.
    ethernet_h        outer_ethernet;
    vlan_h            outer_vlan;
    ipv4_h            outer_ipv4;
    udp_h             outer_udp;
    tunnel_t          tunnel;
    // In a tunnel, or what a virtual port sends.
    network_headers_t inner;
}

struct metadata_t {
    network_t network;
    bit<16>   length;
    bit<24>   vni;
    bool      is_tunnel;
}

parser EndpointParser(packet_in pkt, out headers_t h, inout metadata_t m,
                      in pna_main_parser_input_metadata_t istd) {
    state start {
        m.length = (bit<16>) pkt.length();
        transition select(is_net_port(istd.input_port)) {
            true: from_wire;
            default: from_host;
        }
    }
    state from_host {
        NetworkParser.apply(pkt, h.inner, m.network);
        transition accept;
    }
    state from_wire {
        pkt.extract(h.outer_ethernet);
        transition select(h.outer_ethernet.ether_type) {
            ETHERTYPE_VLAN: vlan;
            ETHERTYPE_IPV4: ipv4;
            default: accept;
        }
    }
    state vlan {
        pkt.extract(h.outer_vlan);
        transition select(h.outer_vlan.ether_type) {
            ETHERTYPE_IPV4: ipv4;
            default: accept;
        }
    }
    state ipv4 {
        pkt.extract(h.outer_ipv4);
        // Neither fragments nor options: an endpoint's peers send none (RFC 7348, 4.3).
        transition select(h.outer_ipv4.version, h.outer_ipv4.ihl, h.outer_ipv4.flags[0:0],
                          h.outer_ipv4.fragment_offset, h.outer_ipv4.protocol) {
            (4, 5, 0, 0, PROTO_UDP): udp;
            default: accept;
        }
    }
    state udp {
        pkt.extract(h.outer_udp);
        transition select(h.outer_udp.dst_port) {
            TUNNEL_PORT: tunnel;
            default: accept;
        }
    }
    state tunnel {
        m.is_tunnel = true;
        TunnelParser.apply(pkt, h.tunnel, m.vni);
        pkt.extract(h.inner.ethernet);
        transition accept;
    }
}

control EndpointControl(inout headers_t h, inout metadata_t m, in pna_main_input_metadata_t istd,
                        inout pna_main_output_metadata_t ostd) {
    DirectCounter<bit<64>>(PNA_CounterType_t.PACKETS_AND_BYTES) encapsulated;
    DirectCounter<bit<64>>(PNA_CounterType_t.PACKETS_AND_BYTES) decapsulated;
    Counter<bit<64>, bit<1>>(1, PNA_CounterType_t.PACKETS) malformed;
    InternetChecksum() checksum;
    Hash<bit<16>>(PNA_HashAlgorithm_t.CRC16) entropy;

    action drop() {
        drop_packet();
    }
    action pass() {
        send_to_port(ADIT_PORT_SWITCH);
    }

    // The source port is made of the flow, so that routers between spread flows (RFC 7348, 5).
    action encapsulate(bit<24> vni, ipv4_t src, ipv4_t dst, mac_t src_mac, mac_t dst_mac,
                       PortId_t port) {
        bit<16> src_port = entropy.get_hash(16w0xc000,
            { h.inner.ethernet.src, h.inner.ethernet.dst, h.inner.ipv4.src, h.inner.ipv4.dst,
              h.inner.ipv6.src, h.inner.ipv6.dst, m.network.src_port, m.network.dst_port },
            16w0x4000);
        h.outer_ethernet.setValid();
        h.outer_ethernet = { dst_mac, src_mac, ETHERTYPE_IPV4 };
        h.outer_ipv4.setValid();
        h.outer_ipv4 = { 4, 5, 0, 20 + 8 + TUNNEL_BYTES + m.length, 0, 2, 0, 64, PROTO_UDP, 0,
                         src, dst };
        checksum.clear();
        checksum.add(h.outer_ipv4);
        h.outer_ipv4.checksum = checksum.get();
        h.outer_udp.setValid();
        h.outer_udp = { src_port, TUNNEL_PORT, 8 + TUNNEL_BYTES + m.length, 0 };
        make_tunnel(h.tunnel, vni);
        send_to_port(port);
    }
    table encap {
        key = {
            istd.input_port: exact;
            h.inner.ethernet.dst: exact;
        }
        actions = { encapsulate; pass; drop; }
        default_action = pass();
        pna_direct_counter = encapsulated;
        size = 65536;
#ifdef ENCAP_ENTRIES
        entries = { ENCAP_ENTRIES }
#endif
    }

    // The inner frame goes on, to a port or to ADIT_PORT_SWITCH.
    action decapsulate(PortId_t port) {
        h.outer_ethernet.setInvalid();
        h.outer_vlan.setInvalid();
        h.outer_ipv4.setInvalid();
        h.outer_udp.setInvalid();
        remove_tunnel(h.tunnel);
        send_to_port(port);
    }
    table decap {
        key = {
            h.outer_ipv4.dst: exact;
            m.vni: exact;
        }
        actions = { decapsulate; pass; drop; }
        default_action = pass();
        pna_direct_counter = decapsulated;
        size = 65536;
#ifdef DECAP_ENTRIES
        entries = { DECAP_ENTRIES }
#endif
    }

    apply {
        if (m.is_tunnel && istd.parser_error == error.NoError) {
            checksum.clear();
            checksum.add(h.outer_ipv4);
            if (checksum.get() == 0) {
                decap.apply();
                decapsulated.count();
            } else {
                malformed.count(0);
                drop();
            }
        } else if (istd.parser_error != error.NoError) {
            malformed.count(0);
            drop();
        } else if (h.inner.ethernet.isValid()) {
            encap.apply();
            encapsulated.count();
        } else {
            pass();
        }
    }
}

control EndpointDeparser(packet_out pkt, in headers_t h, in metadata_t m,
                         in pna_main_output_metadata_t ostd) {
    apply { pkt.emit(h); }
}
