#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# adit.ko is loaded, binds to the NIC only by driver_override, unbinds and is unloaded; idpf works
# with the NIC afterwards.
# TIMEOUT: 120
. "$SELFTEST_LIB/adit.sh"
plan 10
check "the module is built for the running kernel" \
    eval '[[ $(modinfo -F vermagic $adit_module) == "$(uname -r) "* ]]'
adit_free
depends=$(modinfo -F depends $adit_module | tr , ' ')
[[ -z $depends ]] || modprobe -a $depends
check "the module is loaded" insmod $adit_module
check "adit does not bind without driver_override" eval \
    'echo $nic >/sys/bus/pci/drivers_probe; [[ $(readlink /sys/bus/pci/devices/$nic/driver) != */adit ]]'
# idpf is unbound only after its initialization.
retry 20 net_up >/dev/null
adit_free
check "adit binds by driver_override" adit-load $nic
check "binding twice is refused" eval '! echo $nic >/sys/bus/pci/drivers/adit/bind'
check "adit unbinds and is unloaded" adit-load -u $nic
check "neither the module nor the driver remains" test ! -e /sys/module/adit -a ! -e /sys/bus/pci/drivers/adit
for round in 1 2; do
    check "the module is loaded and unloaded, round $round" eval 'adit-load $nic && adit-load -u $nic'
done
adit_restore
check "idpf works with the NIC afterwards" net_up
done_testing
