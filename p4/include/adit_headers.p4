// SPDX-License-Identifier: Apache-2.0 OR MIT
// Headers of common protocols, as their standards lay them out, and the numbers that identify them.

#ifndef __ADIT_HEADERS_P4__
#define __ADIT_HEADERS_P4__

typedef bit<48> mac_t;
typedef bit<32> ipv4_t;
typedef bit<128> ipv6_t;

// EtherTypes (IEEE 802).
const bit<16> ETHERTYPE_IPV4 = 0x0800;
const bit<16> ETHERTYPE_TEB = 0x6558; // Ethernet itself, in a tunnel
const bit<16> ETHERTYPE_VLAN = 0x8100;
const bit<16> ETHERTYPE_IPV6 = 0x86dd;

// IP protocols (IANA).
const bit<8> PROTO_ICMP = 1;
const bit<8> PROTO_TCP = 6;
const bit<8> PROTO_UDP = 17;
const bit<8> PROTO_ICMPV6 = 58;

// UDP ports (IANA).
const bit<16> PORT_HTTPS = 443; // QUIC, too
const bit<16> PORT_VXLAN = 4789;
const bit<16> PORT_GENEVE = 6081;

error {
    BadIpv4Header, // of another version than its EtherType's, or shorter than it may be
    BadIpv6Header  // of another version than its EtherType's
}

// IEEE 802.3.
header ethernet_h {
    mac_t   dst;
    mac_t   src;
    bit<16> ether_type;
}

// IEEE 802.1Q, behind the EtherType that announces it.
header vlan_h {
    bit<3>  pcp;
    bit<1>  dei;
    bit<12> vid;
    bit<16> ether_type;
}

// RFC 791, without options.
header ipv4_h {
    bit<4>  version;
    bit<4>  ihl;
    bit<8>  dscp_ecn;
    bit<16> total_len;
    bit<16> identification;
    bit<3>  flags;
    bit<13> fragment_offset;
    bit<8>  ttl;
    bit<8>  protocol;
    bit<16> checksum;
    ipv4_t  src;
    ipv4_t  dst;
}

// The options of an IPv4 header, RFC 791.
header ipv4_options_h {
    varbit<320> options;
}

// RFC 8200.
header ipv6_h {
    bit<4>  version;
    bit<8>  traffic_class;
    bit<20> flow_label;
    bit<16> payload_len;
    bit<8>  next_header;
    bit<8>  hop_limit;
    ipv6_t  src;
    ipv6_t  dst;
}

// RFC 9293, without options.
header tcp_h {
    bit<16> src_port;
    bit<16> dst_port;
    bit<32> seq;
    bit<32> ack;
    bit<4>  data_offset;
    bit<4>  reserved;
    bit<8>  flags;
    bit<16> window;
    bit<16> checksum;
    bit<16> urgent;
}

// RFC 768.
header udp_h {
    bit<16> src_port;
    bit<16> dst_port;
    bit<16> length;
    bit<16> checksum;
}

// RFC 7348.
header vxlan_h {
    bit<8>  flags; // 0x08: the identifier is valid
    bit<24> reserved;
    bit<24> vni;
    bit<8>  reserved2;
}

// RFC 8926, without options.
header geneve_h {
    bit<2>  version;
    bit<6>  options_len; // in multiples of four bytes
    bit<1>  is_control;
    bit<1>  is_critical;
    bit<6>  reserved;
    bit<16> protocol;
    bit<24> vni;
    bit<8>  reserved2;
}

// The options of a GENEVE header.
header geneve_options_h {
    varbit<2016> options;
}

// What a packet may begin with.
struct network_headers_t {
    ethernet_h     ethernet;
    vlan_h         vlan;
    ipv4_h         ipv4;
    ipv4_options_h ipv4_options;
    ipv6_h         ipv6;
    tcp_h          tcp;
    udp_h          udp;
}

// What is not in one header only.
struct network_t {
    bit<16> src_port; // of TCP or UDP
    bit<16> dst_port;
    bit<1>  is_later_fragment;
}

// Up to TCP and UDP. IPv6 headers with extensions end it, the kind of the first one is in
// `next_header`. The version in an IP header must be its EtherType's: the connection tracker goes by
// the version, tables by the header that is valid.
parser NetworkParser(packet_in pkt, out network_headers_t h, out network_t n) {
    state start {
        n.src_port = 0;
        n.dst_port = 0;
        n.is_later_fragment = 0;
        pkt.extract(h.ethernet);
        transition select(h.ethernet.ether_type) {
            ETHERTYPE_VLAN: vlan;
            ETHERTYPE_IPV4: ipv4;
            ETHERTYPE_IPV6: ipv6;
            default: accept;
        }
    }
    state vlan {
        pkt.extract(h.vlan);
        transition select(h.vlan.ether_type) {
            ETHERTYPE_IPV4: ipv4;
            ETHERTYPE_IPV6: ipv6;
            default: accept;
        }
    }
    state ipv4 {
        pkt.extract(h.ipv4);
        transition select(h.ipv4.version, h.ipv4.ihl) {
            (4, 5): ipv4_transport;
            (4, 6 .. 15): ipv4_options;
            default: bad_ipv4;
        }
    }
    state bad_ipv4 {
        verify(false, error.BadIpv4Header);
        transition reject;
    }
    state ipv4_options {
        pkt.extract(h.ipv4_options, ((bit<32>) h.ipv4.ihl - 5) * 32);
        transition ipv4_transport;
    }
    state ipv4_transport {
        transition select(h.ipv4.fragment_offset, h.ipv4.protocol) {
            (0, PROTO_TCP): tcp;
            (0, PROTO_UDP): udp;
            (0, _): accept;
            default: later_fragment;
        }
    }
    state later_fragment {
        n.is_later_fragment = 1;
        transition accept;
    }
    state ipv6 {
        pkt.extract(h.ipv6);
        verify(h.ipv6.version == 6, error.BadIpv6Header);
        transition select(h.ipv6.next_header) {
            PROTO_TCP: tcp;
            PROTO_UDP: udp;
            default: accept;
        }
    }
    state tcp {
        pkt.extract(h.tcp);
        n.src_port = h.tcp.src_port;
        n.dst_port = h.tcp.dst_port;
        transition accept;
    }
    state udp {
        pkt.extract(h.udp);
        n.src_port = h.udp.src_port;
        n.dst_port = h.udp.dst_port;
        transition accept;
    }
}

#endif
