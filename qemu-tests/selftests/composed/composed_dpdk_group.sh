#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# DPDK's own idpf driver on a device whose virtual port has the queues of two ADIs, four of each. It maps all RX
# queues to one vector, which is one ADI's.
# TIMEOUT: 400
number=2
. "$SELFTEST_LIB/dpdk.sh"
plan 4
port 02:ad:17:00:02:01 >/dev/null
modprobe vfio-pci
huge_pages 256
check "vfio-pci is bound to the device" bind vfio-pci
check "testpmd replies with the queues of one ADI" answered Split Split "" 4
check "testpmd replies with the queues of both" answered Split Split "" 8
huge_pages 0
bind idpf
check "idpf works with the device afterwards" eval 'nic-up 2 && ping -n -q -c 2 -w 30 10.99.2.1'
done_testing
