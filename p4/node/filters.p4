// SPDX-License-Identifier: Apache-2.0 OR MIT
// Access control: of all packets, of connections that would be opened, and of those that would
// reach a pod. A part of NodeControl.

action permit() {
    m.filtered = VERDICT_ESTABLISHED;
}
action deny() {
    m.filtered = m.filter;
}
// The sender is told, with a TCP reset or an ICMP error.
action refuse() {
    m.filtered = m.filter;
    m.is_refused = true;
}
// Drops what exceeds the meter of that index.
action police(bit<10> meter) {
    PNA_MeterColor_t color = policers.execute(meter);
    if (color == PNA_MeterColor_t.RED) {
        m.filtered = VERDICT_POLICED;
    }
}
// The control plane gets the packet. It may answer with an entry in `decisions`; the connection is
// opened by the next packet.
action to_control() {
    m.filtered = VERDICT_CONTROL;
}

// Stateless: each packet as it was received, in both directions.
table acl {
    key = {
        m.zone: ternary @name("zone");
        istd.input_port: ternary @name("input_port");
        m.is_trusted: ternary @name("is_trusted");
        m.src: ternary @name("src");
        m.dst: ternary @name("dst");
        m.protocol: ternary @name("protocol");
        m.network.src_port: range @name("src_port");
        m.network.dst_port: range @name("dst_port");
        h.network.tcp.flags: ternary @name("tcp_flags");
    }
    actions = { permit; deny; police; }
    default_action = permit();
    pna_direct_counter = acl_entries;
    size = 16384;
}

// What the control plane has decided on single flows, before `firewall`.
table decisions {
    key = {
        m.zone: exact @name("zone");
        m.src: exact @name("src");
        m.dst: exact @name("dst");
        m.protocol: exact @name("protocol");
        m.network.src_port: exact @name("src_port");
        m.network.dst_port: exact @name("dst_port");
    }
    actions = { permit; deny; refuse; @defaultonly NoAction; }
    const default_action = NoAction();
    size = 262144;
}

// Stateful: connections that would be opened or are related to others, with the destination that
// they would have. Without an entry trusted ports may open any, others those of services.
action by_trust() {
    if (m.is_trusted == 0 && !m.is_service && m.packet.state & ADIT_CT_RELATED == 0) {
        m.filtered = m.filter;
    }
}
table firewall {
    key = {
        m.zone: ternary @name("zone");
        istd.input_port: ternary @name("input_port");
        m.is_trusted: ternary @name("is_trusted");
        m.packet.state: ternary @name("ct_state");
        m.src: ternary @name("src");
        m.to: ternary @name("dst");
        m.protocol: ternary @name("protocol");
        m.to_port: range @name("dst_port");
    }
    actions = { permit; deny; refuse; to_control; by_trust; }
    default_action = by_trust();
    pna_direct_counter = firewall_entries;
    size = 16384;
}

// Connections that would reach the pod behind a port. The last entry of a pod with a policy denies.
table ingress_acl {
    key = {
        m.port: exact @name("port");
        m.src: ternary @name("src");
        m.protocol: ternary @name("protocol");
        m.to_port: range @name("dst_port");
    }
    actions = { permit; deny; refuse; }
    default_action = permit();
    pna_direct_counter = ingress_entries;
    size = 65536;
}
