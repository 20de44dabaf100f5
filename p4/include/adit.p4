// SPDX-License-Identifier: Apache-2.0 OR MIT
// What this NIC has beyond the Portable NIC Architecture, and what it does where PNA leaves a
// choice. For programs of both of PNA's forms.
//
// A packet's way. The parser's errors do not drop: they reach the control, and what was not parsed
// is payload. A packet without a forwarding call is dropped; of several calls (send_to_port,
// drop_packet, reject and its variants, multicast, recirculate) the last one wins. A packet goes through eight times at
// most, then it is dropped and counted. User metadata and headers begin as zero in each pass. A
// mirrored packet is what the deparser makes at the end of the pass that asked for it.
//
// A direct counter counts when its `count` is called: in an action, or after the table's `apply`,
// where it counts for the entry that was hit last, and for none after a miss.
//
// A frame that is larger than the link carries, since a host left its segmentation to the NIC or the
// wire merged it, passes as one packet; counters and meters count its segments, each with its headers.
// If the program adds or removes headers, such frames are segmented before it. A transport checksum
// that the host leaves to the NIC is computed after the program, over the packet as it leaves.

#ifndef __ADIT_P4__
#define __ADIT_P4__

#include <pna.p4>

// Ports. Wires count up from 0: those are PNA's network ports. Behind each port from
// ADIT_FIRST_HOST_PORT on is the virtual port whose id (virtchnl2's vport_id) is the difference:
// those of the PF come first, one for each wire, then those of ADIs. An ADI has its id for as long as
// it is there, also over a reset of the function; when it is gone, the id is used again only after
// all others (as many as there may be ADIs), so that an entry that names it does not soon name another
// owner's. What comes from a wire is on its way to the host (NET_TO_HOST), what comes from a virtual
// port is on its way to the network (HOST_TO_NET); each may be sent to any port.
const PortIdUint_t ADIT_FIRST_HOST_PORT = 0x1000;

// The NIC's own layer 2 stage decides: address filters, VLANs and the switch between ADIs.
const PortId_t ADIT_PORT_SWITCH = (PortId_t) 0xfff0;

// The control plane gets the packet (P4Runtime's packet-in).
const PortId_t ADIT_PORT_CPU = (PortId_t) 0xfffffffd;

// Which receive queue of the virtual port the packet is for: an index among its queues. Without
// it, or if the port has no such queue, the driver's own rules and its RSS decide.
extern void set_queue(in bit<16> queue);

// The queue that the packet was sent from: an index among the transmit queues of the virtual port
// that is the ingress port. ADIT_NO_QUEUE for a packet from a wire or from the control plane, and
// where there is no driver (`adit p4 run`). The same in all passes of a packet.
//
// A driver that pairs its queues gets the replies of a flow on the queue that it sends the flow from
// (inline filters, in the manner of application targeted routing) if an add-on-miss table for the
// packets that it sends keeps this value, and the action for replies passes it to set_queue: no
// message of a control plane is needed. Given to set_queue, ADIT_NO_QUEUE is a queue that no port has.
extern bit<16> input_queue();
const bit<16> ADIT_NO_QUEUE = 0xffff;

// The number of packets on the wire that the packet stands for: more than 1 if its segmentation was left to
// the NIC, or if it was merged. The same in all passes of a packet.
extern bit<16> segments();

// The packet leaves in fragments of at most `mtu` bytes, and at least 68, from its IP header on, which begins
// `offset` bytes behind the beginning of the packet as it leaves (RFC 791, 2.3; IPv6 only if it came in
// fragments, RFC 8200, 4.5); if it came in fragments, none is larger than the largest of these either. The two
// bytes in front of it must be its EtherType, with twelve or more in front of them, as behind an Ethernet header
// or a VLAN tag; otherwise the packet leaves whole. What is in front of the IP header, such as the headers of a
// tunnel, is in front of each fragment, with its own lengths and checksums. A packet that is not longer leaves
// whole, and so do answers, what goes to the control plane, and what stands for several packets. Copies leave
// in fragments only if the packet came in such: in these. The last call in a pass wins; it has no effect if
// the pass does not send the packet to a port.
extern void fragment_packet(in bit<16> mtu, in bit<16> offset);

