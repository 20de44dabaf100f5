// SPDX-License-Identifier: Apache-2.0 OR MIT
// Translation of sources of new connections: egress, hairpin and service clients. A part of
// NodeControl.

// Networks of the cluster (pods of all nodes), and others whose packets are not masqueraded.
action cluster() {
    m.network_kind = NETWORK_CLUSTER;
}
action plain() {
    m.network_kind = NETWORK_PLAIN;
}
action outside() {
    m.network_kind = NETWORK_OUTSIDE;
}
table networks {
    key = {
        m.zone: exact @name("zone");
        m.probe: lpm @name("address");
    }
    actions = { cluster; plain; outside; }
    default_action = outside();
    size = 4096;
}

// The addresses and ports to one of which the source is translated. Ports of 0: the source's own
// port remains, unless it is in use.
action masquerade(ipv6_t first_address, ipv6_t last_address, bit<16> first_port,
                  bit<16> last_port) {
    m.source.first_address = unmapped(first_address);
    m.source.last_address = unmapped(last_address);
    m.source.first_port = first_port;
    m.source.last_port = last_port;
    m.source.persistent = true;
}
action keep_source() {
    m.snat_reason = SNAT_NONE;
}
// By the reason (SNAT_*), which is not SNAT_NONE. Without an entry the packet is dropped.
action no_address() {
    m.filtered = VERDICT_NO_SNAT;
}
table snat {
    key = {
        m.zone: ternary @name("zone");
        m.snat_reason: ternary @name("reason");
        m.src: ternary @name("src");
        m.to: ternary @name("dst");
    }
    actions = { masquerade; keep_source; @defaultonly no_address; }
    default_action = no_address();
    pna_direct_counter = masqueraded;
    size = 1024;
}
