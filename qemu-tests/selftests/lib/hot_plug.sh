# SPDX-License-Identifier: Apache-2.0 OR MIT
# shellcheck shell=bash
#
# Sourced by selftests on a machine whose NIC is plugged into a root port.

# qmp COMMAND ARGUMENTS: runs a command of QEMU's monitor; prints an error and fails on one.
qmp() {
    wire python3 -c '
import json, socket, sys
monitor = socket.socket(socket.AF_UNIX)
monitor.settimeout(60)
monitor.connect("/run/adit/monitor.sock")
lines = monitor.makefile()
for command in "{\"execute\": \"qmp_capabilities\"}", sys.argv[1]:
    monitor.sendall(command.encode() + b"\n")
    for line in lines:
        if "error" in json.loads(line):
            sys.exit(line)
        if "return" in json.loads(line):
            break
    else:
        sys.exit("QEMU closed its monitor")' "{\"execute\": \"$1\", \"arguments\": {$2}}"
}

# plug_in: plugs the NIC in, whose device process listens.
plug_in() {
    qmp device_add '"driver": "vfio-user-pci", "id": "nic0", "bus": "port0",
        "socket": {"path": "/run/adit/nic0.sock", "type": "unix"}, "x-no-posted-writes": true'
}

# nic_address: the PCI address of the NIC, if it is present.
nic_address() {
    local device
    for device in /sys/bus/pci/devices/*; do
        [[ $(<"$device/class") == 0x020001 ]] && basename "$device" && return
    done 2>/dev/null
}

# hot_plug_up: brings the interface $dev up, with its addresses.
hot_plug_up() {
    local address
    address=$(nic_address)
    [[ $address ]] || return
    dev=$(ls "/sys/bus/pci/devices/$address/net" 2>/dev/null) && [[ $dev ]] || return
    ip link set "$dev" up && ip addr replace 10.99.0.2/24 dev "$dev"
}

ping_wire() { ping -n -q -c 1 -w 5 10.99.0.1; }
