// SPDX-License-Identifier: Apache-2.0 OR MIT
// Addresses that the node owns: ARP and neighbor discovery are answered here. A part of
// NodeControl.

// Of a gateway or a pod: answered with that MAC address.
action answer(mac_t mac) {
    m.dst_mac = mac;
}
// Of a service: answered too, and new connections to none of its ports are refused.
action service_address(mac_t mac) {
    m.dst_mac = mac;
    m.is_service = true;
}
// Of a service whose routes others announce: only what it has no port for is refused.
action silent_service_address() {
    m.is_service = true;
}
// For ARP and neighbor discovery the target, for a new connection the destination.
table addresses {
    key = {
        m.zone: exact @name("zone");
        m.to: exact @name("address");
    }
    actions = { answer; service_address; silent_service_address; @defaultonly NoAction; }
    default_action = NoAction();
    size = 131072;
}

// RFC 826: what asked is answered, sender and target change places.
action answer_arp() {
    h.network.ethernet.dst = h.arp.sender_mac;
    h.network.ethernet.src = m.dst_mac;
    h.arp.operation = 2;
    h.arp.target_mac = h.arp.sender_mac;
    ipv4_t asked = h.arp.target;
    h.arp.target = h.arp.sender;
    h.arp.sender_mac = m.dst_mac;
    h.arp.sender = asked;
}

// RFC 4861, 7.1.1: others are not answered. What a router has passed on comes from another link.
action check_solicitation() {
    checksum.clear();
    checksum.add({ h.network.ipv6.src, h.network.ipv6.dst, 16w0, h.network.ipv6.payload_len, 24w0,
                   PROTO_ICMPV6, h.neighbor });
    if (h.link_address.isValid()) { checksum.add(h.link_address); }
    // A host without an address asks a group, and has no option with its MAC address.
    bool is_probe = h.network.ipv6.src == 0;
    m.is_solicitation = h.network.ipv6.hop_limit == 255 && h.neighbor.code == 0 && checksum.get() == 0
        && !(is_probe && (h.link_address.isValid() && h.link_address.type == 1
                          || h.network.ipv6.dst[127:24] != 0xff0200000000000000000001ff));
}

// RFC 4861, 7.2.4: to the source, or to all nodes if it has no address yet.
action answer_solicitation() {
    bool has_address = h.network.ipv6.src != 0;
    h.network.ethernet.dst = has_address ? h.network.ethernet.src : 0x333300000001;
    h.network.ethernet.src = m.dst_mac;
    h.network.ipv6.dst = has_address ? h.network.ipv6.src : 0xff020000000000000000000000000001;
    h.network.ipv6.src = h.neighbor.target;
    h.network.ipv6.payload_len = 32;
    h.neighbor.type = ICMPV6_NEIGHBOR_ADVERTISEMENT;
    h.neighbor.flags = has_address ? 3w0b111 : 3w0b101;
    h.link_address.setValid();
    h.link_address = { 2, 1, m.dst_mac };
    checksum.clear();
    checksum.add({ h.network.ipv6.src, h.network.ipv6.dst, 32w32, 24w0, PROTO_ICMPV6 });
    checksum.add({ h.neighbor.type, h.neighbor.code, h.neighbor.flags, h.neighbor.reserved,
                   h.neighbor.target, h.link_address });
    h.neighbor.checksum = checksum.get();
}
