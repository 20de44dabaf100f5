// SPDX-License-Identifier: Apache-2.0 OR MIT
// Where packets go: pods of this node, routes, next hops, tunnels. A part of NodeControl.

// The address of a pod on this node: the virtual port's number is ADIT_FIRST_HOST_PORT and the
// vport's id; `mac` is the pod's address, `gateway_mac` the one that it knows its gateway by.
action deliver(PortId_t port, mac_t mac, mac_t gateway_mac) {
    m.is_pod = true;
    m.port = port;
    m.dst_mac = mac;
    m.src_mac = gateway_mac;
}
// An address of the host's own stack: to the NIC's layer 2 stage, with that destination.
action host(mac_t mac) {
    m.dst_mac = mac;
    m.is_host = true;
}
table local {
    key = {
        m.zone: exact @name("zone");
        m.to: exact @name("address");
    }
    actions = { deliver; host; @defaultonly NoAction; }
    const default_action = NoAction();
    size = 65536;
}

// The address of this node from which errors of the router come that go to a network: hops that are
// used up, packets that are too big. Without one there are no errors.
action error_source(ipv6_t address) {
    m.error_source = address;
}
table error_sources {
    key = {
        m.zone: exact @name("zone");
        m.src: lpm @name("receiver");
    }
    actions = { error_source; @defaultonly NoAction; }
    const default_action = NoAction();
    size = 1024;
}

