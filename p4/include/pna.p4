// SPDX-License-Identifier: Apache-2.0 OR MIT
// The Portable NIC Architecture. ADIT_PNA_BLOCKS selects a form: 3 for version 0.7 of the
// specification, 4 for the older one with a PreControl, which most public programs are written for.
// Three macros add what compilers' forms of it have: ADIT_PNA_DPDK (DPDK's meters with a packet
// length, IPsec), ADIT_PNA_TC (Linux's traffic control), ADIT_PNA_DEPARSER_WRITES (a deparser that
// may change headers, as in all forms after 0.7).

#ifndef __PNA_P4__
#define __PNA_P4__

#include <core.p4>

#ifndef ADIT_PNA_BLOCKS
#define ADIT_PNA_BLOCKS 4
#endif

#ifdef ADIT_PNA_TC
#define ADIT_PNA_DEPARSER_WRITES
#endif

// Each identifier has a type for use inside and one for use in headers; both are new types.
#define ADIT_ID(name, width, uri)                                       \
    typedef bit<width> name##Uint_t;                                    \
    @p4runtime_translation(uri, width) type name##Uint_t name##_t;

ADIT_ID(PortId, 32, "p4.org/pna/v1/PortId_t")
ADIT_ID(InterfaceId, 32, "p4.org/pna/v1/InterfaceId_t")
ADIT_ID(MulticastGroup, 32, "p4.org/pna/v1/MulticastGroup_t")
ADIT_ID(MirrorSessionId, 16, "p4.org/pna/v1/MirrorSessionId_t")
ADIT_ID(MirrorSlotId, 8, "p4.org/pna/v1/MirrorSlotId_t")
ADIT_ID(ClassOfService, 8, "p4.org/pna/v1/ClassOfService_t")
ADIT_ID(PacketLength, 16, "p4.org/pna/v1/PacketLength_t")
ADIT_ID(MulticastInstance, 16, "p4.org/pna/v1/MulticastInstance_t")
ADIT_ID(Timestamp, 64, "p4.org/pna/v1/Timestamp_t")
ADIT_ID(FlowId, 32, "p4.org/pna/v1/FlowId_t")
ADIT_ID(ExpireTimeProfileId, 8, "p4.org/pna/v1/ExpireTimeProfileId_t")
ADIT_ID(PassNumber, 3, "p4.org/pna/v1/PassNumber_t")
ADIT_ID(SecurityAssocId, 32, "p4.org/pna/v1/SecurityAssocId_t")

typedef error ParserError_t;

const InterfaceId_t PNA_PORT_CPU = (InterfaceId_t) 0xfffffffd;
const MirrorSessionId_t PNA_MIRROR_SESSION_TO_CPU = (MirrorSessionId_t) 0;

#define ADIT_IN_HEADER(name, width, uri)                                            \
    typedef bit<width> name##InHeaderUint_t;                                        \
    @p4runtime_translation(uri, width) type name##InHeaderUint_t name##InHeader_t;  \
    name##_t pna_##name##_header_to_int(in name##InHeader_t x) {                    \
        return (name##_t) (name##Uint_t) (name##InHeaderUint_t) x;                  \
    }                                                                               \
    name##InHeader_t pna_##name##_int_to_header(in name##_t x) {                    \
        return (name##InHeader_t) (name##InHeaderUint_t) (name##Uint_t) x;          \
    }

ADIT_IN_HEADER(PortId, 32, "p4.org/pna/v1/PortIdInHeader_t")
ADIT_IN_HEADER(InterfaceId, 32, "p4.org/pna/v1/InterfaceIdInHeader_t")
ADIT_IN_HEADER(MulticastGroup, 32, "p4.org/pna/v1/MulticastGroupInHeader_t")
ADIT_IN_HEADER(MirrorSessionId, 16, "p4.org/pna/v1/MirrorSessionIdInHeader_t")
ADIT_IN_HEADER(MirrorSlotId, 8, "p4.org/pna/v1/MirrorSlotIdInHeader_t")
ADIT_IN_HEADER(ClassOfService, 8, "p4.org/pna/v1/ClassOfServiceInHeader_t")
ADIT_IN_HEADER(PacketLength, 16, "p4.org/pna/v1/PacketLengthInHeader_t")
ADIT_IN_HEADER(MulticastInstance, 16, "p4.org/pna/v1/MulticastInstanceInHeader_t")
ADIT_IN_HEADER(Timestamp, 64, "p4.org/pna/v1/TimestampInHeader_t")
ADIT_IN_HEADER(FlowId, 32, "p4.org/pna/v1/FlowIdInHeader_t")
ADIT_IN_HEADER(ExpireTimeProfileId, 8, "p4.org/pna/v1/ExpireTimeProfileIdInHeader_t")
ADIT_IN_HEADER(PassNumber, 8, "p4.org/pna/v1/PassNumberInHeader_t")
ADIT_IN_HEADER(SecurityAssocId, 32, "p4.org/pna/v1/SecurityAssocIdInHeader_t")

#undef ADIT_ID
#undef ADIT_IN_HEADER

