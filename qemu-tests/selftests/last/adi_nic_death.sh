#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# The device process is killed while ADIs are there. Nothing of this guest's NIC works afterwards,
# so that nothing comes after this.
# TIMEOUT: 120
. "$SELFTEST_LIB/adit.sh"
trap 'rm -f "$ktap_output"' EXIT
plan 12
check "adit has the NIC" adit-load $nic
for sfnum in 1 2 3; do adi_up $sfnum; done
cat /proc/sys/kernel/random/uuid >"/sys/class/mdev_bus/$nic/mdev_supported_types/adit-1q/create"
check_equal "four ADIs" "$(occupancy adis)" 4
check "the device dies" wire pkill -9 -x adit-nic
quickly() { timeout 20 "$@"; }
adi_add 4
check "a new ADI is refused with words, soon" \
    refused "Input/output error" "does not respond" quickly devlink port function set $port state active
check_equal "the others are dead" "$(cat $aux/adit.adi.*/state | sort -u)" dead
check_equal "no resource is in use" "$(occupancy adis)" 0
reported() { [[ $(devlink -j health show $dl reporter control_plane | jq -r '.health[][].state') == error ]]; }
check "it is reported" retry 10 reported
check "a port is made inactive" quickly devlink port function set $(adi_port 1) state inactive
check "another one is removed" quickly devlink port del $(adi_port 2)
check "reload is refused, soon" refused "" "" quickly devlink dev reload $dl
check "unbinding and unloading" quickly adit-load -u $nic
check "nothing is left" test ! -e /sys/module/adit -a -z "$(ls $aux | grep adit)" -a -z "$(ls /sys/bus/mdev/devices)"
done_testing
