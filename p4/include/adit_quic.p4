// SPDX-License-Identifier: Apache-2.0 OR MIT
// The connection id of a QUIC packet, at the beginning of a UDP payload.

#ifndef __ADIT_QUIC_P4__
#define __ADIT_QUIC_P4__

// Bytes of a connection id in short headers: they do not say it, servers that are told apart by
// their ids agree on it. Compile with another value to change it, from 1 to 20.
#ifndef QUIC_SHORT_ID_BYTES
#define QUIC_SHORT_ID_BYTES 8
#endif

// What is the same in all versions of QUIC (RFC 8999): a long header has eight bits of flags, a
// version and the length of the id before it, a short one the flags.
#define QUIC_LONG_BITS 48
#define QUIC_ID(before, bytes)                                                              \
    (bit<160>) (pkt.lookahead<bit<(before + 8 * bytes)>>()[8 * bytes - 1:0]) << (160 - 8 * bytes)

struct quic_t {
    bit<8>   id_len; // in bytes; 0 without an id
    bit<160> id; // from the left
}

// Looks at QUIC, so that it stays payload. What is too short for an id ends with a parser error: it is
// not QUIC, and not malformed either.
parser QuicParser(packet_in pkt, inout quic_t q) {
    state start {
        transition select(pkt.lookahead<bit<1>>()) {
            1: long;
            default: short;
        }
    }
    state short {
        q.id = QUIC_ID(8, QUIC_SHORT_ID_BYTES);
        q.id_len = QUIC_SHORT_ID_BYTES;
        transition accept;
    }
    state long {
        transition select(pkt.lookahead<bit<QUIC_LONG_BITS>>()[7:0]) {
            1: long_1;
            2: long_2;
            3: long_3;
            4: long_4;
            5: long_5;
            6: long_6;
            7: long_7;
            8: long_8;
            9: long_9;
            10: long_10;
            11: long_11;
            12: long_12;
            13: long_13;
            14: long_14;
            15: long_15;
            16: long_16;
            17: long_17;
            18: long_18;
            19: long_19;
            20: long_20;
            default: accept;
        }
    }
#define QUIC_LONG(n)                          \
    state long_##n {                          \
        q.id = QUIC_ID(QUIC_LONG_BITS, n);    \
        q.id_len = n;                         \
        transition accept;                    \
    }
    QUIC_LONG(1)
    QUIC_LONG(2)
    QUIC_LONG(3)
    QUIC_LONG(4)
    QUIC_LONG(5)
    QUIC_LONG(6)
    QUIC_LONG(7)
    QUIC_LONG(8)
    QUIC_LONG(9)
    QUIC_LONG(10)
    QUIC_LONG(11)
    QUIC_LONG(12)
    QUIC_LONG(13)
    QUIC_LONG(14)
    QUIC_LONG(15)
    QUIC_LONG(16)
    QUIC_LONG(17)
    QUIC_LONG(18)
    QUIC_LONG(19)
    QUIC_LONG(20)
}

#endif
