#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# Native XDP: XDP_PASS, XDP_DROP, XDP_TX and detaching, under traffic.
# TIMEOUT: 120
. "$SELFTEST_LIB/net.sh"
plan 9
check "the interface is up" net_up
dir=$(mktemp -d)
cat >"$dir/xdp.c" <<'C'
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <bpf/bpf_helpers.h>
char _license[] SEC("license") = "Dual MIT/GPL";
SEC("xdp") int pass(struct xdp_md *ctx) { return XDP_PASS; }
SEC("xdp") int drop(struct xdp_md *ctx) { return XDP_DROP; }
/* Sends frames of the experimental EtherType back to where they came from. */
SEC("xdp") int reflect(struct xdp_md *ctx)
{
    unsigned char *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end, mac;
    if (data + 14 > end || data[12] != 0x88 || data[13] != 0xb5)
        return XDP_PASS;
    for (int i = 0; i < 6; i++) {
        mac = data[i];
        data[i] = data[i + 6];
        data[i + 6] = mac;
    }
    return XDP_TX;
}
C
check "the program compiles" clang -O2 -g -target bpf -I/usr/include/x86_64-linux-gnu -c "$dir/xdp.c" -o "$dir/xdp.o"
mkdir -p /sys/fs/bpf/xdp
check "the program loads" bpftool prog loadall "$dir/xdp.o" /sys/fs/bpf/xdp
attach() { bpftool net attach xdpdrv pinned "/sys/fs/bpf/xdp/$1" dev "$dev" overwrite; }
check "the program attaches in native mode" attach pass
settle
check "traffic passes with XDP_PASS" ping4
attach drop
settle
check "XDP_DROP drops frames" eval '! ping -n -q -c 2 -i 0.2 -W 1 $host4'
attach reflect
settle
check "XDP_TX sends frames back" retry 20 wire "$SELFTEST_LIB/raw.py" echo wire0 02ad17000001020000000098
check "the program detaches" bpftool net detach xdpdrv dev "$dev"
settle
check "traffic passes without a program" ping4
rm -rf /sys/fs/bpf/xdp "$dir"
done_testing
