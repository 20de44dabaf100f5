// SPDX-License-Identifier: Apache-2.0 OR MIT
// IPv6's extension headers, from the IPv6 header to the transport header.

#ifndef __ADIT_IPV6_P4__
#define __ADIT_IPV6_P4__

// Next headers behind which others follow (RFC 8200, 4.1; RFC 4302). Linux's connection tracker skips
// the same ones.
const bit<8> PROTO_HOP_BY_HOP = 0;
const bit<8> PROTO_ROUTING = 43;
const bit<8> PROTO_FRAGMENT = 44;
const bit<8> PROTO_AUTHENTICATION = 51;
const bit<8> PROTO_DESTINATION = 60;

error {
    TooManyIpv6Extensions // more than there is room for
}

// An extension header, of at most 128 bytes: a longer one ends with HeaderTooShort.
header ipv6_extension_h {
    bit<8>       next_header;
    bit<8>       length;
    varbit<1008> rest;
}

// Room for the six that RFC 8200, 4.1 lists in front of a transport header, without encryption.
struct ipv6_extensions_t {
    ipv6_extension_h first;
    ipv6_extension_h second;
    ipv6_extension_h third;
    ipv6_extension_h fourth;
    ipv6_extension_h fifth;
    ipv6_extension_h sixth;
}

// What extension headers say about the packet.
struct ipv6_chain_t {
    bit<8>  protocol;          // the number of what follows the last one
    bit<1>  is_fragment;       // of a datagram that has others, too
    bit<1>  is_later_fragment; // what follows is not the beginning of a header
    bit<16> length;            // of all of them, in bytes
}

// One header: its kind is the protocol in `c` before it, what follows is that after it.
parser Ipv6ExtensionParser(packet_in pkt, out ipv6_extension_h h, inout ipv6_chain_t c) {
    bit<32> head;

    state start {
        head = pkt.lookahead<bit<32>>();
        bit<8> kind = c.protocol;
        c.protocol = head[31:24];
        transition select(kind) {
            PROTO_FRAGMENT: fragment;
            PROTO_AUTHENTICATION: authentication;
            default: options;
        }
    }
    // RFC 6946: what is whole has such a header, too, and is none.
    state fragment {
        c.is_later_fragment = (bit<1>) (head[15:3] != 0);
        c.is_fragment = c.is_fragment | head[0:0] | c.is_later_fragment;
        c.length = c.length + 8;
        pkt.extract(h, 48);
        transition accept;
    }
    state authentication {
        c.length = c.length + (bit<16>) head[23:16] * 4 + 8;
        pkt.extract(h, (bit<32>) head[23:16] * 32 + 48);
        transition accept;
    }
    state options {
        c.length = c.length + (bit<16>) head[23:16] * 8 + 8;
        pkt.extract(h, (bit<32>) head[23:16] * 64 + 48);
        transition accept;
    }
}

#define IPV6_EXTENSION_STATE(this, behind)                       \
    state this {                                                 \
        Ipv6ExtensionParser.apply(pkt, h.this, c);               \
        transition select(c.is_later_fragment, c.protocol) {     \
            (0, PROTO_HOP_BY_HOP): behind;                       \
            (0, PROTO_ROUTING): behind;                          \
            (0, PROTO_FRAGMENT): behind;                         \
            (0, PROTO_AUTHENTICATION): behind;                   \
            (0, PROTO_DESTINATION): behind;                      \
            default: accept;                                     \
        }                                                        \
    }

// All of them, of which there is one at least: `kind` is the next header of the IPv6 header.
parser Ipv6ExtensionsParser(packet_in pkt, in bit<8> kind, out ipv6_extensions_t h, out ipv6_chain_t c) {
    state start {
        c = { kind, 0, 0, 0 };
        transition first;
    }
    IPV6_EXTENSION_STATE(first, second)
    IPV6_EXTENSION_STATE(second, third)
    IPV6_EXTENSION_STATE(third, fourth)
    IPV6_EXTENSION_STATE(fourth, fifth)
    IPV6_EXTENSION_STATE(fifth, sixth)
    IPV6_EXTENSION_STATE(sixth, too_many)
    state too_many {
        verify(false, error.TooManyIpv6Extensions);
        transition reject;
    }
}

#endif
