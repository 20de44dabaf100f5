// SPDX-License-Identifier: Apache-2.0 OR MIT
// A container node: services, connection tracking with translation, access control, routes, tunnels
// and queues of pods. K8S_NODE.md describes the stages, the tables and the order of writes.

#include <adit.p4>
#include <adit_headers.p4>
#include <adit_ipv6.p4>
#include <adit_quic.p4>
#include "node/types.p4"
#include "node/parser.p4"

// The number of connections.
#ifndef CONNECTIONS
#define CONNECTIONS 1048576
#endif

control NodeControl(inout headers_t h, inout metadata_t m, in pna_main_input_metadata_t istd,
                    inout pna_main_output_metadata_t ostd) {
    Conntrack(CONNECTIONS) connections;
    // By verdict_t.
    Counter<bit<64>, verdict_t>(64, PNA_CounterType_t.PACKETS_AND_BYTES) verdicts;
    // By ConntrackStatus_t.
    Counter<bit<64>, bit<3>>(8, PNA_CounterType_t.PACKETS) commits;
    // By service: packets to endpoints, from endpoints, and those that were refused.
    Counter<bit<64>, bit<16>>(65536, PNA_CounterType_t.PACKETS_AND_BYTES) to_services;
    Counter<bit<64>, bit<16>>(65536, PNA_CounterType_t.PACKETS_AND_BYTES) from_services;
    Counter<bit<64>, bit<16>>(65536, PNA_CounterType_t.PACKETS) refused_services;
    // By the frontend: new connections.
    DirectCounter<bit<64>>(PNA_CounterType_t.PACKETS) frontends;
    DirectCounter<bit<64>>(PNA_CounterType_t.PACKETS_AND_BYTES) decapsulated;
    DirectCounter<bit<64>>(PNA_CounterType_t.PACKETS_AND_BYTES) acl_entries;
    DirectCounter<bit<64>>(PNA_CounterType_t.PACKETS) firewall_entries;
    DirectCounter<bit<64>>(PNA_CounterType_t.PACKETS) ingress_entries;
    DirectCounter<bit<64>>(PNA_CounterType_t.PACKETS) masqueraded;
    DirectCounter<bit<64>>(PNA_CounterType_t.PACKETS_AND_BYTES) routes4;
    DirectCounter<bit<64>>(PNA_CounterType_t.PACKETS_AND_BYTES) routes6;
    DirectCounter<bit<64>>(PNA_CounterType_t.PACKETS_AND_BYTES) hops;
    DirectCounter<bit<64>>(PNA_CounterType_t.PACKETS_AND_BYTES) quic_connections;
    DirectCounter<bit<64>>(PNA_CounterType_t.PACKETS_AND_BYTES) flow_entries;
    // Packets that were to leave an inline filter, while the table was full.
    Counter<bit<64>, bit<1>>(1, PNA_CounterType_t.PACKETS) unlearnt_filters;
    Meter<bit<10>>(1024, PNA_MeterType_t.BYTES) policers;
    InternetChecksum() checksum;
    Hash<bit<16>>(PNA_HashAlgorithm_t.CRC16) entropy;

#include "node/ports.p4"
#include "node/neighbors.p4"
#include "node/filters.p4"
#include "node/services.p4"
#include "node/translation.p4"
#include "node/routes.p4"
#include "node/classes.p4"

    // Takes the outer headers away, and begins once more.
    action decapsulate() {
        bit<8> marks = h.network.ipv4.isValid() ? h.network.ipv4.dscp_ecn
                                                : h.network.ipv6.traffic_class;
        h.bridge.setValid();
        h.bridge = { m.inner_zone, (bit<8>) m.is_trusted, 0, marks[1:0] };
        h.network.ethernet.setInvalid();
        h.network.vlan.setInvalid();
        h.network.ipv4.setInvalid();
        h.network.ipv6.setInvalid();
        h.network.udp.setInvalid();
        h.vxlan.setInvalid();
        h.geneve.setInvalid();
        h.geneve_options.setInvalid();
        recirculate_inner();
    }
    action drop(verdict_t verdict) {
        verdicts.count(verdict);
        drop_packet();
    }
    // Tells the sender, with a TCP reset or an ICMP error. If the packet came through a tunnel, the answer
    // takes its place and is routed to its source; answers are not answered.
    action refuse_packet(verdict_t verdict) {
        verdicts.count(verdict);
        if (m.is_answer) {
            drop_packet();
        } else if (m.is_decapsulated) {
            reject_behind(RejectReason_t.REFUSED, 0, 0, BRIDGE_BYTES);
        } else {
            reject();
        }
    }
    // Tells the sender as a router does, if the node has an address for that.
    action report(verdict_t verdict, RejectReason_t reason, bit<16> mtu) {
        verdicts.count(verdict);
        if (m.is_answer || m.error_source == 0) {
            drop_packet();
        } else if (m.is_decapsulated) {
            reject_behind(reason, unmapped(m.error_source), mtu, BRIDGE_BYTES);
        } else {
            reject_with(reason, unmapped(m.error_source), mtu);
        }
    }
    action send(verdict_t verdict, PortId_t port) {
        verdicts.count(verdict);
        send_to_port(port);
    }

    apply {
        bool is_ipv4 = h.network.ipv4.isValid();
        bool is_ip = is_ipv4 || h.network.ipv6.isValid();
        bool is_multicast = h.network.ethernet.dst[40:40] == 1;
        bool has_ports = h.network.tcp.isValid() || h.network.udp.isValid() || h.sctp.isValid();
        if (istd.parser_error != error.NoError && !m.is_payload_reached) {
            drop(m.is_extended ? VERDICT_EXTENSIONS : VERDICT_MALFORMED);
            return;
        }

        // The port and the tunnel.
        ports.apply();
        bit<16> offset = ETHERNET_BYTES;
        if (h.bridge.isValid()) {
            m.zone = h.bridge.zone;
            m.is_trusted = (bit<1>) h.bridge.is_trusted;
            m.is_decapsulated = true;
            m.is_answer = is_answer();
            offset = offset + BRIDGE_BYTES;
            if (is_ip && !m.is_answer && h.bridge.ecn[0:0] == 1) {
                bit<8> marks = is_ipv4 ? h.network.ipv4.dscp_ecn : h.network.ipv6.traffic_class;
                if (marks[1:0] == ECN_NONE && h.bridge.ecn == ECN_MARKED) {
                    drop(VERDICT_CONGESTED);
                    return;
                } else if (marks[1:0] != ECN_NONE && marks[1:0] != ECN_MARKED) {
                    mark(h.bridge.ecn);
                }
            }
        }
        if (h.network.vlan.isValid()) {
            offset = offset + VLAN_BYTES;
        }
        if (is_ipv4) {
            m.src = 96w0xffff ++ h.network.ipv4.src;
            m.dst = 96w0xffff ++ h.network.ipv4.dst;
            m.protocol = h.network.ipv4.protocol;
        } else {
            m.src = h.network.ipv6.src;
            m.dst = h.network.ipv6.dst;
            // Extension headers hide nothing: in keys there is what follows them.
            m.protocol = m.is_extended ? m.chain.protocol : h.network.ipv6.next_header;
        }
        m.from = m.src;
        m.from_port = m.network.src_port;
        m.to = m.dst;
        m.to_port = m.network.dst_port;
        if (is_ip && (is_ipv4 && (h.network.ipv4.src[31:24] == 127 || h.network.ipv4.src[31:28] == 14
                || h.network.ipv4.dst[31:24] == 127)
            || !is_ipv4 && (m.src[127:32] == 96w0xffff || m.dst[127:32] == 96w0xffff
                || m.src[127:120] == 0xff))) {
            drop(VERDICT_MARTIAN);
            return;
        }
        // A tunnel's peers send neither fragments nor options (RFC 7348, 4.3).
        if (m.is_tunnel && (!is_ipv4 || h.network.ipv4.ihl == 5 && h.network.ipv4.flags[0:0] == 0)) {
            if (tunnels.apply().hit) {
                checksum.clear();
                checksum.add(h.network.ipv4);
                // Of IPv6, which has no checksum of its header, UDP may have none, too (RFC 6935).
                if (is_ipv4 && checksum.get() != 0
                    || h.network.udp.checksum != 0 && !has_right_checksum()) {
                    drop(VERDICT_MALFORMED);
                } else {
                    decapsulated.count();
                    verdicts.count(VERDICT_DECAPSULATED);
                    decapsulate();
                }
                return;
            }
        }

        // Neighbors.
        bool is_arp_request = h.arp.isValid() && h.arp.operation == 1 && h.arp.hardware == 1
            && h.arp.protocol == ETHERTYPE_IPV4 && h.arp.hardware_len == 6 && h.arp.protocol_len == 4;
        if (is_arp_request) {
            m.to = 96w0xffff ++ h.arp.target;
        }
        if (m.is_solicitation) {
            check_solicitation();
            m.to = h.neighbor.target;
        }
        if (!h.bridge.isValid() && (is_arp_request || m.is_solicitation)) {
            addresses.apply();
            bit<48> mac = m.dst_mac;
            // A pod may ask whether another has its address.
            local.apply();
            m.dst_mac = mac;
            if (mac != 0 && !(m.is_pod && m.port == istd.input_port)) {
                if (m.is_solicitation) { answer_solicitation(); } else { answer_arp(); }
                send(VERDICT_ANSWERED, istd.input_port);
                return;
            }
        }
        if (is_ip && !m.is_answer) {
            m.filter = VERDICT_ACL;
            acl.apply();
            acl_entries.count();
            if (m.filtered != 0) {
                drop(m.filtered);
                return;
            }
        }
        if (!is_ip || m.is_untracked || is_multicast || !m.is_answer && !routers.apply().hit) {
            h.bridge.setInvalid();
            if (m.is_switched == 1) {
                send(VERDICT_SWITCHED, ADIT_PORT_SWITCH);
            } else {
                drop(VERDICT_NOT_ROUTED);
            }
            return;
        }
        if (m.is_checked && !m.is_answer && !sources.apply().hit) {
            drop(VERDICT_SPOOFED);
            return;
        }

        // The connection. Of those that the host's own stack has, the tracker need not know; an answer is
        // about one.
        if (!m.is_answer) { connections.track(offset, m.zone, m.packet); }
        h.bridge.setInvalid();
        bool is_invalid = m.packet.state & ADIT_CT_INVALID != 0;
        bool is_new = !is_invalid && m.packet.state & ADIT_CT_NEW != 0
            && m.packet.label[127:127] == 0;
        bool is_reply = m.packet.state & ADIT_CT_REPLY != 0;
        if (m.packet.state & ADIT_CT_DNAT != 0) {
            m.to = mapped(is_ipv4, m.packet.dst);
            m.to_port = m.packet.dst_port;
        }
        if (m.packet.state & ADIT_CT_SNAT != 0) {
            m.from = mapped(is_ipv4, m.packet.src);
            m.from_port = m.packet.src_port;
        }

        // Its endpoint. If that is gone, the connection ends, and a datagram begins another one.
        if (!is_new && m.packet.label[31:0] != 0) {
            m.service = m.packet.label[47:32];
            m.endpoint = m.packet.label[31:0];
            if (!is_reply && !endpoints.apply().hit) {
                if (m.packet.state & ADIT_CT_RELATED == 0) { connections.forget(m.packet); }
                if (m.protocol != PROTO_UDP || m.packet.state & ADIT_CT_NEW == 0) {
                    refused_services.count(m.service);
                    refuse_packet(VERDICT_ENDPOINT_GONE);
                    return;
                }
                is_new = true;
                m.endpoint = 0;
                m.from = m.src;
                m.from_port = m.network.src_port;
                m.to = m.dst;
                m.to_port = m.network.dst_port;
            }
        }

        // The service.
        if (is_new && m.packet.state & ADIT_CT_RELATED == 0) {
            m.probe = m.src;
            networks.apply();
            bool is_inside = is_host_port(istd.input_port);
            if (services.apply().hit) {
                frontends.count();
                bit<8> local_only = is_inside ? BALANCE_INSIDE_LOCAL : BALANCE_OUTSIDE_LOCAL;
                m.group = is_inside ? m.inside_group : m.outside_group;
                if (m.affinity_s == 0) {
                    m.selected_by = 80w0 ++ m.protocol ++ 8w0 ++ m.network.src_port ++ m.network.dst_port;
                }
                backends.apply();
                if (m.endpoint == 0) {
                    refused_services.count(m.service);
                    if (m.flags & local_only != 0) {
                        drop(VERDICT_NOT_LOCAL);
                    } else {
                        refuse_packet(VERDICT_NO_ENDPOINT);
                    }
                    return;
                }
                if (m.affinity_s != 0) {
                    affinity.apply();
                    if (m.stuck != 0) {
                        m.is_stale = !sticky_members.apply().hit;
                        
                        affinity.apply();
                    }
                }
                m.destination.first_address = unmapped(m.to);
                m.destination.first_port = m.to_port;
                if (m.to == m.src) {
                    m.snat_reason = SNAT_HAIRPIN;
                } else if (!is_inside && m.flags & BALANCE_MASQUERADE != 0) {
                    m.snat_reason = SNAT_SERVICE;
                }
            } else {
                addresses.apply();
                m.dst_mac = 0;
                if (m.is_service) {
                    refuse_packet(VERDICT_NO_PORT);
                    return;
                }
            }
        }

        // The way.
        if (!local.apply().hit) {
            if (is_ipv4) {
                ipv4_routes.apply();
                routes4.count();
            } else {
                ipv6_routes.apply();
                routes6.count();
            }
            if (m.ecmp != 0) { ecmp.apply(); }
            if (m.nexthop != 0) {
                nexthops.apply();
                hops.count();
                if (m.lag != 0) { lags.apply(); }
            }
        }
        // No other node's tunnel leads to an address of this one.
        if (m.is_answer && (m.is_pod || m.is_host)) {
            drop(VERDICT_SPOOFED);
            return;
        }
        if (m.is_host && m.endpoint == 0 && (is_new || is_invalid)) {
            if (m.dst_mac != 0) { h.network.ethernet.dst = m.dst_mac; }
            send(VERDICT_HOST, ADIT_PORT_SWITCH);
            return;
        }
        if (is_invalid) {
            if (m.network.is_later_fragment == 1 || m.chain.is_fragment == 1
                    || is_ipv4 && h.network.ipv4.flags & 1 != 0) {
                drop(VERDICT_FRAGMENT);
            } else {
                drop(VERDICT_INVALID);
            }
            return;
        }
        if (is_new && !m.is_host && is_confined(is_ipv4, m.src, m.to)) {
            drop(VERDICT_MARTIAN);
            return;
        }
        if (m.routed == VERDICT_NO_NEXTHOP && !m.is_answer) {
            send(VERDICT_NO_NEXTHOP, ADIT_PORT_CPU);
            return;
        } else if (m.routed != 0) {
            if (m.is_refused) { refuse_packet(m.routed); } else { drop(m.routed); }
            return;
        }
        if (!m.is_host && (is_ipv4 && h.network.ipv4.ttl <= 1
                || !is_ipv4 && h.network.ipv6.hop_limit <= 1)) {
            error_sources.apply();
            report(VERDICT_TTL, RejectReason_t.HOPS_EXCEEDED, 0);
            return;
        }
        // What stands for several packets is segmented later.
        bit<16> length = m.length - offset;
        if (length > MIN_MTU && m.nexthop != 0 && mtus.apply().hit && length > m.mtu
                && segments() == 1) {
            // What came in fragments may leave in such, if they fit.
            bit<16> came = fragment_size();
            if ((came == 0 || came > m.mtu) && (!is_ipv4 || h.network.ipv4.flags[1:1] == 1)) {
                error_sources.apply();
                report(VERDICT_TOO_BIG, RejectReason_t.TOO_BIG, m.mtu);
                return;
            }
            divide();
        } else if (m.encap != ENCAP_NONE && fragment_size() != 0) {
            // The tunnel's own headers have no identification.
            m.mtu = fragment_size();
            divide();
        }

        // What a new connection may do, and how it is translated.
        verdict_t verdict = m.is_answer ? VERDICT_ANSWERED : VERDICT_ESTABLISHED;
        if (m.packet.state & ADIT_CT_RELATED != 0) {
            verdict = VERDICT_RELATED;
        }
        if (is_new) {
            if (m.snat_reason == SNAT_NONE && !m.is_pod && !m.is_host) {
                if (m.flags & BALANCE_MASQUERADE_AWAY != 0 && !is_host_port(istd.input_port)) {
                    m.snat_reason = SNAT_SERVICE;
                } else if (m.network_kind == NETWORK_CLUSTER) {
                    m.probe = m.to;
                    networks.apply();
                    if (m.network_kind == NETWORK_OUTSIDE) { m.snat_reason = SNAT_EGRESS; }
                }
            }
            m.filter = VERDICT_FIREWALL;
            if (!decisions.apply().hit) {
                firewall.apply();
                firewall_entries.count();
            }
            if (m.filtered == 0 && m.is_pod) {
                m.filter = VERDICT_INGRESS;
                ingress_acl.apply();
                ingress_entries.count();
            }
            if (m.filtered == 0 && m.snat_reason != SNAT_NONE) {
                snat.apply();
                masqueraded.count();
            }
            if (m.filtered == VERDICT_CONTROL) {
                send(VERDICT_CONTROL, ADIT_PORT_CPU);
                return;
            } else if (m.filtered != 0) {
                if (m.is_refused) { refuse_packet(m.filtered); } else { drop(m.filtered); }
                return;
            }
            ConntrackStatus_t status = connections.commit(packet = m.packet, label =
                1w1 ++ 79w0 ++ m.service ++ m.endpoint, source = m.source, destination = m.destination);
            commits.count((bit<3>) (bit<8>) status);
            if (status != ConntrackStatus_t.COMMITTED) {
                refuse_packet(VERDICT_NOT_COMMITTED);
                return;
            }
            if (verdict != VERDICT_RELATED) { verdict = VERDICT_OPENED; }
            if (m.packet.state & ADIT_CT_SNAT != 0) {
                m.from = mapped(is_ipv4, m.packet.src);
                m.from_port = m.packet.src_port;
            }
        }
        if (m.endpoint != 0) {
            if (is_reply) { from_services.count(m.service); } else { to_services.count(m.service); }
        }

        // The way out.
        if (m.dst_mac != 0) { h.network.ethernet.dst = m.dst_mac; }
        if (m.is_host) {
            send(verdict, ADIT_PORT_SWITCH);
            return;
        }
        h.network.ethernet.src = m.src_mac;
        h.network.vlan.setInvalid();
        h.network.ethernet.ether_type = is_ipv4 ? ETHERTYPE_IPV4 : ETHERTYPE_IPV6;
        if (m.vid != 0) {
            h.network.vlan.setValid();
            h.network.vlan = { 0, 0, m.vid, h.network.ethernet.ether_type };
            h.network.ethernet.ether_type = ETHERTYPE_VLAN;
        }
        if (m.is_answer) {
            // It begins here.
        } else if (is_ipv4) {
            age_ipv4();
        } else {
            h.network.ipv6.hop_limit = h.network.ipv6.hop_limit - 1;
        }
        if (m.encap == ENCAP_VXLAN) {
            m.length = m.length - (offset - ETHERNET_BYTES);
            encapsulate(PORT_VXLAN);
            h.outer_vxlan.setValid();
            h.outer_vxlan = { 0x08, 0, m.encap_vni, 0 };
        } else if (m.encap == ENCAP_GENEVE) {
            m.length = m.length - (offset - ETHERNET_BYTES);
            encapsulate(PORT_GENEVE);
            h.outer_geneve.setValid();
            h.outer_geneve = { 0, 0, 0, 0, 0, ETHERTYPE_TEB, m.encap_vni, 0 };
        } else if (is_host_port(m.port)) {
            bool is_classified = false;
            if (m.quic.id_len != 0) {
                is_classified = quic.apply().hit;
                quic_connections.count();
            }
            if (!is_classified) {
                is_classified = flows.apply().hit;
                flow_entries.count();
            }
            if (!is_classified && has_ports) {
                m.flow = { m.port, m.from, m.to, m.from_port, m.to_port };
                inline_filters.apply();
            }
        }
        // What a pod sends, as its reply will be.
        m.sender = input_queue();
        if (m.sender != ADIT_NO_QUEUE && has_ports) {
            m.is_sending = true;
            m.flow = { istd.input_port, m.dst, m.src, m.network.dst_port, m.network.src_port };
            inline_filters.apply();
        }
        send(verdict, m.port);
    }
}

PNA_NIC(NodeParser(), NodeControl(), NodeDeparser()) main;
