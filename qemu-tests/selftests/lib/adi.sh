# SPDX-License-Identifier: Apache-2.0 OR MIT
# shellcheck shell=bash
#
# Sourced by selftests that use ADIs: the NIC is adit's, the `adit` command is there.
. "$SELFTEST_LIB/adit.sh"
command -v adit >/dev/null || bail_out "there is no adit command: cargo xtask makes it"

# adi_start: the NIC with adit, and no ADI.
adi_start() {
    adit_free
    adit-load "$nic"
}

# adi_create SFNUM [QUEUES]: an ADI with the address 02:00:00:00:01:SFNUM.
adi_create() {
    local port mac
    mac=$(printf '02:00:00:00:01:%02x' "$1")
    port=$(devlink port add "pci/$nic" flavour pcisf pfnum 0 sfnum "$1" | sed -n '1s/: .*//p')
    [[ $port ]] || return
    if [[ $2 ]]; then devlink port function set "$port" max_io_eqs "$2" || return; fi
    devlink port function set "$port" hw_addr "$mac" || return
    devlink port function set "$port" state active || return
    retry 5 adi_device "$1" >/dev/null
}

# adi_device SFNUM: the name of its auxiliary device, as soon as it is a VFIO device.
adi_device() {
    local device
    for device in "/sys/bus/pci/devices/$nic"/adit.adi.*; do
        [[ -e $device/sfnum && $(<"$device/sfnum") == "$1" && -e $device/iommu_group ]] || continue
        basename "$device"
        return
    done
    return 1
}

# adi_port SFNUM: its devlink port.
adi_port() {
    devlink port show | sed -n "s|^\(pci/$nic/[0-9]*\): .* sfnum $1 .*|\1|p"
}

# adi_group SFNUM: its VFIO group.
adi_group() {
    basename "$(readlink "/sys/bus/pci/devices/$nic/$(adi_device "$1")/iommu_group")"
}

# adi_stop: what runs in the background ends.
adi_stop() {
    local job
    for job in $(jobs -p); do kill "$job"; done 2>/dev/null
    wait
}
