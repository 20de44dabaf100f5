#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# adit.ko is loaded, takes the NIC when it is told to and only then, gives it back, is unloaded;
# idpf works with the NIC afterwards.
# TIMEOUT: 120
. "$SELFTEST_LIB/adit.sh"
plan 10
check "the module's release is the running kernel's" \
    eval '[[ $(modinfo -F vermagic $adit_module) == "$(uname -r) "* ]]'
adit_free
depends=$(modinfo -F depends $adit_module | tr , ' ')
[[ -z $depends ]] || modprobe -a $depends
check "it is loaded" insmod $adit_module
check "it leaves a NIC that is not its own alone" eval \
    'echo $nic >/sys/bus/pci/drivers_probe; [[ $(readlink /sys/bus/pci/devices/$nic/driver) != */adit ]]'
# idpf is not pulled away in the middle of its start.
retry 20 net_up >/dev/null
adit_free
check "it takes the NIC by driver_override" adit-load $nic
check "twice is refused" eval '! echo $nic >/sys/bus/pci/drivers/adit/bind'
check "it gives the NIC back and is unloaded" adit-load -u $nic
check "nothing of it is left" test ! -e /sys/module/adit -a ! -e /sys/bus/pci/drivers/adit
for round in 1 2; do
    check "round $round of loading and unloading" eval 'adit-load $nic && adit-load -u $nic'
done
adit_restore
check "idpf works as before" net_up
done_testing
