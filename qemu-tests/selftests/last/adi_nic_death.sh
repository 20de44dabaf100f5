#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# The device process is killed while ADIs exist. This guest's NIC does not work afterwards, so no
# test can follow.
# TIMEOUT: 400
. "$SELFTEST_LIB/adit.sh"
trap 'rm -f "$ktap_output"' EXIT
plan 12
check "adit is bound to the NIC" adit-load $nic
for sfnum in 1 2 3; do adi_up $sfnum; done
cat /proc/sys/kernel/random/uuid >"/sys/class/mdev_bus/$nic/mdev_supported_types/adit-1q/create"
check_equal "four ADIs exist" "$(occupancy adis)" 4
check "the device process is killed" wire pkill -9 -x adit-nic
quickly() { within 20 "$@"; }
adi_add 4
check "a new ADI is refused with a reason within 20 s" \
    refused "Input/output error" "does not respond" quickly devlink port function set $port state active
check_equal "the existing ADIs are dead" "$(cat $aux/adit.adi.*/state | sort -u)" dead
check_equal "no resource is occupied" "$(occupancy adis)" 0
reported() { [[ $(devlink -j health show $dl reporter control_plane | jq -r '.health[][].state') == error ]]; }
check "control_plane reports the error" retry 10 reported
check "a port is deactivated within 20 s" quickly devlink port function set $(adi_port 1) state inactive
check "an active port is removed within 20 s" quickly devlink port del $(adi_port 2)
check "reload is refused within 20 s" refused "" "" quickly devlink dev reload $dl
check "adit is unloaded within 20 s" quickly adit-load -u $nic
check "neither the module nor a device remains" test ! -e /sys/module/adit -a -z "$(ls $aux | grep adit)" -a -z "$(ls /sys/bus/mdev/devices)"
done_testing
