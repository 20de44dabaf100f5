#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# rmmod and modprobe, a hundred times.
# TIMEOUT: 300
. "$SELFTEST_LIB/net.sh"
plan 3
check "the interface is up" net_up
cycle() {
    for i in $(seq 100); do
        rmmod idpf || { echo "rmmod in round $i"; return 1; }
        modprobe idpf || { echo "modprobe in round $i"; return 1; }
        nic-netdev >/dev/null || { echo "no netdev in round $i"; return 1; }
    done
}
check "idpf is unloaded and loaded a hundred times" cycle
check "the interface carries traffic after the reloads" eval 'net_up && ping4'
done_testing
