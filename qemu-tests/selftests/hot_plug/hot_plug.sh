#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# The NIC is plugged into a root port while the guest runs, and removed and found again there.
# (Unplugging is not tested: QEMU 11.1.3 aborts when any vfio-user device with MSI-X goes, as
# vfio_user_msix_teardown() removes a memory region that is gone already.)
# TIMEOUT: 120
. "$SELFTEST_LIB/ktap.sh"
. "$SELFTEST_LIB/hot_plug.sh"
plan 5
check "there is none at boot" eval '[[ -z $(nic_address) ]]'
check "the monitor plugs it in" plug_in
check "it carries traffic" retry 30 eval 'hot_plug_up && ping_wire'
remove() { echo 1 >"/sys/bus/pci/devices/$(nic_address)/remove" && [[ -z $(nic_address) ]]; }
check "it is removed" remove
check "it is found again and carries traffic" eval \
    'echo 1 >/sys/bus/pci/rescan && retry 30 eval "hot_plug_up && ping_wire"'
done_testing
