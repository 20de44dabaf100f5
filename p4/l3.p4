// SPDX-License-Identifier: Apache-2.0 OR MIT
// A router: the longest prefix leads to a next hop, or to a group of them of which each flow has
// one. The next hop says which addresses a frame gets and by which port it leaves.

#include <adit.p4>
#include <adit_headers.p4>

typedef bit<16> group_t;
typedef bit<16> nexthop_t;

struct metadata_t {
    network_t network;
    group_t   group;
    nexthop_t nexthop;
    bool      is_routed;
}

parser RouterParser(packet_in pkt, out network_headers_t h, inout metadata_t m,
                    in pna_main_parser_input_metadata_t istd) {
    state start {
        NetworkParser.apply(pkt, h, m.network);
        transition accept;
    }
}

control RouterControl(inout network_headers_t h, inout metadata_t m, in pna_main_input_metadata_t istd,
                      inout pna_main_output_metadata_t ostd) {
    DirectCounter<bit<64>>(PNA_CounterType_t.PACKETS_AND_BYTES) routes4;
    DirectCounter<bit<64>>(PNA_CounterType_t.PACKETS_AND_BYTES) routes6;
    // Packets that ended here: 0 no route, 1 time to live, 2 malformed.
    Counter<bit<64>, bit<2>>(3, PNA_CounterType_t.PACKETS) dropped;
    InternetChecksum() checksum;

    action drop() {
        m.is_routed = false;
        drop_packet();
    }
    // For the stack behind the NIC: packets to addresses of its own.
    action local() {
        send_to_port(ADIT_PORT_SWITCH);
    }
    action set_nexthop(nexthop_t nexthop) {
        m.nexthop = nexthop;
        m.is_routed = true;
    }
    action set_group(group_t group) {
        m.group = group;
        m.is_routed = true;
    }
    action no_route() {
        m.is_routed = false;
        dropped.count(0);
        drop_packet();
    }

    table ipv4_routes {
        key = { h.ipv4.dst: lpm; }
        actions = { set_nexthop; set_group; local; drop; @defaultonly no_route; }
        default_action = no_route();
        pna_direct_counter = routes4;
        size = 1048576;
#ifdef IPV4_ROUTE_ENTRIES
        entries = { IPV4_ROUTE_ENTRIES }
#endif
    }
    table ipv6_routes {
        key = { h.ipv6.dst: lpm; }
        actions = { set_nexthop; set_group; local; drop; @defaultonly no_route; }
        default_action = no_route();
        pna_direct_counter = routes6;
        size = 1048576;
    }

    ActionSelector(PNA_HashAlgorithm_t.CRC32, 65536, 16) members;
    table groups {
        key = {
            m.group: exact;
            h.ipv4.src: selector;
            h.ipv4.dst: selector;
            h.ipv4.protocol: selector;
            h.ipv6.src: selector;
            h.ipv6.dst: selector;
            h.ipv6.next_header: selector;
            m.network.src_port: selector;
            m.network.dst_port: selector;
        }
        actions = { set_nexthop; drop; @defaultonly no_route; }
        default_action = no_route();
        pna_implementation = members;
        size = 65536;
    }

    action forward(mac_t src, mac_t dst, PortId_t port) {
        h.ethernet.src = src;
        h.ethernet.dst = dst;
        send_to_port(port);
    }
    table nexthops {
        key = { m.nexthop: exact; }
        actions = { forward; drop; @defaultonly no_route; }
        default_action = no_route();
        size = 65536;
#ifdef NEXTHOP_ENTRIES
        entries = { NEXTHOP_ENTRIES }
#endif
    }

    // RFC 1624: what changes is taken away and added, the rest of the header is not looked at.
    action age_ipv4() {
        checksum.set_state(~h.ipv4.checksum);
        checksum.subtract({ h.ipv4.ttl, h.ipv4.protocol });
        h.ipv4.ttl = h.ipv4.ttl - 1;
        checksum.add({ h.ipv4.ttl, h.ipv4.protocol });
        h.ipv4.checksum = checksum.get();
    }

    apply {
        if (istd.parser_error != error.NoError) {
            dropped.count(2);
            drop_packet();
        } else if (h.ipv4.isValid()) {
            ipv4_routes.apply();
            routes4.count();
        } else if (h.ipv6.isValid()) {
            ipv6_routes.apply();
            routes6.count();
        } else {
            // ARP and the like.
            send_to_port(ADIT_PORT_SWITCH);
        }
        if (m.is_routed) {
            if (h.ipv4.isValid() && h.ipv4.ttl <= 1 || h.ipv6.isValid() && h.ipv6.hop_limit <= 1) {
                dropped.count(1);
                drop_packet();
            } else {
                if (m.group != 0) { groups.apply(); }
                if (m.is_routed && nexthops.apply().hit) {
                    if (h.ipv4.isValid()) { age_ipv4(); } else { h.ipv6.hop_limit = h.ipv6.hop_limit - 1; }
                }
            }
        }
    }
}

control RouterDeparser(packet_out pkt, in network_headers_t h, in metadata_t m,
                       in pna_main_output_metadata_t ostd) {
    apply { pkt.emit(h); }
}

PNA_NIC(RouterParser(), RouterControl(), RouterDeparser()) main;
