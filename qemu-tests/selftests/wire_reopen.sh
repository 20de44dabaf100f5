#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# A wire that is lost and reopened: its TAP device is deleted, also while frames are sent, and created
# again.
# TIMEOUT: 120
. "$SELFTEST_LIB/net.sh"
plan 11
check "the interface is up" net_up
# create_again: creates the device as the harness does.
create_again() {
    wire ip tuntap add wire0 mode tap &&
        wire sysctl -qw net.ipv6.conf.wire0.keep_addr_on_down=1 &&
        wire ip link set wire0 up &&
        wire ip addr add $host4/24 dev wire0 &&
        wire ip addr add $host6/64 dev wire0 nodad
}
log() { wire cat /run/adit/nic0.log; }
# logged COUNT TEXT: TEXT was logged COUNT times since the test began.
before=$(log | wc -l)
logged() { (($(log | tail -n +$((before + 1)) | grep -c -- "$2") == $1)); }

check "the link goes down when the TAP device is deleted" eval 'wire ip link del wire0 && retry 10 carrier 0'
check "the loss of the link is logged once, with the reason" retry 10 logged 1 'link down.*was deleted'
check "the link comes up when the TAP device is created again" eval 'create_again && retry 10 carrier 1'
check "the return of the link is logged" retry 10 logged 1 'link up'
check "IPv4 works after the TAP device was created again" retry 10 ping4 1 -w 2
check "IPv6 works after the TAP device was created again" retry 10 ping6 1 -w 2

ping -f -q -w 20 $host4 >/dev/null 2>&1 &
sleep 1
check "the link goes down when the TAP device is deleted under a flood" eval 'wire ip link del wire0 && retry 10 carrier 0'
check "the link comes up when the TAP device is created again" eval 'create_again && retry 10 carrier 1'
wait
check "the link carries traffic" retry 10 ping4 1 -w 2
check "only link changes are logged" retry 10 logged 4 .
done_testing
