#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# The function is removed from the bus and found by a rescan, which must allocate its 1 GiB BAR.
# TIMEOUT: 120
. "$SELFTEST_LIB/net.sh"
plan 8
bus=/sys/bus/pci
bar0() { head -n 1 "$bus/devices/$nic/resource"; }
check "the interface is up" net_up
before=$(bar0)
# README's command.
remove() {
    awk '$0 == "```sh give up" { inside = 1; next } /^```/ { inside = 0 } inside' /repo/README.md |
        bash -e && [[ ! -e $bus/devices/$nic ]]
}
for round in 1 2; do
    check "round $round: the function is removed" remove
    check "the function is found by a rescan and idpf is bound" eval \
        'echo 1 >"$bus/rescan" && [[ -e $bus/devices/$nic ]] && retry 20 test -e "$driver/$nic"'
    check "the function carries traffic" eval 'net_up && ping4'
done
size() { local start end; read -r start end _ <<<"$1"; echo $((end - start + 1)); }
check_equal "BAR 0 has its former size" "$(size "$(bar0)")" "$(size "$before")"
done_testing
