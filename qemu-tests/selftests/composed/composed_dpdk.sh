#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# DPDK's own idpf driver in user space on a composed device with the id of a VF, behind the guest's
# IOMMU (vfio-pci): testpmd replies to ARP and ping. An ADI has no queues of the single queue model.
# TIMEOUT: 400
. "$SELFTEST_LIB/dpdk.sh"
plan 4
port 02:ad:17:00:01:01 >/dev/null
modprobe vfio-pci
huge_pages 256
check "vfio-pci is bound to the device" bind vfio-pci
check "testpmd replies with split queues" answered Split Split ""
check "testpmd replies again after it has ended" answered Split Split ""
huge_pages 0
bind idpf
check "idpf works with the device afterwards" eval 'nic-up 1 && ping -n -q -c 2 -w 30 10.99.1.1'
done_testing
