// SPDX-License-Identifier: Apache-2.0 OR MIT
// Services: a frontend (cluster address, external address or NodePort) leads to a group of
// endpoints, of which a new connection gets one. A part of NodeControl.

// Clients on this node get an endpoint of one group, others of another group: internal and external
// traffic policy. `affinity_s`: seconds of silence after which a client may get another
// endpoint; 0 without affinity. `flags`: BALANCE_*.
action balance(bit<16> service, bit<32> inside_group, bit<32> outside_group, bit<32> affinity_s,
               bit<8> flags) {
    m.is_service = true;
    m.service = service;
    m.inside_group = inside_group;
    m.outside_group = outside_group;
    m.affinity_s = affinity_s;
    m.flags = flags;
}
table services {
    key = {
        m.zone: exact @name("zone");
        m.dst: exact @name("address");
        m.protocol: exact @name("protocol");
        m.network.dst_port: exact @name("port");
    }
    actions = { balance; @defaultonly NoAction; }
    default_action = NoAction();
    pna_direct_counter = frontends;
    size = 131072;
}

// A group's member. `endpoint` is the endpoint's id, which is never used again.
action endpoint(bit<32> id, ipv6_t address, bit<16> port) {
    m.endpoint = id;
    m.to = address;
    m.to_port = port;
}
action no_endpoint() {
    m.endpoint = 0;
}
ActionSelector(PNA_HashAlgorithm_t.CRC32, 1048576, 32) members;
table backends {
    key = {
        m.group: exact @name("group");
        m.src: selector;
        m.selected_by: selector;
    }
    actions = { endpoint; @defaultonly no_endpoint; }
    const default_action = no_endpoint();
    pna_implementation = members;
    size = 65536;
}

// The endpoint of a client's earlier connections to a group, which the data plane learns.
action stick(bit<32> id) {
    if (m.stuck == 0) {
        m.stuck = id;
    } else {
        set_entry_lifetime(m.is_stale ? 0 : m.affinity_s);
    }
}
action learn() {
    add_entry_for("stick", { m.endpoint }, m.affinity_s);
}
table affinity {
    key = {
        m.group: exact @name("group");
        m.src: exact @name("client");
    }
    actions = { @tableonly stick; @defaultonly learn; }
    add_on_miss = true;
    const default_action = learn();
    pna_idle_timeout = PNA_IdleTimeout_t.AUTO_DELETE;
    size = 262144;
}
// The members of groups with affinity, once more: only these may get a client back.
table sticky_members {
    key = {
        m.group: exact @name("group");
        m.stuck: exact @name("id");
    }
    actions = { endpoint; @defaultonly NoAction; }
    const default_action = NoAction();
    size = 1048576;
}

// All endpoints that exist: ready, serving or terminating. Packets of connections to others are
// refused, so that they do not reach the next owner of the address.
table endpoints {
    key = { m.endpoint: exact @name("id"); }
    actions = { NoAction; }
    const default_action = NoAction();
    size = 1048576;
}
