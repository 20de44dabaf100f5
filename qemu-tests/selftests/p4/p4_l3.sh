#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# l3.p4: the NIC is a router between the guest and its wire, one hop in each direction.
# TIMEOUT: 120
. "$SELFTEST_LIB/programs.sh"
plan 7
check "up" program_up 3
check_equal "an echo has gone over two hops of one each" \
    "$(ping -n -c 3 -i 0.2 -W 5 10.99.3.1 | grep -c 'ttl=63')" 3
check_equal "and so has one from the wire" \
    "$(wire ping -n -c 3 -i 0.2 -W 5 10.99.3.2 | grep -c 'ttl=63')" 3
check "a time to live of one ends in the router" eval '! ping -n -q -c 2 -i 0.2 -W 1 -t 1 10.99.3.1'
wire --bg server iperf3 -s
wire_listen 5201
check "TCP there" iperf3 -c 10.99.3.1 -t 2 --connect-timeout 5000
check "TCP back" iperf3 -c 10.99.3.1 -t 2 -R --connect-timeout 5000
wire --kill server
check_equal "no wrong checksums" "$(stat rx-csum_errors)" 0
done_testing
