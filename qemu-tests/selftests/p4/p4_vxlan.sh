#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# vxlan.p4: the wire's end of the tunnel is Linux's own VXLAN device; the guest has none.
# TIMEOUT: 300
. "$SELFTEST_LIB/programs.sh"
plan 8
check "the interface is up" program_up 0
check "packets outside of the tunnel pass" ping -n -q -c 3 -i 0.2 -w 30 10.99.0.1

tunnel() {
    wire ip link add vx0 address 02:00:00:00:77:01 mtu 1400 type vxlan id 42 dstport 4789 \
        local 10.99.0.1 remote 10.99.0.2 dev wire0 &&
        wire ip addr add 10.77.0.1/24 dev vx0 &&
        wire ip link set vx0 up &&
        wire ip neigh replace 10.77.0.2 lladdr 02:ad:17:00:00:01 dev vx0 &&
        ip addr replace 10.77.0.2/24 dev "$dev" &&
        ip route replace 10.77.0.0/24 dev "$dev" src 10.77.0.2 mtu 1400 &&
        ip neigh replace 10.77.0.1 lladdr 02:00:00:00:77:01 dev "$dev"
}
check "a VXLAN device is created on the wire" tunnel
wire --bg dump sh -c 'tcpdump -c 1 -nni wire0 udp dst port 4789 and src host 10.99.0.2 >/tmp/vxlan 2>&1'
retry 20 wire grep -q listening /tmp/vxlan
check "ping passes through the tunnel" ping -n -q -c 5 -i 0.2 -w 30 10.77.0.1
check "packets on the wire are encapsulated" retry 20 wire grep -q 'VXLAN, flags \[I\] (0x08), vni 42' /tmp/vxlan
wire --kill dump
check "TCP into the tunnel works" wire_stream -c 10.77.0.1 -t 2
check "TCP out of the tunnel works" wire_stream -c 10.77.0.1 -t 2 -R
check_equal "no checksum error is counted" "$(stat rx-csum_errors)" 0
wire ip link del vx0
done_testing
