#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# The hash that a P4 program sets, as an XDP program reads it from stock idpf (XDP metadata hints,
# Documentation/networking/xdp-rx-metadata.rst): classifier.p4 sets that of a QUIC connection's id.
# TIMEOUT: 120
. "$SELFTEST_LIB/programs.sh"
plan 10
check "the interface is up" program_up 1
# The NIC has two queues of a kind: XDP takes the second for what a program sends.
check "one queue is left for XDP" ethtool -L "$dev" combined 1
settle
ethtool -K "$dev" rxhash on
dir=$(mktemp -d)
pinned=/sys/fs/bpf/p4_metadata
cat >"$dir/hash.c" <<'C'
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
char _license[] SEC("license") = "Dual MIT/GPL";
enum xdp_rss_hash_type { XDP_RSS_TYPE_NONE = 0, XDP_RSS_TYPE_L4_IPV4_UDP = 1 << 30 };
extern int bpf_xdp_metadata_rx_hash(const struct xdp_md *ctx, __u32 *hash,
                                    enum xdp_rss_hash_type *type) __ksym;
struct result { __u32 packets, failed, hash; };
struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct result);
} results SEC(".maps");
/* Records the hash of the last datagram to port 443. */
SEC("xdp") int hash(struct xdp_md *ctx)
{
    unsigned char *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
    enum xdp_rss_hash_type type;
    __u32 hash = 0, zero = 0;
    struct result *result = bpf_map_lookup_elem(&results, &zero);
    if (!result || data + 42 > end || data[12] != 8 || data[23] != 17 || data[36] != 1 || data[37] != 187)
        return XDP_PASS;
    result->packets++;
    if (bpf_xdp_metadata_rx_hash(ctx, &hash, &type))
        result->failed++;
    result->hash = hash;
    return XDP_PASS;
}
C
check "the program compiles" clang -O2 -g -target bpf -I/usr/include/x86_64-linux-gnu -c "$dir/hash.c" -o "$dir/hash.o"
mkdir -p $pinned
# Programs that read metadata are loaded for one interface, whose driver has the functions.
check "idpf has the hint" bpftool prog load "$dir/hash.o" $pinned/hash xdpmeta_dev "$dev" pinmaps $pinned
check "the program attaches in native mode" bpftool net attach xdpdrv pinned $pinned/hash dev "$dev"
settle
# result FIELD: packets, failed or hash.
result() {
    bpftool -j map lookup pinned $pinned/results key 0 0 0 0 | python3 -c '
import json, struct, sys
value = bytes(int(byte, 16) for byte in json.load(sys.stdin)["value"])
print(dict(zip(("packets", "failed", "hash"), struct.unpack("<III", value)))[sys.argv[1]])' "$1"
}
# udp SOURCE-PORT HEX: a datagram from the wire to port 443.
udp() {
    wire python3 -c '
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("10.99.1.1", int(sys.argv[1])))
s.sendto(bytes.fromhex(sys.argv[2]), ("10.99.1.2", 443))' "$@"
}
# came N: N datagrams have come.
came() { [[ $(result packets) == "$1" ]]; }
hash_of() {
    python3 -c '
import sys, zlib
id = bytes.fromhex(sys.argv[1])
print(zlib.crc32(id.ljust(20, b"\0") + bytes([len(id)])))' "$1"
}
quic=1112131415161718
udp 1111 "c00000000108${quic}00ff"
check "a QUIC packet comes" retry 20 came 1
check_equal "its hash is that of the connection's id" "$(result hash)" "$(hash_of $quic)"
udp 2222 "40${quic}ff"
retry 20 came 2
check_equal "from another port it is the same" "$(result hash)" "$(hash_of $quic)"
udp 2222 "40a1a2a3a4a5a6a7a8ff"
retry 20 came 3
check_equal "another connection has another hash" "$(result hash)" "$(hash_of a1a2a3a4a5a6a7a8)"
check_equal "the driver had a hash for each" "$(result packets) $(result failed)" "3 0"
bpftool net detach xdpdrv dev "$dev"
ethtool -L "$dev" combined 2
rm -rf $pinned "$dir"
settle
done_testing
