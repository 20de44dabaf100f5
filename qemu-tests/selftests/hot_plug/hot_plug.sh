#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# The NIC is plugged into a root port while the guest runs, and removed and found again there.
# (Unplugging is not tested: QEMU 11.1.3 aborts when any vfio-user device with MSI-X is unplugged, as
# vfio_user_msix_teardown() removes a memory region that no longer exists.)
# TIMEOUT: 240
. "$SELFTEST_LIB/ktap.sh"
. "$SELFTEST_LIB/hot_plug.sh"
plan 5
check "no NIC is present at boot" eval '[[ -z $(nic_address) ]]'
check "the NIC is plugged in by the monitor" plug_in
check "the NIC carries traffic" retry 30 eval 'hot_plug_up && ping_wire'
remove() { echo 1 >"/sys/bus/pci/devices/$(nic_address)/remove" && [[ -z $(nic_address) ]]; }
check "the NIC is removed from the bus" remove
check "the NIC is found by a rescan and carries traffic" eval \
    'echo 1 >/sys/bus/pci/rescan && retry 30 eval "hot_plug_up && ping_wire"'
done_testing
