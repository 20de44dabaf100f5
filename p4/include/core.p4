// SPDX-License-Identifier: Apache-2.0 OR MIT
// The core library: what every P4_16 program may use (P4_16 specification 1.2.5, appendix D).

// Programs made of fragments test this macro.
#ifndef _CORE_P4_
#define _CORE_P4_

error {
    NoError,
    PacketTooShort,         // fewer bits left than asked for
    NoMatch,                // no case of a select matched
    StackOutOfBounds,       // a header stack's next or last beyond its end
    HeaderTooShort,         // a header with a varbit field longer than that field may be
    ParserTimeout,          // more parser steps than the target takes
    ParserInvalidArgument   // an argument of a parser's method that it cannot work with
}

extern packet_in {
    // Reads a header of fixed size.
    void extract<T>(out T hdr);
    // Reads a header with one varbit field, of which so many bits are there.
    void extract<T>(out T variableSizeHeader, in bit<32> variableFieldSizeInBits);
    // Reads without moving on.
    T lookahead<T>();
    // Moves on without reading.
    void advance(in bit<32> sizeInBits);
    // The packet's length in bytes.
    bit<32> length();
}

extern packet_out {
    // Appends the valid headers in it.
    void emit<T>(in T hdr);
}

// Ends parsing with the error unless the condition holds.
extern void verify(in bool check, in error toSignal);

// Checked by the compiler.
extern bool static_assert(bool check, string message);
extern bool static_assert(bool check);

@noWarn("unused")
action NoAction() {}

match_kind {
    exact,
    ternary,
    lpm
}

#endif
