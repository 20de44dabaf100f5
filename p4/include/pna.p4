// SPDX-License-Identifier: Apache-2.0 OR MIT
// The Portable NIC Architecture. ADIT_PNA_BLOCKS says which of its forms: 3 for version 0.7 of the
// specification, 4 for the older one with a PreControl, which most public programs are written for.

#ifndef __PNA_P4__
#define __PNA_P4__

#include <core.p4>

#ifndef ADIT_PNA_BLOCKS
#define ADIT_PNA_BLOCKS 4
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
}

extern DirectMeter {
    DirectMeter(PNA_MeterType_t type);
    PNA_MeterColor_t execute(in PNA_MeterColor_t color, @optional in bit<32> pkt_len);
    PNA_MeterColor_t execute(@optional in bit<32> pkt_len);
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
struct pna_main_parser_input_metadata_t {
    bool     loopedback;
    PortId_t input_port;
}

struct pna_main_input_metadata_t {
    bool             loopedback;
    Timestamp_t      timestamp;
    ParserError_t    parser_error;
    ClassOfService_t class_of_service;
    PortId_t         input_port;
}
#endif

struct pna_main_output_metadata_t {
    ClassOfService_t class_of_service;
}

// Where the packet goes. The last call wins; without any the packet is dropped.
extern void drop_packet();
extern void send_to_port(PortId_t dest_port);
extern void mirror_packet(MirrorSlotId_t mirror_slot_id, MirrorSessionId_t mirror_session_id);

// Adds the key that was looked up, from the default action of an add_on_miss table.
#if ADIT_PNA_BLOCKS == 4
extern void recirculate();
extern bool add_entry<T>(string action_name, in T action_params,
                         in ExpireTimeProfileId_t expire_time_profile_id);
#else
enum PNA_AddEntryStatus_t {
    SUCCESS,
    NOT_DONE
}

extern PNA_AddEntryStatus_t add_entry<T>(string action_name, in T action_params,
                                         in ExpireTimeProfileId_t expire_time_profile_id);
#endif

extern FlowId_t allocate_flow_id();
extern void set_entry_expire_time(in ExpireTimeProfileId_t expire_time_profile_id);
extern void restart_expire_timer();

#if ADIT_PNA_BLOCKS == 4
@pure
extern T SelectByDirection<T>(in PNA_Direction_t direction, in T n2h_value, in T h2n_value);

control PreControlT<PH, PM>(in PH pre_hdr, inout PM pre_user_meta,
                            in pna_pre_input_metadata_t istd,
                            inout pna_pre_output_metadata_t ostd);
#endif

parser MainParserT<MH, MM>(packet_in pkt, out MH main_hdr, inout MM main_user_meta,
                           in pna_main_parser_input_metadata_t istd);
control MainControlT<MH, MM>(inout MH main_hdr, inout MM main_user_meta,
                             in pna_main_input_metadata_t istd,
                             inout pna_main_output_metadata_t ostd);
// In the form of Linux's traffic control the deparser may change the headers.
#ifdef ADIT_PNA_TC
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