// The length of the largest fragment that the packet came in, from its IP header on; 0 if it came whole.
// Programs that track connections get whole datagrams. The same in all passes of a packet, until
// `recirculate_inner`.
extern bit<16> fragment_size();

// Returns false if the transport checksum (TCP, UDP, SCTP) of the outermost packet of this pass, as received, is
// wrong. What has none, and what cannot be verified, such as a fragment, is right; but not UDP over IPv6
// without one, which only tunnels may send (RFC 6935). All of the packet is read, unless the NIC knows.
extern bool has_right_checksum();

// What the packet is called in its receive descriptor (32 bits of flexible metadata).
extern void set_flow_id(in FlowId_t flow_id);

// The hash in its receive descriptor, which RSS spreads by.
extern void set_hash(in bit<32> hash);

// A copy to each member of the group, instead of the packet.
extern void multicast(in MulticastGroup_t group);

// As add_entry and set_entry_expire_time, with a number of seconds instead of a profile. An entry whose
// lifetime is set to 0 is removed as soon as entries expire, which is several times a second; one
// with that lifetime is not added.
#if ADIT_PNA_BLOCKS == 3
extern AddEntryErrorStatus_t add_entry_for<T>(string action_name, in T action_params,
                                              in bit<32> seconds);
#endif
extern void set_entry_lifetime(in bit<32> seconds);
// The packet is dropped, and its sender is told: of several forwarding calls the last one wins. TCP is
// answered with a reset, all else with ICMP's port unreachable (type 3 code 3, or 1 and 4 of ICMPv6),
// which quotes the packet, 576 bytes in all, or 1280 of IPv6. The answer's source is the packet's
// destination; both are those of the frame as it came, before any pass and translation, so of a tunnel's
// packet those of the tunnel. It goes to the port that the packet came from, not through the program.
//
// Not answered are resets, ICMP errors and redirects, what is not IP from one host to another (groups and
// broadcasts of both layers, loopback), wrong checksums, and fragments other than a first one without
// a checksum. Of ICMP only queries are answered, and answers to them: an unassigned type may be that of an
// error. A port gets 10,000 answers a second, and 1,000 at once; of them one source gets 2,000, and 200 at
// once: an address of IPv4, a network of 64 bits of IPv6. The others are counted, by reason
// (`adit_p4_reject_unanswered_total`).
//
// A packet whose connection could not be committed can be rejected, too. Mirrors of a rejected packet
// are not translated.
extern void reject();

// Why a packet is rejected, which decides on the answer.
enum bit<8> RejectReason_t {
    REFUSED = 0,       // as with `reject`
    HOPS_EXCEEDED = 1, // its hops are used up at this router: ICMP's time exceeded (11, 0; 3, 0 of ICMPv6)
    TOO_BIG = 2        // it is larger than the next link's MTU: ICMP's fragmentation needed (3, 4), or
                       // packet too big (2, 0 of ICMPv6)
}

// As `reject`, with a reason. The answer comes from `source`, whose lower 32 bits are an address of IPv4;
// 0 is the packet's destination, and one of the other family is none, so that the packet is not answered.
// `mtu` is that of TOO_BIG, from the IP header on. Routers answer resets, too, and verify only the checksum
// of IP headers.
extern void reject_with(in RejectReason_t reason, in bit<128> source, in bit<16> mtu);

#if ADIT_PNA_BLOCKS == 3
// The same about the packet that begins `offset` bytes behind the beginning of what this pass has received,
// such as one that an earlier pass has taken out of a tunnel. Its answer takes its place and begins another
// pass, behind the same bytes, as after `recirculate`: the program sends it. An answer is not answered again;
// one that is not sent to a port is counted (`not-forwarded`).
extern void reject_behind(in RejectReason_t reason, in bit<128> source, in bit<16> mtu,
                          in bit<16> offset);

// Returns whether this pass's packet is such an answer.
extern bool is_answer();
#endif

// A message for who runs the program, in which each `{}` is a value of the data. The NIC's log has
// it, and `adit p4 run`.
extern void log_msg(string msg);
extern void log_msg<T>(string msg, in T data);

