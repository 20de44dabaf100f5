// SPDX-License-Identifier: Apache-2.0 OR MIT
// Where packets come from: ports, tunnels, routed frames, permitted sources. A part of NodeControl.

// The zone of a port, which keeps overlapping addresses apart; whether what it sends is trusted
// to open connections; whether its sources must be in `sources`; whether frames that are not routed
// go to the layer 2 stage.
action port(bit<16> zone, bit<1> is_trusted, bit<1> is_checked, bit<1> is_switched) {
    m.zone = zone;
    m.is_trusted = is_trusted;
    m.is_checked = is_checked == 1;
    m.is_switched = is_switched;
}
// Trusts host ports, in zone 0; frames are switched.
action by_side() {
    m.is_trusted = (bit<1>) is_host_port(istd.input_port);
    m.is_switched = 1;
}
table ports {
    key = { istd.input_port: exact; }
    actions = { port; by_side; }
    default_action = by_side();
    size = 8192;
}

// The other ends of tunnels to this node, by network: the zone of the packets in them. What others send
// stays in its tunnel, since anybody can make such packets.
action inner(bit<16> zone, bit<1> is_trusted) {
    m.inner_zone = zone;
    m.is_trusted = is_trusted;
}
table tunnels {
    key = {
        m.zone: exact @name("zone");
        m.src: exact @name("src");
        m.dst: exact @name("dst");
        m.vni: exact @name("vni");
    }
    actions = { inner; @defaultonly NoAction; }
    default_action = NoAction();
    pna_direct_counter = decapsulated;
    size = 65536;
}

// Destination MAC addresses of frames that are routed; frames to others are switched.
table routers {
    key = {
        m.zone: exact @name("zone");
        h.network.ethernet.dst: exact @name("mac");
    }
    actions = { NoAction; }
    const default_action = NoAction();
    size = 4096;
}

// Addresses that a port with `is_checked` may send from.
table sources {
    key = {
        istd.input_port: exact @name("input_port");
        m.src: exact @name("src");
    }
    actions = { NoAction; }
    const default_action = NoAction();
    size = 65536;
}
