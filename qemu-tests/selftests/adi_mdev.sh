#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# ADIs as mediated devices: kinds, made and destroyed by mdevctl and through sysfs, beside those of
# devlink; and what is refused.
# TIMEOUT: 120
. "$SELFTEST_LIB/adit.sh"
plan 32
check "adit has the NIC" adit-load $nic
types=/sys/class/mdev_bus/$nic/mdev_supported_types
uuid() { cat /proc/sys/kernel/random/uuid; }
check_equal "kinds by queue pairs" "$(ls $types | xargs)" "adit-1q adit-2q adit-4q adit-8q"
check_equal "of VFIO platform devices" "$(cat $types/*/device_api | sort -u)" vfio-platform
check "with names" grep -q "2 queue pairs" $types/adit-2q/name
check "and descriptions" grep -q "queue pairs: 2" $types/adit-2q/description
room=$(<$types/adit-1q/available_instances)
check "there is room" eval '((room >= 1000))'

first=$(uuid)
check "mdevctl starts one" mdevctl start -u $first -p $nic --type adit-2q
check_equal "and lists it" "$(mdevctl list | cut -d' ' -f1)" $first
check_equal "it is an ADI with two queue pairs" "$(occupancy adis) $(occupancy queue_pairs)" "1 2"
check "there is a VFIO device" eval '[[ -e /dev/vfio/$(basename $(readlink /sys/bus/mdev/devices/$first/iommu_group)) ]]'
mediated=$(devlink -j port show | jq -r '.port | keys[0]')
check_equal "devlink shows it" "$(port_field $mediated '.function | .state + " \(.max_io_eqs)"')" "active 2"
check "but does not remove it" refused busy "owned by mdev $first" devlink port del $mediated
check "and does not end it" refused busy "owned by mdev" devlink port function set $mediated state inactive
check_equal "there is less room" "$(<$types/adit-1q/available_instances)" $((room - 1))
check "the same UUID again is refused" eval '! echo $first >$types/adit-1q/create'
check "what is no UUID is refused" eval '! echo nonsense >$types/adit-1q/create'
check "devlink makes one beside it" adi_up 3
check_equal "both are in use" "$(occupancy adis)" 2
check "mdevctl stops the first" mdevctl stop -u $first
check_equal "its port is gone" "$(devlink -j port show | jq '.port | length')" 1
check_equal "devlink's is left" "$(occupancy adis) $(port_field $(adi_port 3) .function.state)" "1 active"
many=20
check "$many more" eval 'for ((i = 0; i < many; i++)); do uuid >$types/adit-1q/create || break; done; ((i == many))'
check_equal "are there" "$(ls /sys/bus/mdev/devices | wc -l) $(occupancy adis)" "$many $((many + 1))"
check "one is removed through sysfs" \
    eval 'echo 1 >/sys/bus/mdev/devices/$(ls /sys/bus/mdev/devices | head -n 1)/remove'
check_equal "and gone" "$(occupancy adis)" $many
mdev=/sys/bus/mdev/devices/$(ls /sys/bus/mdev/devices | head -n 1)
identity() { (cd "$mdev" && cat instance port id pasid mac queues state && readlink iommu_group); }
before=$(identity)
check "a function-level reset" eval 'echo 1 >/sys/bus/pci/devices/$nic/reset'
check_equal "takes nothing from a mediated one" "$(identity)" "$before"
check_equal "and all are there again, as devlink says" \
    "$(devlink -j port show | jq -c '[.port[].function.opstate] | group_by(.) | map([.[0], length])')" \
    "[[\"attached\",$((many))]]"
row=$(adit -o json adi list | jq -c --arg device "${mdev##*/}" '.[] | select(.device == $device)')
check_equal "adit lists it with its UUID, VFIO group and port" \
    "$(jq -r '.vfio_group, "\(.function)/\(.port_index)", .pasid' <<<"$row")" \
    "$(echo "/dev/vfio/$(basename "$(readlink "$mdev/iommu_group")")" && cat "$mdev/port" "$mdev/pasid")"
check_equal "its port leads to it" \
    "$(readlink -f "/sys/bus/pci/devices/$nic/port.$(basename "$(<"$mdev/port")")")" "$(readlink -f "$mdev")"
check "unbinding takes the rest" adit-load -u $nic
check_equal "nothing is left" "$(ls /sys/bus/mdev/devices | wc -l)" 0
done_testing
