# SPDX-License-Identifier: Apache-2.0 OR MIT
# shellcheck shell=bash
#
# Sourced by selftests that use ADIs from user space.
. "$SELFTEST_LIB/adit.sh"

# adi_start: binds adit to the NIC; fails without the `adit` command.
adi_start() {
    command -v adit || return
    # The tests' IP addresses had other MAC addresses before.
    wire ip neigh flush all
    adit_free
    adit-load "$nic"
}

# adi_create SFNUM [SETTING VALUE…]: creates an active ADI with the address 02:00:00:00:01:SFNUM, and
# waits until it is a VFIO device.
adi_create() {
    adi_up "$1" hw_addr "$(printf '02:00:00:00:01:%02x' "$1")" "${@:2}" || return
    retry 20 adi_device "$1" >/dev/null
}

# adi_device SFNUM: the name of its auxiliary device, once it is a VFIO device, which has a node.
adi_device() {
    local device
    for device in "$aux"/adit.adi.*; do
        [[ $(<"$device/sfnum") == "$1" && -n $(ls "$device/vfio-dev") ]] || continue
        [[ -e /dev/vfio/$(basename "$(readlink "$device/iommu_group")") ]] || continue
        basename "$device"
        return
    done
    return 1
} 2>/dev/null

# adi_group SFNUM: its VFIO group.
adi_group() { basename "$(readlink "$aux/$(adi_device "$1")/iommu_group")"; }

# adi_destroy SFNUM
adi_destroy() { adi_down "$(adi_port "$1")"; }

# adi_stop: ends the background jobs.
adi_stop() {
    local job
    for job in $(jobs -p); do kill "$job"; done 2>/dev/null
    wait
}
