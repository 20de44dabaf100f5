#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# TCP streams both ways, both families.
# TIMEOUT: 90
. "$SELFTEST_LIB/net.sh"
plan 5
check "up" net_up
wire --bg iperf iperf3 -s
wire_listen 5201
for address in $host4 $host6; do
    check "from the guest to $address" iperf3 -c $address -t 2 --connect-timeout 5000
    check "from $address to the guest" iperf3 -c $address -t 2 -R --connect-timeout 5000
done
wire --kill iperf
done_testing
