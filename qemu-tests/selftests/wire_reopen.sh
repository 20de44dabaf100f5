#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# A wire that vanishes and comes back: its TAP device is deleted, also while frames are sent, and
# made again.
. "$SELFTEST_LIB/net.sh"
plan 11
check "up" net_up
# made_again: as the harness makes it.
made_again() {
    wire ip tuntap add wire0 mode tap &&
        wire sysctl -qw net.ipv6.conf.wire0.keep_addr_on_down=1 &&
        wire ip link set wire0 up &&
        wire ip addr add $host4/24 dev wire0 &&
        wire ip addr add $host6/64 dev wire0 nodad
}
log() { wire cat /run/adit/nic0.log; }
# logged COUNT TEXT: how often something was logged that was not before this test.
before=$(log | wc -l)
logged() { (($(log | tail -n +$((before + 1)) | grep -c -- "$2") == $1)); }

check "deleted: the link goes down" eval 'wire ip link del wire0 && retry 10 carrier 0'
check "which is logged once, with the reason" logged 1 'link down.*was deleted'
check "made again: the link comes up" eval 'made_again && retry 10 carrier 1'
check "which is logged" logged 1 'link up'
check "IPv4 works again" retry 10 ping4 1 -w 2
check "IPv6 works again" retry 10 ping6 1 -w 2

ping -f -q -w 20 $host4 >/dev/null 2>&1 &
sleep 1
check "deleted in a flood: the link goes down" eval 'wire ip link del wire0 && retry 10 carrier 0'
check "made again: the link comes up" eval 'made_again && retry 10 carrier 1'
wait
check "it carries traffic" retry 10 ping4 1 -w 2
check "nothing was logged but the links" logged 4 .
done_testing
