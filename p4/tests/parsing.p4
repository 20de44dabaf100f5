// SPDX-License-Identifier: Apache-2.0 OR MIT
// Stacks, unions, varbits, lookahead, select with masks and ranges, sub-parsers, errors.

#include <v1model.p4>

header tag_t   { bit<7> value; bit<1> last; }
header small_t { bit<8> x; }
header large_t { bit<16> x; }
header opts_t  { bit<8> length; varbit<64> data; }
header mark_t  { bit<8> error_code; bit<8> count; }
header_union either_t { small_t small; large_t large; }

struct H {
    mark_t   mark;
    tag_t[3] tags;
    either_t either;
    opts_t   opts;
}
struct M {}

parser tags(packet_in b, inout H h) {
    state start {
        b.extract(h.tags.next);
        transition select(h.tags.last.last) {
            0: start;
            1: accept;
        }
    }
}

parser P(packet_in b, out H h, inout M m, inout standard_metadata_t s) {
    tags() sub;
    state start {
        sub.apply(b, h);
        verify(h.tags[0].value != 0x7f, error.ParserInvalidArgument);
        transition select(b.lookahead<bit<8>>(), h.tags.lastIndex) {
            (0x00 &&& 0xf0, _): small;
            (0x10 .. 0x1f, 0): large;
            (0x20, _): options;
        }
    }
    state small { b.extract(h.either.small); transition accept; }
    state large { b.extract(h.either.large); transition accept; }
    state options {
        b.advance(8);
        b.extract(h.opts, (bit<32>) (b.lookahead<bit<8>>() * 8));
        transition accept;
    }
}

control I(inout H h, inout M m, inout standard_metadata_t s) {
    apply {
        s.egress_spec = 1;
        h.mark.setValid();
        if (s.parser_error == error.PacketTooShort) { h.mark.error_code = 1; }
        else if (s.parser_error == error.NoMatch) { h.mark.error_code = 2; }
        else if (s.parser_error == error.StackOutOfBounds) { h.mark.error_code = 3; }
        else if (s.parser_error == error.ParserInvalidArgument) { h.mark.error_code = 4; }
        else if (s.parser_error == error.HeaderTooShort) { h.mark.error_code = 5; }
        for (tag_t t in h.tags) {
            if (t.isValid()) { h.mark.count += 1; }
        }
        if (h.either.isValid() && h.mark.count == 2) {
            // The other member goes.
            h.either.large.setValid();
            h.either.large.x = 0xbeef;
        }
    }
}

#include "v1model-skeleton.p4"
