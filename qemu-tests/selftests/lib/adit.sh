# SPDX-License-Identifier: Apache-2.0 OR MIT
# shellcheck shell=bash
#
# Sourced by selftests of adit.ko. The NIC is idpf's when a test begins and when it has ended.
. "$SELFTEST_LIB/net.sh"
adit_module=/scratch/module/adit.ko

# The NIC without a driver.
adit_free() {
    [[ -e /sys/bus/pci/devices/$nic/driver ]] || return 0
    echo "$nic" >"/sys/bus/pci/devices/$nic/driver/unbind"
}

# The NIC is idpf's again, whatever happened.
adit_restore() {
    [[ -d /sys/module/adit ]] && adit-load -u "$nic"
    echo >"/sys/bus/pci/devices/$nic/driver_override"
    [[ -e /sys/bus/pci/devices/$nic/driver ]] || echo "$nic" >/sys/bus/pci/drivers_probe
    retry 20 net_up
}
trap 'adit_restore >/dev/null 2>&1; rm -f "$ktap_output"' EXIT
