# SPDX-License-Identifier: Apache-2.0 OR MIT
# shellcheck shell=bash
#
# Sourced by selftests that give the second NIC to a program: DPDK's idpf driver, or others of VFIO.
. "$SELFTEST_LIB/ports.sh"
address=0000:00:06.0

# bind DRIVER: binds the device to the driver.
bind() {
    echo "$1" >/sys/bus/pci/devices/$address/driver_override
    echo $address >/sys/bus/pci/devices/$address/driver/unbind
    echo $address >/sys/bus/pci/drivers_probe
    [[ $(basename "$(readlink -f /sys/bus/pci/devices/$address/driver)") == "$1" ]]
}

# huge_pages N: reserves N pages of 2 MiB for programs; 0 releases them.
huge_pages() {
    if (($1)); then mount -t hugetlbfs hugetlbfs /dev/hugepages; else umount /dev/hugepages; fi
    echo "$1" >/proc/sys/vm/nr_hugepages
}

# answered RX TX [ARGS]: testpmd, with these arguments for the device, uses these queue models and
# replies to the wire without loss, often enough for its rings of 512 to wrap.
answered() {
    local status dir
    dir=$(mktemp -d)
    mkfifo "$dir/in"
    within 180 dpdk-testpmd -a $address"$3" --file-prefix=adit --log-level=pmd.net.idpf.driver:7 -- \
        --forward-mode=icmpecho --no-mlockall --total-num-mbufs=4096 --auto-start \
        <"$dir/in" >"$dir/log" 2>&1 &
    exec 3>"$dir/in"
    retry 30 wire arping -q -c 2 -w 2 -I wire1 10.99.1.2 &&
        wire ping -n -q -c 5 -i 0.2 -w 30 10.99.1.2 &&
        wire "$SELFTEST_LIB/raw.py" pings 10.99.1.2 2000 1000 >"$dir/flood" 2>&1
    status=$?
    echo quit >&3
    exec 3>&-
    wait
    ((status == 0)) && grep -q "Using $1 .*Rx" "$dir/log" && grep -q "Using $2 .*Tx" "$dir/log"
    status=$?
    ((status == 0)) || { cat "$dir/flood"; grep -v 'Failed to read msg' "$dir/log" | tail -n 40; }
    rm -rf "$dir"
    return $status
}
