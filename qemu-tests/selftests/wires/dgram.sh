#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# A port connected to QEMU's own `-netdev dgram` (--wire unix:LOCAL,REMOTE), with a virtio-net behind.
# TIMEOUT: 300
. "$SELFTEST_LIB/ports.sh"
plan 6
modprobe virtio_net
ours=$(port 02:ad:17:00:00:03) theirs=$(port 02:ad:17:00:02:01)
check "the end of the NIC is up" port_up "$ours" 10.98.2.1/24
check "the end of virtio-net is up" far_end "$theirs" 10.98.2.2/24
check "the NIC pings virtio-net" ping -n -q -c 3 -i 0.2 -w 30 10.98.2.2
check "TCP from the NIC to virtio-net works" far_stream -c 10.98.2.2 -t 2
check "TCP from virtio-net to the NIC works" far_stream -c 10.98.2.2 -t 2 -R
check "fragmented datagrams arrive" ping -n -q -c 3 -i 0.2 -w 30 -s 4000 10.98.2.2
no_far_end
done_testing
