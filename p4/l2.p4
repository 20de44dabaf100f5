// SPDX-License-Identifier: Apache-2.0 OR MIT
// A learning switch. Where an address is seen that is not known there, the control plane gets a
// digest, and answers with entries in `sources` and `stations`; when an entry of `sources` has
// not been hit for its idle time, it is told and takes both away. Frames to groups and unknown
// addresses are flooded: each port has its own multicast group, without itself.

#include <adit.p4>
#include <adit_headers.p4>

struct headers_t {
    ethernet_h ethernet;
    vlan_h     vlan;
}

struct metadata_t {
    bit<12> vid; // 0 without a tag
}

struct learnt_t {
    bit<12>  vid;
    mac_t    address;
    PortId_t port;
}

parser SwitchParser(packet_in pkt, out headers_t h, inout metadata_t m,
                    in pna_main_parser_input_metadata_t istd) {
    state start {
        pkt.extract(h.ethernet);
        transition select(h.ethernet.ether_type) {
            ETHERTYPE_VLAN: vlan;
            default: accept;
        }
    }
    state vlan {
        pkt.extract(h.vlan);
        m.vid = h.vlan.vid;
        transition accept;
    }
}

control SwitchControl(inout headers_t h, inout metadata_t m, in pna_main_input_metadata_t istd,
                      inout pna_main_output_metadata_t ostd) {
    Digest<learnt_t>() learnt;
    Counter<bit<64>, bit<1>>(1, PNA_CounterType_t.PACKETS) malformed;

    action drop() {
        drop_packet();
    }
    action known() {}
    action learn() {
        learnt.pack({ m.vid, h.ethernet.src, istd.input_port });
    }
    table sources {
        key = {
            m.vid: exact;
            h.ethernet.src: exact;
            istd.input_port: exact;
        }
        actions = { @tableonly known; @defaultonly learn; }
        const default_action = learn();
        pna_idle_timeout = PNA_IdleTimeout_t.NOTIFY_CONTROL;
        size = 65536;
    }

    action flood_to(MulticastGroup_t group) {
        multicast(group);
    }
    table floods {
        key = { istd.input_port: exact; }
        actions = { flood_to; drop; }
        default_action = drop();
        size = 16384;
    }

    action send_to(PortId_t port) {
        send_to_port(port);
    }
    table stations {
        key = {
            m.vid: exact;
            h.ethernet.dst: exact;
        }
        actions = { send_to; drop; @defaultonly NoAction; }
        const default_action = NoAction();
        size = 65536;
    }

    apply {
        bit<1> from_group = h.ethernet.src[40:40];
        if (istd.parser_error != error.NoError || from_group == 1) {
            malformed.count(0);
            drop_packet();
        } else {
            sources.apply();
            if (!stations.apply().hit) { floods.apply(); }
        }
    }
}

control SwitchDeparser(packet_out pkt, in headers_t h, in metadata_t m,
                       in pna_main_output_metadata_t ostd) {
    apply { pkt.emit(h); }
}

PNA_NIC(SwitchParser(), SwitchControl(), SwitchDeparser()) main;
