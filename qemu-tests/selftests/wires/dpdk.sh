#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# DPDK's own idpf driver in user space, with the device behind the IOMMU (vfio-pci): testpmd replies
# to ARP and ping.
# TIMEOUT: 500
. "$SELFTEST_LIB/dpdk.sh"
plan 6
port 02:ad:17:00:01:01 >/dev/null
modprobe vfio-pci
huge_pages 256
check "vfio-pci is bound to the device" bind vfio-pci
check "testpmd replies with split queues" answered Split Split ""
check "testpmd replies with single queues" answered Single Single ,tx_single=1,rx_single=1
check "testpmd replies with single transmit queues" answered Split Single ,tx_single=1
check "testpmd replies with single receive queues" answered Single Split ,rx_single=1
huge_pages 0
bind idpf
check "idpf works with the device afterwards" eval 'nic-up 1 && ping -n -q -c 2 -w 30 10.99.1.1'
done_testing