enum PNA_IdleTimeout_t {
    NO_TIMEOUT,
    NOTIFY_CONTROL,
    AUTO_DELETE
}

match_kind {
    range,
    selector,
    optional
}

enum PNA_HashAlgorithm_t {
    IDENTITY,
    CRC32,
    CRC32_CUSTOM,
    CRC16,
    CRC16_CUSTOM,
    ONES_COMPLEMENT16,
    TOEPLITZ,
    TARGET_DEFAULT
}

extern Hash<O> {
    Hash(PNA_HashAlgorithm_t algo);
    O get_hash<D>(in D data);
    O get_hash<T, D>(in T base, in D data, in T max);
}

extern Checksum<W> {
    Checksum(PNA_HashAlgorithm_t hash);
    void clear();
    void update<T>(in T data);
    W get();
}

extern InternetChecksum {
    InternetChecksum();
    void clear();
    void add<T>(in T data);
    void subtract<T>(in T data);
    bit<16> get();
    bit<16> get_state();
    void set_state(in bit<16> checksum_state);
}

enum PNA_CounterType_t {
    PACKETS,
    BYTES,
    PACKETS_AND_BYTES
}

@noWarn("unused")
extern Counter<W, S> {
    Counter(bit<32> n_counters, PNA_CounterType_t type);
    void count(in S index, @optional in bit<32> increment);
}

@noWarn("unused")
extern DirectCounter<W> {
    DirectCounter(PNA_CounterType_t type);
    void count(@optional in bit<32> increment);
}

enum PNA_MeterType_t {
    PACKETS,
    BYTES
}

enum PNA_MeterColor_t {
    RED,
    GREEN,
    YELLOW
}

extern Meter<S> {
    Meter(bit<32> n_meters, PNA_MeterType_t type);
    PNA_MeterColor_t execute(in S index, in PNA_MeterColor_t color);
    PNA_MeterColor_t execute(in S index);
#ifdef ADIT_PNA_DPDK
    PNA_MeterColor_t dpdk_execute(in S index, in PNA_MeterColor_t color, in bit<32> pkt_len);
    PNA_MeterColor_t dpdk_execute(in S index, in bit<32> pkt_len);
#endif
}

extern DirectMeter {
    DirectMeter(PNA_MeterType_t type);
#if ADIT_PNA_BLOCKS == 4 && !defined(ADIT_PNA_DPDK)
    PNA_MeterColor_t execute(in PNA_MeterColor_t color, @optional in bit<32> pkt_len);
    PNA_MeterColor_t execute(@optional in bit<32> pkt_len);
#else
    PNA_MeterColor_t execute(in PNA_MeterColor_t color);
    PNA_MeterColor_t execute();
    // Not in 0.7, but in the older form.
    PNA_MeterColor_t execute(in PNA_MeterColor_t color, in bit<32> pkt_len);
#endif
#ifdef ADIT_PNA_DPDK
    PNA_MeterColor_t dpdk_execute(in PNA_MeterColor_t color, in bit<32> pkt_len);
    PNA_MeterColor_t dpdk_execute(in bit<32> pkt_len);
#endif
}

extern Register<T, S> {
    Register(bit<32> size);
    Register(bit<32> size, T initial_value);
    @noSideEffects
    T read(in S index);
    void write(in S index, in T value);
}

extern Random<T> {
    Random(T min, T max);
    T read();
}

extern ActionProfile {
    ActionProfile(bit<32> size);
}

extern ActionSelector {
    ActionSelector(PNA_HashAlgorithm_t algo, bit<32> size, bit<32> outputWidth);
}

extern Digest<T> {
    Digest();
    void pack(in T data);
}

#ifdef ADIT_PNA_DPDK
enum ipsec_status {
    IPSEC_SUCCESS,
    IPSEC_ERROR
}

// Encrypts or decrypts behind the deparser. This NIC has none: programs that make one are refused.
extern ipsec_accelerator {
    ipsec_accelerator();
    void set_sa_index<T>(in T sa_index);
    void set_ip_header_offset<T>(in T offset);
    void enable();
    void disable();
    bool from_ipsec(out ipsec_status status);
}
#endif

#ifdef ADIT_PNA_TC
// The kernel's socket buffer. This NIC has none: programs that call these are refused.
extern void skb_get_meta();
extern void skb_set_meta();
#define ADIT_SKB(name, width)                       \
    extern bit<width> skb_get_##name();             \
    extern void skb_set_##name(in bit<width> value);
ADIT_SKB(tstamp, 64)
ADIT_SKB(mark, 32)
ADIT_SKB(tc_classid, 16)
ADIT_SKB(tc_index, 16)
ADIT_SKB(queue_mapping, 16)
ADIT_SKB(protocol, 16)
#undef ADIT_SKB
extern bit<1> skb_get_tc_at_ingress();
extern bit<1> skb_get_from_ingress();
#endif

#if ADIT_PNA_BLOCKS == 4
enum PNA_Direction_t {
    NET_TO_HOST,
    HOST_TO_NET
}

enum PNA_PacketPath_t {
    FROM_NET_PORT,
    FROM_NET_LOOPEDBACK,
    FROM_NET_RECIRCULATED,
    FROM_HOST,
    FROM_HOST_LOOPEDBACK,
    FROM_HOST_RECIRCULATED
}

