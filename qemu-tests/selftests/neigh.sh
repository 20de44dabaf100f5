#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# ARP and neighbour discovery, asked from either side.
. "$SELFTEST_LIB/net.sh"
plan 5
check "up" net_up
ip neigh flush dev "$dev"
check "ARP from the guest" arping -q -c 2 -w 5 -i "$dev" $host4
check "neighbour discovery from the guest" ndisc6 -q -1 $host6 "$dev"
wire ip neigh flush dev wire0
check "ARP from the wire" wire arping -q -c 2 -w 5 -i wire0 $guest4
check "neighbour discovery from the wire" wire ndisc6 -q -1 $guest6 wire0
done_testing
