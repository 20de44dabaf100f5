# SPDX-License-Identifier: Apache-2.0 OR MIT
# shellcheck shell=bash
#
# Sourced by selftests that give a NIC to a program: DPDK's idpf driver, or others of VFIO. It is the second one,
# or $number, from 0.
. "$SELFTEST_LIB/ports.sh"
number=${number:-1}
address=0000:00:0$((5 + number)).0

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

# answered RX TX [ARGS [QUEUES]]: testpmd, with these arguments for the device, uses these queue models and
# replies to the wire without loss, often enough for its rings of 512 to wrap; from each of its queue pairs, if
# there are several.
answered() {
    local status dir queues=${4:-1}
    dir=$(mktemp -d)
    mkfifo "$dir/in"
    within 180 dpdk-testpmd -a $address"$3" --file-prefix=adit --log-level=pmd.net.idpf.driver:7 -- \
        --forward-mode=icmpecho --no-mlockall --total-num-mbufs=$((4096 + 2048 * queues)) --auto-start \
        --rxq="$queues" --txq="$queues" \
        <"$dir/in" >"$dir/log" 2>&1 &
    exec 3>"$dir/in"
    retry 30 wire arping -q -c 2 -w 2 -I "wire$number" "10.99.$number.2" &&
        wire ping -n -q -c 5 -i 0.2 -w 30 "10.99.$number.2" &&
        wire "$SELFTEST_LIB/raw.py" pings "10.99.$number.2" 2000 1000 >"$dir/flood" 2>&1 &&
        { ((queues == 1)) || others; }
    status=$?
    echo quit >&3
    exec 3>&-
    wait
    ((status == 0)) && grep -q "Using $1 .*Rx" "$dir/log" && grep -q "Using $2 .*Tx" "$dir/log" &&
        { ((queues == 1)) || (($(streams "$dir/log") == queues)); }
    status=$?
    ((status == 0)) || { cat "$dir/flood"; grep -v 'Failed to read msg' "$dir/log" | tail -n 40; }
    rm -rf "$dir"
    return $status
}

# others: the wire gets replies of many addresses, so that RSS spreads the requests over all queues.
others() { wire bash -c "for n in {10..137}; do ping -n -q -c 1 -w 10 10.99.$number.\$n >/dev/null || exit; done"; }
# streams LOG: the number of queues with packets in what testpmd prints at its end.
streams() { grep -o 'Forward Stats for RX Port= 0/Queue= *[0-9]*' "$1" | sort -u | wc -l; }
