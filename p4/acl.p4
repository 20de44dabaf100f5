// SPDX-License-Identifier: Apache-2.0 OR MIT
// A packet filter: rules over the addresses, protocol, ports and TCP flags of IPv4 and IPv6, in
// both directions. What passes goes on to the layer 2 stage.

#include <adit.p4>
#include <adit_headers.p4>

struct metadata_t {
    network_t        network;
    bit<1>           from_wire;
    PNA_MeterColor_t color;
}

parser FilterParser(packet_in pkt, out network_headers_t h, inout metadata_t m,
                    in pna_main_parser_input_metadata_t istd) {
    state start {
        NetworkParser.apply(pkt, h, m.network);
        transition accept;
    }
}

control FilterControl(inout network_headers_t h, inout metadata_t m, in pna_main_input_metadata_t istd,
                      inout pna_main_output_metadata_t ostd) {
    DirectCounter<bit<64>>(PNA_CounterType_t.PACKETS_AND_BYTES) rules4;
    DirectCounter<bit<64>>(PNA_CounterType_t.PACKETS_AND_BYTES) rules6;
    Meter<bit<10>>(1024, PNA_MeterType_t.BYTES) policers;
    // Packets that a policer let through, by its index, and those that it dropped.
    Counter<bit<64>, bit<10>>(1024, PNA_CounterType_t.PACKETS) conforming;
    Counter<bit<64>, bit<10>>(1024, PNA_CounterType_t.PACKETS) exceeding;
    Counter<bit<64>, bit<1>>(1, PNA_CounterType_t.PACKETS) malformed;

    action permit() {
        send_to_port(ADIT_PORT_SWITCH);
    }
    action deny() {
        drop_packet();
    }
    // Permits what conforms to the meter of that index, green or yellow.
    action police(bit<10> meter) {
        m.color = policers.execute(meter);
        if (m.color == PNA_MeterColor_t.RED) {
            exceeding.count(meter);
            drop_packet();
        } else {
            conforming.count(meter);
            send_to_port(ADIT_PORT_SWITCH);
        }
    }

    table ipv4_rules {
        key = {
            m.from_wire: ternary;
            istd.input_port: ternary;
            h.ipv4.src: ternary;
            h.ipv4.dst: ternary;
            h.ipv4.protocol: ternary;
            m.network.is_later_fragment: ternary;
            m.network.src_port: range;
            m.network.dst_port: range;
            h.tcp.flags: ternary;
        }
        actions = { permit; deny; police; }
        default_action = permit();
        pna_direct_counter = rules4;
        size = 16384;
#ifdef IPV4_RULE_ENTRIES
        entries = { IPV4_RULE_ENTRIES }
#endif
    }
    table ipv6_rules {
        key = {
            m.from_wire: ternary;
            istd.input_port: ternary;
            h.ipv6.src: ternary;
            h.ipv6.dst: ternary;
            h.ipv6.next_header: ternary;
            m.network.src_port: range;
            m.network.dst_port: range;
            h.tcp.flags: ternary;
        }
        actions = { permit; deny; police; }
        default_action = permit();
        pna_direct_counter = rules6;
        size = 16384;
    }

    apply {
        m.from_wire = (bit<1>) is_net_port(istd.input_port);
        if (istd.parser_error != error.NoError) {
            malformed.count(0);
            drop_packet();
        } else if (h.ipv4.isValid()) {
            ipv4_rules.apply();
            rules4.count();
        } else if (h.ipv6.isValid()) {
            ipv6_rules.apply();
            rules6.count();
        } else {
            permit();
        }
    }
}

control FilterDeparser(packet_out pkt, in network_headers_t h, in metadata_t m,
                       in pna_main_output_metadata_t ostd) {
    apply { pkt.emit(h); }
}

PNA_NIC(FilterParser(), FilterControl(), FilterDeparser()) main;
