#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# ADIs as mediated devices: types, creation and removal by mdevctl and through sysfs, beside ADIs of
# devlink; and refusals.
# TIMEOUT: 120
. "$SELFTEST_LIB/adit.sh"
plan 32
check "adit is bound to the NIC" adit-load $nic
types=/sys/class/mdev_bus/$nic/mdev_supported_types
uuid() { cat /proc/sys/kernel/random/uuid; }
check_equal "the mdev types are named by their queue pairs" "$(ls $types | xargs)" "adit-1q adit-2q adit-4q adit-8q"
check_equal "the mdev types are VFIO platform devices" "$(cat $types/*/device_api | sort -u)" vfio-platform
check "the mdev types have names" grep -q "2 queue pairs" $types/adit-2q/name
check "the mdev types have descriptions" grep -q "queue pairs: 2" $types/adit-2q/description
room=$(<$types/adit-1q/available_instances)
check "at least 1,000 instances are available" eval '((room >= 1000))'

first=$(uuid)
check "mdevctl starts a mediated ADI" mdevctl start -u $first -p $nic --type adit-2q
check_equal "mdevctl lists the mediated ADI" "$(mdevctl list | cut -d' ' -f1)" $first
check_equal "the mediated ADI has two queue pairs" "$(occupancy adis) $(occupancy queue_pairs)" "1 2"
check "the mediated ADI has a VFIO group" retry 20 eval '[[ -e /dev/vfio/$(basename $(readlink /sys/bus/mdev/devices/$first/iommu_group)) ]]'
mediated=$(devlink -j port show | jq -r '.port | keys[0]')
check_equal "devlink shows the mediated ADI" "$(port_field $mediated '.function | .state + " \(.max_io_eqs)"')" "active 2"
check "devlink cannot remove the mediated ADI" refused busy "owned by mdev $first" devlink port del $mediated
check "devlink cannot deactivate the mediated ADI" refused busy "owned by mdev" devlink port function set $mediated state inactive
check_equal "one instance less is available" "$(<$types/adit-1q/available_instances)" $((room - 1))
check "a UUID in use is refused" eval '! echo $first >$types/adit-1q/create'
check "an invalid UUID is refused" eval '! echo nonsense >$types/adit-1q/create'
check "devlink creates an ADI beside the mediated one" adi_up 3
check_equal "both ADIs are counted" "$(occupancy adis)" 2
check "mdevctl stops the mediated ADI" mdevctl stop -u $first
check_equal "the port of the mediated ADI is removed" "$(devlink -j port show | jq '.port | length')" 1
check_equal "the ADI of devlink is still active" "$(occupancy adis) $(port_field $(adi_port 3) .function.state)" "1 active"
many=20
check "$many mediated ADIs are created" eval 'for ((i = 0; i < many; i++)); do uuid >$types/adit-1q/create || break; done; ((i == many))'
check_equal "all mediated ADIs exist" "$(ls /sys/bus/mdev/devices | wc -l) $(occupancy adis)" "$many $((many + 1))"
check "a mediated ADI is removed through sysfs" \
    eval 'echo 1 >/sys/bus/mdev/devices/$(ls /sys/bus/mdev/devices | head -n 1)/remove'
check_equal "the removed ADI no longer exists" "$(occupancy adis)" $many
mdev=/sys/bus/mdev/devices/$(ls /sys/bus/mdev/devices | head -n 1)
identity() { (cd "$mdev" && cat instance port id vport pasid mac queues state && readlink iommu_group); }
before=$(identity)
check "the function is reset" eval 'echo 1 >/sys/bus/pci/devices/$nic/reset'
check_equal "a mediated ADI keeps its identity across a reset" "$(identity)" "$before"
check_equal "all ports are attached after the reset" \
    "$(devlink -j port show | jq -c '[.port[].function.opstate] | group_by(.) | map([.[0], length])')" \
    "[[\"attached\",$((many))]]"
row=$(adit -o json adi list | jq -c --arg device "${mdev##*/}" '.[] | select(.device == $device)')
check_equal "adit lists the mediated ADI with its UUID, VFIO group and port" \
    "$(jq -r '.vfio_group, "\(.function)/\(.port_index)", .pasid' <<<"$row")" \
    "$(echo "/dev/vfio/$(basename "$(readlink "$mdev/iommu_group")")" && cat "$mdev/port" "$mdev/pasid")"
check_equal "the port links to the mediated device" \
    "$(readlink -f "/sys/bus/pci/devices/$nic/port.$(basename "$(<"$mdev/port")")")" "$(readlink -f "$mdev")"
check "the driver unbinds with ADIs in existence" adit-load -u $nic
check_equal "no mediated device remains" "$(ls /sys/bus/mdev/devices | wc -l)" 0
done_testing
