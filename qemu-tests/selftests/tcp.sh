#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# TCP streams in both directions, both families.
# TIMEOUT: 240
. "$SELFTEST_LIB/net.sh"
plan 5
check "the interface is up" net_up
for address in $host4 $host6; do
    check "a TCP stream from the guest to $address succeeds" wire_stream -c $address -t 2
    check "a TCP stream from $address to the guest succeeds" wire_stream -c $address -t 2 -R
done
done_testing