// The MTU on the way to a next hop: the largest packet, from its IP header on. That of a tunnel is its
// link's without the outer headers. Packets that may be fragmented are, in front of a tunnel's headers.
@action_restriction("
    // IPv6's least MTU (RFC 8200, 5), below which nothing is compared.
    bytes >= 1280;
")
action mtu(bit<16> bytes) {
    m.mtu = bytes;
}
table mtus {
    key = { m.nexthop: exact @name("nexthop"); }
    actions = { mtu; @defaultonly NoAction; }
    const default_action = NoAction();
    size = 65536;
}

action set_nexthop(bit<32> nexthop) {
    m.nexthop = nexthop;
}
action set_ecmp(bit<32> group) {
    m.ecmp = group;
}
action unreachable() {
    m.routed = VERDICT_NO_ROUTE;
    m.is_refused = true;
}
action no_route() {
    m.routed = VERDICT_NO_ROUTE;
}
table ipv4_routes {
    key = {
        m.zone: exact @name("zone");
        m.to[31:0]: lpm @name("dst");
    }
    actions = { set_nexthop; set_ecmp; host; unreachable; @defaultonly no_route; }
    default_action = no_route();
    pna_direct_counter = routes4;
    size = 65536;
}
table ipv6_routes {
    key = {
        m.zone: exact @name("zone");
        m.to: lpm @name("dst");
    }
    actions = { set_nexthop; set_ecmp; host; unreachable; @defaultonly no_route; }
    default_action = no_route();
    pna_direct_counter = routes6;
    size = 65536;
}

// A flow has one of the next hops of a group.
ActionSelector(PNA_HashAlgorithm_t.CRC32, 65536, 32) ecmp_members;
table ecmp {
    key = {
        m.ecmp: exact @name("group");
        m.src: selector;
        m.to: selector;
        m.protocol: selector;
        m.network.src_port: selector;
        m.to_port: selector;
    }
    actions = { set_nexthop; @defaultonly no_route; }
    const default_action = no_route();
    pna_implementation = ecmp_members;
    size = 4096;
}

// `vid`: the VLAN; 0 for none.
action forward(mac_t src_mac, mac_t dst_mac, bit<12> vid, PortId_t port) {
    m.vid = vid;
    m.src_mac = src_mac;
    m.dst_mac = dst_mac;
    m.port = port;
}
action forward_lag(mac_t src_mac, mac_t dst_mac, bit<12> vid, bit<32> lag) {
    m.vid = vid;
    m.src_mac = src_mac;
    m.dst_mac = dst_mac;
    m.lag = lag;
}
// Through a tunnel over IPv4 or IPv6 to another node: the addresses of the inner frame, then those of the
// outer one.
action tunnel(encap_t encap, mac_t src_mac, mac_t dst_mac, bit<24> vni, mac_t outer_src_mac,
              mac_t outer_dst_mac, PortId_t port) {
    m.encap = encap;
    m.src_mac = src_mac;
    m.dst_mac = dst_mac;
    m.encap_vni = vni;
    m.encap_src_mac = outer_src_mac;
    m.encap_dst_mac = outer_dst_mac;
    m.port = port;
}
action vxlan(mac_t src_mac, mac_t dst_mac, bit<24> vni, ipv4_t outer_src, ipv4_t outer_dst,
             mac_t outer_src_mac, mac_t outer_dst_mac, PortId_t port) {
    tunnel(ENCAP_VXLAN, src_mac, dst_mac, vni, outer_src_mac, outer_dst_mac, port);
    m.encap_src = (ipv6_t) outer_src;
    m.encap_dst = (ipv6_t) outer_dst;
}
action geneve(mac_t src_mac, mac_t dst_mac, bit<24> vni, ipv4_t outer_src, ipv4_t outer_dst,
              mac_t outer_src_mac, mac_t outer_dst_mac, PortId_t port) {
    tunnel(ENCAP_GENEVE, src_mac, dst_mac, vni, outer_src_mac, outer_dst_mac, port);
    m.encap_src = (ipv6_t) outer_src;
    m.encap_dst = (ipv6_t) outer_dst;
}
action vxlan6(mac_t src_mac, mac_t dst_mac, bit<24> vni, ipv6_t outer_src, ipv6_t outer_dst,
              mac_t outer_src_mac, mac_t outer_dst_mac, PortId_t port) {
    tunnel(ENCAP_VXLAN, src_mac, dst_mac, vni, outer_src_mac, outer_dst_mac, port);
    m.is_encap6 = true;
    m.encap_src = outer_src;
    m.encap_dst = outer_dst;
}
action geneve6(mac_t src_mac, mac_t dst_mac, bit<24> vni, ipv6_t outer_src, ipv6_t outer_dst,
               mac_t outer_src_mac, mac_t outer_dst_mac, PortId_t port) {
    tunnel(ENCAP_GENEVE, src_mac, dst_mac, vni, outer_src_mac, outer_dst_mac, port);
    m.is_encap6 = true;
    m.encap_src = outer_src;
    m.encap_dst = outer_dst;
}
// The control plane gets the packet, which it may answer with an entry.
action no_nexthop() {
    m.routed = VERDICT_NO_NEXTHOP;
}
table nexthops {
    key = { m.nexthop: exact @name("id"); }
    actions = { forward; forward_lag; vxlan; geneve; vxlan6; geneve6; no_nexthop; }
    default_action = no_nexthop();
    pna_direct_counter = hops;
    size = 65536;
}

action member_port(PortId_t port) {
    m.port = port;
}
ActionSelector(PNA_HashAlgorithm_t.CRC32, 1024, 32) lag_members;
table lags {
    key = {
        m.lag: exact @name("id");
        m.src: selector;
        m.to: selector;
        m.protocol: selector;
        m.network.src_port: selector;
        m.to_port: selector;
    }
    actions = { member_port; @defaultonly no_route; }
    const default_action = no_route();
    pna_implementation = lag_members;
    size = 64;
}

// Has the packet leave in fragments for its next hop.
action divide() {
    if (m.encap != ENCAP_NONE) {
        bit<16> outer = m.is_encap6 ? ENCAP6_BYTES : ENCAP_BYTES;
        fragment_packet(m.mtu, outer + ETHERNET_BYTES);
    } else if (m.vid != 0) {
        fragment_packet(m.mtu, ETHERNET_BYTES + VLAN_BYTES);
    } else {
        fragment_packet(m.mtu, ETHERNET_BYTES);
    }
}

// RFC 1624: what changes is taken away and added, the rest of the header is not looked at.
action age_ipv4() {
    checksum.set_state(~h.network.ipv4.checksum);
    checksum.subtract({ h.network.ipv4.ttl, h.network.ipv4.protocol });
    h.network.ipv4.ttl = h.network.ipv4.ttl - 1;
    checksum.add({ h.network.ipv4.ttl, h.network.ipv4.protocol });
    h.network.ipv4.checksum = checksum.get();
}

// A packet that routers of a tunnel have marked stays marked, or is dropped: otherwise the sender would not slow down
// (RFC 6040, 4.2).
action mark(bit<2> ecn) {
    if (h.network.ipv4.isValid()) {
        checksum.set_state(~h.network.ipv4.checksum);
        checksum.subtract({ h.network.ipv4.version, h.network.ipv4.ihl, h.network.ipv4.dscp_ecn });
        h.network.ipv4.dscp_ecn = h.network.ipv4.dscp_ecn & 0xfc | (bit<8>) ecn;
        checksum.add({ h.network.ipv4.version, h.network.ipv4.ihl, h.network.ipv4.dscp_ecn });
        h.network.ipv4.checksum = checksum.get();
    } else {
        h.network.ipv6.traffic_class = h.network.ipv6.traffic_class & 0xfc | (bit<8>) ecn;
    }
}

// The outer headers. The source port, and the flow label of IPv6, are made of the flow, so that routers
// between spread flows (RFC 7348, 5; RFC 6438). There is no UDP checksum: what the tunnel carries has its own,
// and the other end takes packets from addresses that it knows only (RFC 6935, RFC 6936, 5). Routers may mark
// them if they may mark what is inside (RFC 6040, 4.1).
action encapsulate(bit<16> port) {
    bit<16> src_port = entropy.get_hash(16w0xc000,
        { m.src, m.dst, m.protocol, m.network.src_port, m.network.dst_port }, 16w0x4000);
    bit<16> length = 8 + 8 + m.length;
    bit<8> ecn = 3 & (h.network.ipv4.isValid() ? h.network.ipv4.dscp_ecn
                                               : h.network.ipv6.traffic_class);
    h.outer_ethernet.setValid();
    if (m.is_encap6) {
        h.outer_ethernet = { m.encap_dst_mac, m.encap_src_mac, ETHERTYPE_IPV6 };
        h.outer_ipv6.setValid();
        h.outer_ipv6 = { 6, ecn, 4w0 ++ src_port, length, PROTO_UDP, 64, m.encap_src, m.encap_dst };
    } else {
        h.outer_ethernet = { m.encap_dst_mac, m.encap_src_mac, ETHERTYPE_IPV4 };
        h.outer_ipv4.setValid();
        h.outer_ipv4 = { 4, 5, ecn, 20 + length, 0, 2, 0, 64, PROTO_UDP, 0, m.encap_src[31:0],
                         m.encap_dst[31:0] };
        checksum.clear();
        checksum.add(h.outer_ipv4);
        h.outer_ipv4.checksum = checksum.get();
    }
    h.outer_udp.setValid();
    h.outer_udp = { src_port, port, length, 0 };
}
