# SPDX-License-Identifier: Apache-2.0 OR MIT
# shellcheck shell=bash
#
# Sourced by selftests of adit.ko. idpf is bound to the NIC when a test begins and when it has ended.
. "$SELFTEST_LIB/net.sh"
adit_module=/scratch/module/adit.ko
dl=pci/$nic
aux=/sys/bus/auxiliary/devices

# adit_free: unbinds the NIC from its driver.
adit_free() {
    [[ -e /sys/bus/pci/devices/$nic/driver ]] || return 0
    echo "$nic" >"/sys/bus/pci/devices/$nic/driver/unbind"
}

# adit_restore: binds idpf to the NIC, whatever the state.
adit_restore() {
    [[ -d /sys/module/adit ]] && adit-load -u "$nic"
    echo >"/sys/bus/pci/devices/$nic/driver_override"
    [[ -e /sys/bus/pci/devices/$nic/driver ]] || echo "$nic" >/sys/bus/pci/drivers_probe
    retry 20 net_up
}
trap 'adit_restore >/dev/null 2>&1; rm -f "$ktap_output"' EXIT

# adi_add SFNUM [SETTING VALUE…]: creates a port with settings; $port is its name.
adi_add() {
    devlink port add "$dl" flavour pcisf pfnum 0 sfnum "$1" >/dev/null || return
    port=$(adi_port "$1")
    (($# == 1)) || devlink port function set "$port" "${@:2}"
}

# adi_port SFNUM: the name of its port.
adi_port() {
    devlink -j port show |
        jq -r --argjson sf "$1" '.port | to_entries[] | select(.value.sfnum == $sf) | .key'
}

adi_state() { devlink port function set "$1" state "$2"; }
adi_up() { adi_add "$@" && adi_state "$port" active; }
adi_down() { adi_state "$1" inactive && devlink port del "$1"; }

# port_field PORT FILTER: a field of `devlink port show`, by a filter of jq.
port_field() { devlink -j port show "$1" | jq -r ".port[]$2"; }

# occupancy NAME: the number of units of a resource that are in use.
occupancy() {
    devlink -j resource show "$dl" |
        jq -r --arg name "$1" '.resources[][] | select(.name == $name) | .occ'
}

# refused ERRNO-TEXT EXTACK-TEXT CMD…: CMD fails with this errno and this extack message.
refused() {
    local text
    text=$("${@:3}" 2>&1) && { echo "it was not refused"; return 1; }
    echo "$text"
    [[ $text == *"$1"* && $text == *"$2"* ]]
}
