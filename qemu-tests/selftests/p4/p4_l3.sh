#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# l3.p4: the NIC is a router between the guest and its wire, one hop in each direction.
# TIMEOUT: 300
. "$SELFTEST_LIB/programs.sh"
plan 7
check "the interface is up" program_up 3
check_equal "an echo from the guest passes one hop in each direction" \
    "$(ping -n -c 3 -i 0.2 -w 30 10.99.3.1 | grep -c 'ttl=63')" 3
check_equal "an echo from the wire passes one hop in each direction" \
    "$(wire ping -n -c 3 -i 0.2 -w 30 10.99.3.2 | grep -c 'ttl=63')" 3
check "a packet with a TTL of one is dropped by the router" eval '! ping -n -q -c 2 -i 0.2 -W 1 -t 1 10.99.3.1'
check "TCP from the guest to the wire works" wire_stream -c 10.99.3.1 -t 2
check "TCP from the wire to the guest works" wire_stream -c 10.99.3.1 -t 2 -R
check_equal "no checksum error is counted" "$(stat rx-csum_errors)" 0
done_testing
