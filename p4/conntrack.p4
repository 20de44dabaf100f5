// SPDX-License-Identifier: Apache-2.0 OR MIT
// A stateful packet filter with translation: trusted ports may open connections; packets from other
// ports pass if they belong to a known connection, are related to one, or open one of a service.
// What passes goes on to the layer 2 stage.

#include <adit.p4>
#include <adit_headers.p4>

// The number of connections.
#ifndef CONNECTIONS
#define CONNECTIONS 16384
#endif

// The length of an Ethernet header, and of a VLAN tag.
const bit<16> ETHERNET_BYTES = 14;
const bit<16> VLAN_BYTES = 4;
const bit<8>  PROTO_HOP_BY_HOP = 0; // IPv6 hop-by-hop options (RFC 8200)

// The verdicts, as they are counted.
const bit<4> VERDICT_UNTRACKED = 0;   // neither IPv4 nor IPv6, or IPv6 neighbour discovery: passes
const bit<4> VERDICT_ESTABLISHED = 1; // of a known connection: passes
const bit<4> VERDICT_RELATED = 2;     // an ICMP error, or an expected connection: passes
const bit<4> VERDICT_OPENED = 3;      // opens a connection: passes
const bit<4> VERDICT_REFUSED = 4;     // would open a connection, but may not: dropped
const bit<4> VERDICT_INVALID = 5;     // without a connection: dropped
const bit<4> VERDICT_FRAGMENT = 6;    // dropped: only whole datagrams have a connection
const bit<4> VERDICT_MALFORMED = 7;   // dropped
const bit<4> VERDICT_FULL = 8;        // could not be committed: dropped, see `commits`

struct metadata_t {
    network_t         network;
    bool              is_untracked;
    bit<1>            is_trusted;
    bit<16>           zone;
    ConntrackPacket_t packet;
    ConntrackRange_t  source;
    ConntrackRange_t  destination;
    ConntrackHelper_t helper;
}

parser FirewallParser(packet_in pkt, out network_headers_t h, inout metadata_t m,
                      in pna_main_parser_input_metadata_t istd) {
    state start {
        NetworkParser.apply(pkt, h, m.network);
        transition select(h.ipv6.isValid(), h.ipv6.next_header) {
            (true, PROTO_ICMPV6): icmpv6;
            (true, PROTO_HOP_BY_HOP): hop_by_hop;
            default: accept;
        }
    }
    // Multicast listeners, neighbour discovery (RFC 2710, 3810, 4861): these have no connections.
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
        transition select(pkt.lookahead<bit<8>>()) {
            130 .. 137: untracked;
            143: untracked;
            default: accept;
        }
    }
    state untracked {
        m.is_untracked = true;
        transition accept;
    }
}

control FirewallControl(inout network_headers_t h, inout metadata_t m, in pna_main_input_metadata_t istd,
                        inout pna_main_output_metadata_t ostd) {
    Conntrack(CONNECTIONS) connections;
    Counter<bit<64>, bit<4>>(16, PNA_CounterType_t.PACKETS_AND_BYTES) verdicts;
    // By ConntrackStatus_t.
    Counter<bit<64>, bit<3>>(8, PNA_CounterType_t.PACKETS) commits;

    action pass(bit<4> verdict) {
        verdicts.count(verdict);
        send_to_port(ADIT_PORT_SWITCH);
    }
    action refuse(bit<4> verdict) {
        verdicts.count(verdict);
        drop_packet();
    }

    // Sets the zone of a port, and whether it may open connections: by default, host ports may.
    action port(bit<1> is_trusted, bit<16> zone) {
        m.is_trusted = is_trusted;
        m.zone = zone;
    }
    action by_side() {
        m.is_trusted = (bit<1>) is_host_port(istd.input_port);
    }
    table ports {
        key = { istd.input_port: exact; }
        actions = { port; by_side; }
        default_action = by_side();
        size = 1024;
    }

    // Connections that any port may open, by their destination.
    action allow() {
        m.is_trusted = 1;
    }
    action follow(ConntrackHelper_t helper) {
        m.is_trusted = 1;
        m.helper = helper;
    }
    table services {
        key = {
            m.zone: ternary;
            h.ipv4.dst: ternary;
            h.ipv6.dst: ternary;
            h.ipv4.protocol: ternary;
            h.ipv6.next_header: ternary;
            m.network.dst_port: range;
        }
        actions = { allow; follow; @defaultonly NoAction; }
        default_action = NoAction();
        size = 4096;
#ifdef SERVICE_ENTRIES
        entries = { SERVICE_ENTRIES }
#endif
    }

    // The translation of new connections of IPv4.
    action masquerade(ipv4_t first, ipv4_t last) {
        m.source.first_address = (bit<128>) first;
        m.source.last_address = (bit<128>) last;
        m.source.persistent = true;
    }
    action forward(ipv4_t address, bit<16> port) {
        m.destination.first_address = (bit<128>) address;
        m.destination.first_port = port;
    }
    table translations {
        key = {
            m.zone: ternary;
            istd.input_port: ternary;
            h.ipv4.src: ternary;
            h.ipv4.dst: ternary;
            h.ipv4.protocol: ternary;
            m.network.dst_port: range;
        }
        actions = { masquerade; forward; @defaultonly NoAction; }
        default_action = NoAction();
        size = 4096;
#ifdef TRANSLATION_ENTRIES
        entries = { TRANSLATION_ENTRIES }
#endif
    }

    apply {
        bool is_ip = h.ipv4.isValid() || h.ipv6.isValid();
        if (istd.parser_error != error.NoError) {
            refuse(VERDICT_MALFORMED);
            return;
        }
        if (!is_ip || m.is_untracked) {
            pass(VERDICT_UNTRACKED);
            return;
        }
        if (h.ipv4.isValid() && (h.ipv4.flags & 1 != 0 || h.ipv4.fragment_offset != 0)) {
            refuse(VERDICT_FRAGMENT);
            return;
        }
        ports.apply();
        bit<16> ip_offset = ETHERNET_BYTES;
        if (h.vlan.isValid()) {
            ip_offset = ETHERNET_BYTES + VLAN_BYTES;
        }
        connections.track(ip_offset, m.zone, m.packet);
        if (m.packet.state & ADIT_CT_INVALID != 0) {
            refuse(VERDICT_INVALID);
            return;
        }
        if (m.packet.state & ADIT_CT_NEW == 0) {
            if (m.packet.state & ADIT_CT_RELATED != 0) {
                pass(VERDICT_RELATED);
            } else {
                pass(VERDICT_ESTABLISHED);
            }
            return;
        }
        services.apply();
        bool is_related = m.packet.state & ADIT_CT_RELATED != 0;
        if (m.is_trusted == 0 && !is_related) {
            refuse(VERDICT_REFUSED);
            return;
        }
        if (h.ipv4.isValid()) {
            translations.apply();
        }
        ConntrackStatus_t status = connections.commit(packet = m.packet, source = m.source,
                                                      destination = m.destination, helper = m.helper);
        commits.count((bit<3>) (bit<8>) status);
        if (status != ConntrackStatus_t.COMMITTED) {
            refuse(VERDICT_FULL);
        } else if (is_related) {
            pass(VERDICT_RELATED);
        } else {
            pass(VERDICT_OPENED);
        }
    }
}

control FirewallDeparser(packet_out pkt, in network_headers_t h, in metadata_t m,
                         in pna_main_output_metadata_t ostd) {
    apply { pkt.emit(h); }
}

PNA_NIC(FirewallParser(), FirewallControl(), FirewallDeparser()) main;
