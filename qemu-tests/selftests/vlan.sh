#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# A VLAN interface at either end.
. "$SELFTEST_LIB/net.sh"
plan 4
check "the interface is up" net_up
ip link add link "$dev" name v42 type vlan id 42
ip addr add 10.42.0.2/24 dev v42
ip link set v42 up
# The host's kernel may have no VLAN support: a few lines of Python are the other station.
ip neigh replace 10.42.0.1 lladdr 02:00:00:00:00:42 dev v42
wire --bg station "$SELFTEST_LIB/raw.py" vlan-station wire0 42
retry 20 ping -n -q -c 1 -W 1 10.42.0.1
check "tagged packets pass" ping -n -q -c 3 -i 0.2 -w 30 10.42.0.1
check "tagged frames of full size pass" ping -n -q -c 3 -i 0.2 -w 30 -s 1472 -M do 10.42.0.1
wire --kill station
ip link del v42
check "untagged packets pass" ping4
done_testing
