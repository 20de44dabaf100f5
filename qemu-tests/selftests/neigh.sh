#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# ARP and neighbour discovery, requested from either side.
# TIMEOUT: 120
. "$SELFTEST_LIB/net.sh"
plan 5
check "the interface is up" net_up
ip neigh flush dev "$dev"
check "the guest resolves the wire by ARP" arping -q -C 1 -w 30 -i "$dev" $host4
check "the guest resolves the wire by neighbour discovery" ndisc6 -q -1 -r 30 $host6 "$dev"
wire ip neigh flush dev wire0
check "the wire resolves the guest by ARP" wire arping -q -C 1 -w 30 -i wire0 $guest4
check "the wire resolves the guest by neighbour discovery" wire ndisc6 -q -1 -r 30 $guest6 wire0
done_testing
