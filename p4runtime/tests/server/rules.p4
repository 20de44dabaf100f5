// SPDX-License-Identifier: Apache-2.0 OR MIT
// Annotations that make rules for entries.
#include <core.p4>
#include <v1model.p4>

#define ROLE_CONTROLLER "sdn_controller"

header ethernet_t { bit<48> dst; bit<48> src; bit<16> type; }
struct headers_t { ethernet_t ethernet; }
struct metadata_t {
    bit<10> vrf; bit<16> nexthop; bit<16> interface; bit<16> neighbor; bit<9> port; bit<16> instance;
}

parser P(packet_in pkt, out headers_t h, inout metadata_t m, inout standard_metadata_t s) {
    state start { pkt.extract(h.ethernet); transition accept; }
}
control V(inout headers_t h, inout metadata_t m) { apply {} }
control I(inout headers_t h, inout metadata_t m, inout standard_metadata_t s) {
    action_selector(HashAlgorithm.crc16, 16, 8) paths;

    @action_restriction("
        // 0 is no next hop.
        nexthop_id != 0;
    ")
    action set_nexthop(@refers_to(nexthop_table, nexthop_id) bit<16> nexthop_id) {
        m.nexthop = nexthop_id;
    }
    action set_group(
        @refers_to(builtin::multicast_group_table, multicast_group_id) bit<16> group) {
        s.mcast_grp = group;
    }
    action set_neighbor(
        @refers_to(interface_table, interface_id)
        @refers_to(neighbor_table, interface_id) bit<16> interface_id,
        @refers_to(neighbor_table, neighbor_id) bit<16> neighbor_id) {
        m.interface = interface_id;
        m.neighbor = neighbor_id;
    }
    action send(bit<9> port) { s.egress_spec = port; }

    @p4runtime_role(ROLE_CONTROLLER)
    @entry_restriction("vrf_id != 0;" "vrf_id < 1000")
    table vrf_table {
        key = { m.vrf: exact @name("vrf_id"); }
        actions = { NoAction; }
        const default_action = NoAction;
    }
    @entry_restriction("
        dst::prefix_length > 24 -> vrf_id == 1; // Long ones are for one of them.
    ")
    table routes {
        key = {
            m.vrf: exact @name("vrf_id") @refers_to(vrf_table, vrf_id);
            h.ethernet.dst: lpm @name("dst");
        }
        actions = { set_nexthop; set_group; NoAction; }
    }
    @entry_restriction("
        type::mask == 0 || type == 0x0800;
        dst::mask != 0 -> type == 0x0800;
        ::priority < 100;
    ")
    table acl {
        key = { h.ethernet.type: ternary @name("type"); h.ethernet.dst: ternary @name("dst"); }
        actions = { set_nexthop; NoAction; }
    }
    table nexthop_table {
        key = { m.nexthop: exact @name("nexthop_id"); }
        actions = { set_neighbor; NoAction; }
    }
    table interface_table {
        key = { m.interface: exact @name("interface_id"); }
        actions = { send; NoAction; }
    }
    table neighbor_table {
        key = { m.interface: exact @name("interface_id"); m.neighbor: exact @name("neighbor_id"); }
        actions = { send; NoAction; }
    }
    table groups {
        key = { m.nexthop: exact @name("group_id"); h.ethernet.dst: selector; }
        actions = { set_nexthop; NoAction; }
        implementation = paths;
    }
    table replicas {
        key = {
            m.port: exact @name("port")
                @referenced_by(builtin::multicast_group_table, replica.port);
            m.instance: exact @name("instance")
                @referenced_by(builtin::multicast_group_table, replica.instance);
        }
        actions = { NoAction; }
    }
    apply {
        vrf_table.apply();
        routes.apply();
        acl.apply();
        groups.apply();
        nexthop_table.apply();
        interface_table.apply();
        neighbor_table.apply();
        replicas.apply();
    }
}
control E(inout headers_t h, inout metadata_t m, inout standard_metadata_t s) { apply {} }
control D(packet_out pkt, in headers_t h) { apply { pkt.emit(h.ethernet); } }

V1Switch(P(), V(), I(), E(), V(), D()) main;
