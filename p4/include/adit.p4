// SPDX-License-Identifier: Apache-2.0 OR MIT
// What this NIC has beyond the Portable NIC Architecture, and what it does where PNA leaves a
// choice. For programs of both of PNA's forms.
//
// A packet's way. The parser's errors do not drop: they reach the control, and what was not parsed
// is payload. A packet without a forwarding call is dropped; of several calls (send_to_port,
// drop_packet, multicast, recirculate) the last one wins. A packet goes through eight times at
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

// What the packet is called in its receive descriptor (32 bits of flexible metadata).
extern void set_flow_id(in FlowId_t flow_id);

// The hash in its receive descriptor, which RSS spreads by.
extern void set_hash(in bit<32> hash);

// A copy to each member of the group, instead of the packet.
extern void multicast(in MulticastGroup_t group);

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

#if ADIT_PNA_BLOCKS == 3
// Once more, with the packet as the deparser makes it. PNA 0.7 has no such call.
extern void recirculate();
#endif

#endif
