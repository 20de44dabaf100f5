#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# ethtool -K: traffic with each offload off and on again.
# TIMEOUT: 120
. "$SELFTEST_LIB/net.sh"
features=(rx tx tso rxhash gro)
plan $((1 + 2 * ${#features[@]}))
check "up" net_up
wire --bg iperf iperf3 -s
wire_listen 5201
for feature in "${features[@]}"; do
    for state in off on; do
        if ! output=$(ethtool -K "$dev" "$feature" $state 2>&1); then
            skip "$feature $state" "${output//$'\n'/ }"
        else
            retry 10 carrier 1
            check "$feature $state" iperf3 -c $host4 -n 2M --bidir --connect-timeout 5000
        fi
    done
done
wire --kill iperf
done_testing
