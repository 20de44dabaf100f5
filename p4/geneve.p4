// SPDX-License-Identifier: Apache-2.0 OR MIT
// A GENEVE tunnel endpoint (RFC 8926); see tunnel.p4. It knows no options: those of others are
// skipped, and packets with critical ones dropped.

#include <adit.p4>
#include <adit_headers.p4>

#define TUNNEL_PORT PORT_GENEVE
#define TUNNEL_BYTES 8

error {
    GeneveVersion,
    GeneveCritical, // an option that has to be understood, or a control packet
    GeneveProtocol  // not Ethernet
}

struct tunnel_t {
    geneve_h         geneve;
    geneve_options_h options;
}

parser TunnelParser(packet_in pkt, out tunnel_t t, out bit<24> vni) {
    state start {
        pkt.extract(t.geneve);
        verify(t.geneve.version == 0, error.GeneveVersion);
        verify(t.geneve.is_critical == 0 && t.geneve.is_control == 0, error.GeneveCritical);
        verify(t.geneve.protocol == ETHERTYPE_TEB, error.GeneveProtocol);
        pkt.extract(t.options, (bit<32>) t.geneve.options_len * 32);
        vni = t.geneve.vni;
        transition accept;
    }
}

void make_tunnel(inout tunnel_t t, in bit<24> vni) {
    t.geneve.setValid();
    t.geneve = { 0, 0, 0, 0, 0, ETHERTYPE_TEB, vni, 0 };
}

void remove_tunnel(inout tunnel_t t) {
    t.geneve.setInvalid();
    t.options.setInvalid();
}

#include "tunnel.p4"

PNA_NIC(EndpointParser(), EndpointControl(), EndpointDeparser()) main;