// A packet for which it does not hold is dropped, counted and logged.
extern void assert(in bool check);
extern void assume(in bool check);

// CRC-64/ECMA-182.
extern Crc64 {
    Crc64();
    bit<64> get_hash<D>(in D data);
}

// Connection tracking, with the states of Linux and Open vSwitch.
//
// A control calls `track` and then, if the packet's connection is to be kept, `commit`. Both are
// about the packet as this pass has received it, not about headers that the program has changed. A
// second `track` in a pass takes the place of the first; `recirculate` begins a pass with the
// packet as it was deparsed, translated already.
//
// Translation (NAT) is applied behind the deparser: addresses, ports and identifiers, with
// checksums adjusted incrementally; of ICMP errors also those of the packet that they quote;
// payload and sequence numbers, if a helper has changed them. The program's headers remain as they
// are, so tables that come after translation take addresses from ConntrackPacket_t. Headers in
// front of the IP header may be added and removed; those from the IP header to the transport header
// leave in the same number of bytes as they came, or the packet is dropped. All packets of a
// translated connection are translated once they are tracked.
//
// Unless it is rejected, a packet is dropped at the end of the pass, whatever its destination, and counted by the NIC with
// a reason, if its connection could not be committed (`not-committed`), if a helper reads only a
// part of an announcement in it, which its sender repeats (`helper`), and if it could not be
// translated (`untranslatable`).
//
// Fragments. A NIC holds those of IP packets that begin behind Ethernet and VLAN tags in front of a program
// with a Conntrack object, until their datagram is complete, as Linux does; it then passes the program
// once. If it is longer than the largest of its fragments, it leaves in fragments of at most that
// size, from its outermost IP header on: of IPv4 with its identification and the flag not to fragment,
// of IPv6 with the identification that they came with. So do copies of it. Overlapping fragments
// and all others of their datagram are dropped (RFC 5722). Held are 4,096 datagrams, 4 MiB and 30 s
// (60 s of IPv6); of one port at most three quarters, of a source address an eighth; the oldest go
// first. `adit_fragments_total` counts datagrams and what was dropped, by reason. Programs without
// Conntrack, and `adit p4 run`, get fragments as they are.
//
// Connections belong to the NIC: they stay when the program is replaced, and `adit ct` shows them.
// All instances of Conntrack share them; zones keep them apart. A program is refused if its
// instances have a greater size together than the NIC's table (`adit-nic --connections`). Without a
// NIC (`adit p4 run`), the table has that size.

// The state of a packet: bits with the values that Open vSwitch's ct_state has.
typedef bit<8> ConntrackState_t;
const ConntrackState_t ADIT_CT_NEW = 0x01;         // begins a connection, which `commit` would keep
const ConntrackState_t ADIT_CT_ESTABLISHED = 0x02; // its connection has packets in both directions
const ConntrackState_t ADIT_CT_RELATED = 0x04;     // an ICMP error, or a connection that a helper expects
const ConntrackState_t ADIT_CT_REPLY = 0x08;       // flows opposite to its connection's first packet
// Has no connection: malformed, a wrong checksum, outside of TCP's windows, an error about no known
// connection, IPv6 neighbour discovery, or a fragment that the NIC could not hold (malformed, inside of a
// tunnel). Only ADIT_CT_TRACKED is set beside it.
const ConntrackState_t ADIT_CT_INVALID = 0x10;
const ConntrackState_t ADIT_CT_TRACKED = 0x20;     // has been tracked
const ConntrackState_t ADIT_CT_SNAT = 0x40;        // its source is translated
const ConntrackState_t ADIT_CT_DNAT = 0x80;        // its destination is translated

// A tracked packet. Addresses of IPv4 are in the lower 32 bits.
struct ConntrackPacket_t {
    ConntrackState_t state;
    bit<32>          mark;     // of its connection
    bit<128>         label;    // of its connection
    bit<128>         src;      // with which it leaves; 0 without ADIT_CT_SNAT
    bit<128>         dst;      // with which it leaves; 0 without ADIT_CT_DNAT
    bit<16>          src_port; // with ADIT_CT_SNAT; of ICMP the identifier. Not of ICMP errors
    bit<16>          dst_port; // with ADIT_CT_DNAT. Not of ICMP errors
}

