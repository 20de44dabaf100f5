// SPDX-License-Identifier: Apache-2.0 OR MIT
// Headers, metadata and numbers of the node's program (k8s_node.p4).

const bit<16> ETHERTYPE_ARP = 0x0806;
const bit<16> ETHERNET_BYTES = 14;
const bit<16> VLAN_BYTES = 4;
const bit<16> BRIDGE_BYTES = 4;
// Ethernet, IPv4 or IPv6, UDP, and VXLAN or GENEVE.
const bit<16> ENCAP_BYTES = 50;
const bit<16> ENCAP6_BYTES = 70;
// IPv6's minimum MTU, which every link has: nothing of at most this length is looked up.
const bit<16> MIN_MTU = 1280;
const bit<8>  PROTO_SCTP = 132;
const bit<8>  ICMPV6_NEIGHBOR_SOLICITATION = 135;
const bit<8>  ICMPV6_NEIGHBOR_ADVERTISEMENT = 136;

// The verdict on a packet, by which `verdicts` counts. From VERDICT_MALFORMED on it is dropped.
typedef bit<6> verdict_t;
const verdict_t VERDICT_ESTABLISHED = 0;   // of a known connection
const verdict_t VERDICT_OPENED = 1;        // opened a connection
const verdict_t VERDICT_RELATED = 2;       // an ICMP error, or a connection that a helper expects
const verdict_t VERDICT_HOST = 3;          // to the host's own stack
const verdict_t VERDICT_SWITCHED = 4;      // to the NIC's layer 2 stage: not routed
const verdict_t VERDICT_ANSWERED = 5;      // ARP or neighbor discovery, answered; an answer into a tunnel
const verdict_t VERDICT_DECAPSULATED = 6;  // came out of a tunnel; counted once more by what follows
const verdict_t VERDICT_CONTROL = 7;       // to the control plane, by an entry
const verdict_t VERDICT_NO_NEXTHOP = 8;    // to the control plane: its next hop has no entry
const verdict_t VERDICT_MALFORMED = 16;
const verdict_t VERDICT_MARTIAN = 17;      // an address that no packet on a wire may have, or no router passes on
const verdict_t VERDICT_SPOOFED = 18;      // a source that its port may not have
const verdict_t VERDICT_ACL = 19;          // an entry of `acl`
const verdict_t VERDICT_POLICED = 20;      // exceeded a policer of `acl`
const verdict_t VERDICT_FRAGMENT = 21;
const verdict_t VERDICT_INVALID = 22;      // ADIT_CT_INVALID
const verdict_t VERDICT_FIREWALL = 23;     // an entry of `firewall` or `decisions`, or an untrusted port
const verdict_t VERDICT_INGRESS = 24;      // an entry of `ingress_acl`
const verdict_t VERDICT_NO_ENDPOINT = 25;  // a service without a ready endpoint
const verdict_t VERDICT_NO_PORT = 26;      // a service's address, at none of its ports
const verdict_t VERDICT_NOT_LOCAL = 27;    // a service without an endpoint on this node, which it must have
const verdict_t VERDICT_ENDPOINT_GONE = 28; // its connection's endpoint does not exist any more
const verdict_t VERDICT_NO_ROUTE = 29;
const verdict_t VERDICT_TTL = 30;
const verdict_t VERDICT_NO_SNAT = 31;      // must be masqueraded, and `snat` has no address
const verdict_t VERDICT_NOT_COMMITTED = 32; // see `commits`
const verdict_t VERDICT_NOT_ROUTED = 33;   // for no router, from a port that is not switched
const verdict_t VERDICT_TOO_BIG = 34;      // for its next hop, and not to be fragmented
const verdict_t VERDICT_CONGESTED = 35;    // marked by a router in its tunnel, and its sender reads no marks
const verdict_t VERDICT_EXTENSIONS = 36;   // too many extension headers of IPv6, one that is too long, or the packet
                                           // ends in them or in the header behind them

