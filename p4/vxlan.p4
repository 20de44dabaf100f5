// SPDX-License-Identifier: Apache-2.0 OR MIT
// A VXLAN tunnel endpoint (RFC 7348); see tunnel.p4.

#include <adit.p4>
#include <adit_headers.p4>

#define TUNNEL_PORT PORT_VXLAN
#define TUNNEL_BYTES 8

error { NoVni }

struct tunnel_t {
    vxlan_h vxlan;
}

parser TunnelParser(packet_in pkt, out tunnel_t t, out bit<24> vni) {
    state start {
        pkt.extract(t.vxlan);
        verify(t.vxlan.flags & 0x08 != 0, error.NoVni);
        vni = t.vxlan.vni;
        transition accept;
    }
}

void make_tunnel(inout tunnel_t t, in bit<24> vni) {
    t.vxlan.setValid();
    t.vxlan = { 0x08, 0, vni, 0 };
}

void remove_tunnel(inout tunnel_t t) {
    t.vxlan.setInvalid();
}

#include "tunnel.p4"

PNA_NIC(EndpointParser(), EndpointControl(), EndpointDeparser()) main;
