#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# DPDK's own idpf driver in user space, with the device behind the IOMMU (vfio-pci): testpmd replies
# to ARP and ping.
# TIMEOUT: 180
. "$SELFTEST_LIB/ports.sh"
plan 6
address=0000:00:06.0
port 02:ad:17:00:01:01 >/dev/null
bind() { # bind DRIVER: binds the device to the driver
    echo "$1" >/sys/bus/pci/devices/$address/driver_override
    echo $address >/sys/bus/pci/devices/$address/driver/unbind
    echo $address >/sys/bus/pci/drivers_probe
    [[ $(basename "$(readlink -f /sys/bus/pci/devices/$address/driver)") == "$1" ]]
}
modprobe vfio-pci
echo 256 >/proc/sys/vm/nr_hugepages
mount -t hugetlbfs hugetlbfs /dev/hugepages
check "vfio-pci is bound to the device" bind vfio-pci

dir=$(mktemp -d)
# answered RX TX [ARGS]: testpmd, with these arguments for the device, uses these queue models and
# replies to the wire without loss, often enough for its rings of 512 to wrap.
answered() {
    local status
    rm -f "$dir/in"
    mkfifo "$dir/in"
    timeout 60 dpdk-testpmd -a $address"$3" --file-prefix=adit --log-level=pmd.net.idpf.driver:7 -- \
        --forward-mode=icmpecho --no-mlockall --total-num-mbufs=4096 --auto-start \
        <"$dir/in" >"$dir/log" 2>&1 &
    exec 3>"$dir/in"
    retry 30 wire arping -q -c 2 -w 2 -I wire1 10.99.1.2 &&
        wire ping -n -q -c 5 -i 0.2 -W 2 10.99.1.2 &&
        wire ping -f -n -q -c 2000 -s 1000 10.99.1.2 >"$dir/flood" &&
        grep '2000 received' "$dir/flood"
    status=$?
    echo quit >&3
    exec 3>&-
    wait
    ((status == 0)) && grep -q "Using $1 .*Rx" "$dir/log" && grep -q "Using $2 .*Tx" "$dir/log" && return
    cat "$dir/flood"
    grep -v 'Failed to read msg' "$dir/log" | tail -n 40
    return 1
}
check "testpmd replies with split queues" answered Split Split ""
check "testpmd replies with single queues" answered Single Single ,tx_single=1,rx_single=1
check "testpmd replies with single transmit queues" answered Split Single ,tx_single=1
check "testpmd replies with single receive queues" answered Single Split ,rx_single=1
umount /dev/hugepages
echo 0 >/proc/sys/vm/nr_hugepages
bind idpf
check "idpf works with the device afterwards" eval 'nic-up 1 && ping -n -q -c 2 -W 5 10.99.1.1'
rm -rf "$dir"
done_testing