// Why a source is translated, as a key of `snat`.
typedef bit<2> snat_reason_t;
const snat_reason_t SNAT_NONE = 0;
const snat_reason_t SNAT_HAIRPIN = 1; // an endpoint that was chosen for its own packet
const snat_reason_t SNAT_SERVICE = 2; // a service's client that is no pod of this node: BALANCE_MASQUERADE
const snat_reason_t SNAT_EGRESS = 3;  // from the cluster's networks to another

// Whose an address is.
typedef bit<2> network_kind_t;
const network_kind_t NETWORK_OUTSIDE = 0;
const network_kind_t NETWORK_CLUSTER = 1; // pods of all nodes
const network_kind_t NETWORK_PLAIN = 2;   // others that see the addresses of pods

typedef bit<2> encap_t;
const encap_t ENCAP_NONE = 0;
const encap_t ENCAP_VXLAN = 1;
const encap_t ENCAP_GENEVE = 2;

// Explicit congestion notification (RFC 3168, 5).
const bit<2> ECN_NONE = 0; // the sender reads no marks
const bit<2> ECN_MARKED = 3;

// Flags of `balance`.
const bit<8> BALANCE_MASQUERADE = 0x01;   // sources of clients outside of this node are translated
const bit<8> BALANCE_INSIDE_LOCAL = 0x02; // `inside` has this node's endpoints only
const bit<8> BALANCE_OUTSIDE_LOCAL = 0x04; // `outside` has this node's endpoints only
const bit<8> BALANCE_MASQUERADE_AWAY = 0x08; // they are if the endpoint is not on this node

// In front of a packet that has come out of a tunnel, on its way through `recirculate`, and of the answer
// to it.
header bridge_h {
    bit<16> zone;
    bit<8>  is_trusted;
    bit<6>  reserved;
    bit<2>  ecn; // of the tunnel's packet
}

// RFC 826, for Ethernet and IPv4.
header arp_h {
    bit<16> hardware;
    bit<16> protocol;
    bit<8>  hardware_len;
    bit<8>  protocol_len;
    bit<16> operation;
    mac_t   sender_mac;
    ipv4_t  sender;
    mac_t   target_mac;
    ipv4_t  target;
}

// RFC 4861, 4.3 and 4.4, without options.
header neighbor_h {
    bit<8>  type;
    bit<8>  code;
    bit<16> checksum;
    bit<3>  flags; // router, solicited, override
    bit<29> reserved;
    ipv6_t  target;
}

// RFC 4861, 4.6.1.
header link_address_h {
    bit<8> type; // 1: of the source, 2: of the target
    bit<8> length; // in multiples of eight bytes
    mac_t  mac;
}

// RFC 9260, 3.1.
header sctp_h {
    bit<16> src_port;
    bit<16> dst_port;
    bit<32> verification_tag;
    bit<32> checksum;
}

// In the order of their places in a packet, but for the extension headers, which follow the IPv6 header.
struct headers_t {
    bridge_h          bridge;
    // Around a packet that leaves through a tunnel.
    ethernet_h        outer_ethernet;
    ipv4_h            outer_ipv4;
    ipv6_h            outer_ipv6;
    udp_h             outer_udp;
    vxlan_h           outer_vxlan;
    geneve_h          outer_geneve;
    network_headers_t network;
    ipv6_extensions_t extensions;
    sctp_h            sctp;
    arp_h             arp;
    neighbor_h        neighbor;
    link_address_h    link_address;
    // Of a tunnel that a packet has come through.
    vxlan_h           vxlan;
    geneve_h          geneve;
    geneve_options_h  geneve_options;
}

// A flow as the pod behind a port receives it.
struct flow_t {
    PortId_t port;
    ipv6_t   src;
    ipv6_t   dst;
    bit<16>  src_port;
    bit<16>  dst_port;
}

