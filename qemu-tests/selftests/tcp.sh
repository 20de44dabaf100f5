#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# TCP streams in both directions, both families.
# TIMEOUT: 90
. "$SELFTEST_LIB/net.sh"
plan 5
check "the interface is up" net_up
wire --bg iperf iperf3 -s
wire_listen 5201
for address in $host4 $host6; do
    check "a TCP stream from the guest to $address succeeds" iperf3 -c $address -t 2 --connect-timeout 5000
    check "a TCP stream from $address to the guest succeeds" iperf3 -c $address -t 2 -R --connect-timeout 5000
done
wire --kill iperf
done_testing