struct pna_pre_input_metadata_t {
    PortId_t        input_port;
    ParserError_t   parser_error;
    PNA_Direction_t direction;
    PassNumber_t    pass;
    bool            loopedback;
}

struct pna_pre_output_metadata_t {
    bool              decrypt;
    SecurityAssocId_t said;
    bit<16>           decrypt_start_offset;
}

struct pna_main_parser_input_metadata_t {
    PNA_Direction_t direction;
    PassNumber_t    pass;
    bool            loopedback;
    PortId_t        input_port;
}

struct pna_main_input_metadata_t {
    PNA_Direction_t  direction;
    PassNumber_t     pass;
    bool             loopedback;
    Timestamp_t      timestamp;
    ParserError_t    parser_error;
    ClassOfService_t class_of_service;
    PortId_t         input_port;
}
#else
enum PNA_Source_t {
    FROM_HOST,
    FROM_NET
}

struct pna_main_parser_input_metadata_t {
    bool     recirculated;
    PortId_t input_port;
}

struct pna_main_input_metadata_t {
    bool             recirculated;
#ifdef ADIT_PNA_TC
    bool             recirculate;
#endif
    Timestamp_t      timestamp;
    ParserError_t    parser_error;
    ClassOfService_t class_of_service;
    PortId_t         input_port;
}
#endif

struct pna_main_output_metadata_t {
    ClassOfService_t class_of_service;
}

// The side that a port is on.
@pure
extern bool is_net_port(in PortId_t p);
@pure
extern bool is_host_port(in PortId_t p);

// Where the packet goes. The last call wins; without any the packet is dropped.
extern void drop_packet();
extern void send_to_port(in PortId_t dest_port);
extern void mirror_packet(in MirrorSlotId_t mirror_slot_id,
                          in MirrorSessionId_t mirror_session_id);

// Adds the key that was looked up, from the default action of an add_on_miss table.
#if ADIT_PNA_BLOCKS == 4
extern void recirculate();
extern bool add_entry<T>(string action_name, in T action_params,
                         in ExpireTimeProfileId_t expire_time_profile_id);
#else
typedef bit<1> AddEntryErrorStatus_t;
const AddEntryErrorStatus_t ADD_ENTRY_SUCCESS = 0;
const AddEntryErrorStatus_t ADD_ENTRY_NOT_DONE = 1;

extern AddEntryErrorStatus_t add_entry<T>(string action_name, in T action_params,
                                          in ExpireTimeProfileId_t expire_time_profile_id);
extern AddEntryErrorStatus_t add_entry_if<T>(in bool do_add_entry, string action_name,
                                             in T action_params,
                                             in ExpireTimeProfileId_t expire_time_profile_id);
#endif

extern FlowId_t allocate_flow_id();

// The entry that was matched: its expire time profile, which also restarts its timer; its timer.
extern void set_entry_expire_time(in ExpireTimeProfileId_t expire_time_profile_id);
extern void restart_expire_timer();

#if ADIT_PNA_BLOCKS == 4
@pure
extern T SelectByDirection<T>(in PNA_Direction_t direction, in T n2h_value, in T h2n_value);

control PreControlT<PH, PM>(in PH pre_hdr, inout PM pre_user_meta,
                            in pna_pre_input_metadata_t istd,
                            inout pna_pre_output_metadata_t ostd);
#else
// The same under a condition; update_expire_info restarts the timer and, if the second condition
// holds, sets the profile.
extern void set_entry_expire_time_if(in bool condition,
                                     in ExpireTimeProfileId_t expire_time_profile_id);
extern void update_expire_info(in bool update_aging_info, in bool update_expire_time,
                               in ExpireTimeProfileId_t expire_time_profile_id);

@pure
extern T SelectByDirection<T>(in bool is_network_port, in T from_net_value, in T from_host_value);
#endif

parser MainParserT<MH, MM>(packet_in pkt, out MH main_hdr, inout MM main_user_meta,
                           in pna_main_parser_input_metadata_t istd);
control MainControlT<MH, MM>(inout MH main_hdr, inout MM main_user_meta,
                             in pna_main_input_metadata_t istd,
                             inout pna_main_output_metadata_t ostd);
#ifdef ADIT_PNA_DEPARSER_WRITES
#define ADIT_DEPARSED inout
#else
#define ADIT_DEPARSED in
#endif
control MainDeparserT<MH, MM>(packet_out pkt, ADIT_DEPARSED MH main_hdr, in MM main_user_meta,
                              in pna_main_output_metadata_t ostd);

#if ADIT_PNA_BLOCKS == 4
package PNA_NIC<PH, PM, MH, MM>(MainParserT<MH, MM> main_parser, PreControlT<PH, PM> pre_control,
                                MainControlT<MH, MM> main_control,
                                MainDeparserT<MH, MM> main_deparser);
#else
package PNA_NIC<MH, MM>(MainParserT<MH, MM> main_parser, MainControlT<MH, MM> main_control,
                        MainDeparserT<MH, MM> main_deparser);
#endif

#endif
