#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# AF_XDP sockets in copy and zero-copy mode: DPDK's testpmd on its AF_XDP driver replies to ARP and
# ping instead of the kernel.
# TIMEOUT: 500
. "$SELFTEST_LIB/net.sh"
plan 8
check "the interface is up" net_up
check "the kernel replies to ping" ping4

# answered_by_testpmd MODE-ARGS: pings from the wire while testpmd has the queues. It ends when it
# reads `quit`.
answered_by_testpmd() {
    local dir status
    dir=$(mktemp -d)
    mkfifo "$dir/in"
    within 180 dpdk-testpmd --no-huge -m 256 --no-pci --file-prefix=adit \
        --vdev "net_af_xdp0,iface=$dev$1" -- \
        --forward-mode=icmpecho --no-mlockall --total-num-mbufs=4096 --auto-start \
        <"$dir/in" >"$dir/log" 2>&1 &
    exec 3>"$dir/in"
    retry 30 has_program && settle && retry 30 wire arping -q -c 2 -w 2 -I wire0 10.99.0.2
    status=$?
    echo quit >&3
    exec 3>&-
    wait
    [[ $status == 0 ]] && forwarded "$dir/log" || {
        tail -n 40 "$dir/log"
        rm -rf "$dir"
        return 1
    }
    rm -rf "$dir"
}

# Succeeds if an XDP program is attached: testpmd's, which redirects to its socket.
has_program() { ip link show dev "$dev" | grep -q xdp; }

# forwarded LOG: testpmd itself has counted frames both ways.
forwarded() {
    awk '/RX-packets/ { rx = $2 } /TX-packets/ { tx = $2 } END { exit !(rx > 0 && tx > 0) }' "$1"
}

check "copy mode: testpmd replies to ping" answered_by_testpmd ",force_copy=1"
settle
check "copy mode: the kernel replies to ping afterwards" ping4
check "zero-copy mode: testpmd replies to ping" answered_by_testpmd ""
settle
check "zero-copy mode: the kernel replies to ping afterwards" ping4
check "zero-copy mode: testpmd replies to ping a second time" answered_by_testpmd ""
settle
check "the kernel replies to ping in the end" ping4
done_testing