// The addresses and ports to one of which an end of a connection is translated. A range of zeros
// translates nothing.
struct ConntrackRange_t {
    bit<128> first_address; // 0: the address remains
    bit<128> last_address;  // 0: only the first
    bit<16>  first_port;    // 0: the port remains, unless the tuple is in use; of ICMP the identifier.
                            // No source gets a port that the NIC has reserved (`adit nat reserve`)
    bit<16>  last_port;     // 0: only the first
    bool     random_port;   // even if the packet's own port is free
    bool     persistent;    // the address depends on the source only, not on the destination
}

// The protocol whose announcements of further connections are followed. A helper that does not read
// the connection's transport protocol and address family is not assigned.
enum bit<8> ConntrackHelper_t {
    NONE = 0,
    FTP = 1,  // data connections; TCP
    TFTP = 2, // transfers; UDP
    IRC = 3,  // a client's direct connections (DCC); TCP over IPv4
    SIP = 4,  // calls to registered clients, and media; UDP and TCP
    PPTP = 5, // tunnels of GRE; TCP over IPv4
    RAS = 6,  // H.323: calls through a gatekeeper, from its registrations and admissions; UDP
    Q931 = 7  // H.323: the signalling of calls (Q.931), and from it H.245 and media; TCP
}

// The result of a commit; a number, so that counters can be indexed by it. The packet of all others
// than COMMITTED, NOT_TRACKED and INVALID is dropped.
enum bit<8> ConntrackStatus_t {
    COMMITTED = 0,
    NOT_TRACKED = 1,   // there was no `track` in this pass
    INVALID = 2,       // the packet has no connection
    TABLE_FULL = 3,    // no connection could make room
    ZONE_FULL = 4,     // the zone's limit is reached
    NAT_EXHAUSTED = 5, // all addresses and ports of the range that were tried are in use or reserved
    BAD_RANGE = 6,     // first above last, last without first, or addresses beyond 32 bits for IPv4
    REFUSED = 7        // another connection has the tuple
}

extern Conntrack {
    // `size` is the number of connections that the program needs.
    Conntrack(bit<32> size);

    // Finds the packet's connection in a zone, and updates it. The IP header begins `ip_offset`
    // bytes behind the beginning of the packet; its version says whether it is IPv4 or IPv6, so that
    // a program must drop packets whose version is not what their EtherType says (as `NetworkParser`
    // in adit_headers.p4 does).
    void track(in bit<16> ip_offset, in bit<16> zone, out ConntrackPacket_t packet);

    // Ends the connection of the packet that was tracked last, if it has one, as if it had expired;
    // `packet` becomes what the packet is without it: new, or invalid in the middle of a TCP
    // connection that may not be picked up. An ICMP error about a connection does not end it.
    void forget(inout ConntrackPacket_t packet);

    // Keeps the connection of the packet that was tracked last, and sets mark and label, of which
    // `mark_mask` and `label_mask` select the bits: all if they are omitted. Of a connection that
    // is kept already only mark and label change. `source`, `destination` and `helper` are for a
    // new one; destinations are translated first. `force`: if the packet flows opposite to its
    // connection's first one, that connection ends, and the packet begins one of its own.
    ConntrackStatus_t commit(inout ConntrackPacket_t packet,
                             @optional in bit<32> mark, @optional in bit<32> mark_mask,
                             @optional in bit<128> label, @optional in bit<128> label_mask,
                             @optional in ConntrackRange_t source,
                             @optional in ConntrackRange_t destination,
                             @optional in ConntrackHelper_t helper,
                             @optional in bool force);
}

#if ADIT_PNA_BLOCKS == 3
// Once more, with the packet as the deparser makes it. PNA 0.7 has no such call.
extern void recirculate();

// The same with what was inside of the packet, such as a tunnel: the fragments that this came in, and what the
// NIC knows of its checksums, are not about what goes on. That came whole, and leaves so.
extern void recirculate_inner();
#endif

#endif