// Addresses are those of IPv6; IPv4's are ::ffff:a.b.c.d (RFC 4291, 2.5.5.2).
struct metadata_t {
    network_t         network;
    bool              is_extended;     // has extension headers of IPv6
    ipv6_chain_t      chain;           // what they say
    bool              is_payload_reached;
    quic_t            quic;
    bit<16>           length;
    bool              is_tunnel;
    bool              is_decapsulated;
    bool              is_answer;       // to what came out of a tunnel and was refused
    bit<24>           vni;
    bool              is_untracked;    // neighbor discovery and multicast listeners
    bool              is_solicitation;

    bit<16>           zone;
    bit<16>           inner_zone;      // of what is in a tunnel
    bit<1>            is_trusted;
    bool              is_checked;      // the source must be one of the port's
    bit<1>            is_switched;     // what is not routed goes to the layer 2 stage
    ipv6_t            src;             // as the packet was received
    ipv6_t            dst;
    bit<8>            protocol;        // behind extension headers
    ipv6_t            from;            // as it leaves
    bit<16>           from_port;
    ipv6_t            to;
    bit<16>           to_port;

    ConntrackPacket_t packet;
    ConntrackRange_t  source;
    ConntrackRange_t  destination;

    // Of a service that a new connection is for.
    bool              is_service;
    bit<16>           service;
    bit<32>           inside_group;
    bit<32>           outside_group;
    bit<32>           affinity_s;
    bit<8>            flags;
    bit<32>           group;
    bit<128>          selected_by;     // what selects a member beside the client's address
    bit<32>           endpoint;
    bit<32>           stuck;           // the endpoint of the client's earlier connections
    bool              is_stale;        // it is not in the group any more

    // Of translation.
    ipv6_t            probe;
    network_kind_t    network_kind;
    snat_reason_t     snat_reason;

    // Of filters: the verdict that a denial has, and the one on this packet.
    verdict_t         filter;
    verdict_t         filtered;
    bool              is_refused;      // the sender is told
    ipv6_t            error_source;    // of the errors of this node as a router
    bit<16>           mtu;             // of the next hop

    // Of the way out.
    verdict_t         routed;
    bit<32>           nexthop;
    bit<32>           ecmp;
    bit<32>           lag;
    bool              is_host;
    bool              is_pod;
    PortId_t          port;
    mac_t             src_mac;
    mac_t             dst_mac;
    bit<12>           vid;
    encap_t           encap;
    bit<24>           encap_vni;
    mac_t             encap_src_mac;
    mac_t             encap_dst_mac;
    bool              is_encap6;       // over IPv6
    ipv6_t            encap_src;       // an address of IPv4 is the lower 32 bits
    ipv6_t            encap_dst;

    // Of inline filters.
    flow_t            flow;
    bool              is_sending;      // the filter is that of the replies to this packet
    bit<16>           sender;          // the queue that it was sent from
}

// Returns whether no router passes on what is between these addresses, which are those of a link, a group or
// nobody (RFC 1812, 5.3.7; RFC 4291, 2.5).
bool is_confined(in bool is_ipv4, in ipv6_t src, in ipv6_t dst) {
    if (is_ipv4) {
        return src[31:0] == 0 || src[31:0] == 0xffffffff
            || dst[31:0] == 0 || dst[31:0] == 0xffffffff || dst[31:28] == 14;
    }
    return src[127:1] == 0 || src[127:118] == 0x3fa || dst[127:1] == 0 || dst[127:118] == 0x3fa
        || dst[127:120] == 0xff;
}

// The address with that form.
ipv6_t mapped(in bool is_ipv4, in bit<128> address) {
    return is_ipv4 ? 96w0xffff ++ address[31:0] : address;
}

// The lower 32 bits, if it is an IPv4 address: the form of ConntrackRange_t.
bit<128> unmapped(in ipv6_t address) {
    return address[127:32] == 96w0xffff ? 96w0 ++ address[31:0] : address;
}
