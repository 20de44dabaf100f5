#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# DPDK's own idpf driver in user space, with the device behind the IOMMU (vfio-pci): testpmd answers
# ARP and ping.
# TIMEOUT: 120
. "$SELFTEST_LIB/ports.sh"
plan 5
address=0000:00:06.0
port 02:ad:17:00:01:01 >/dev/null
bind() { # bind DRIVER: hands the device to it
    echo "$1" >/sys/bus/pci/devices/$address/driver_override
    echo $address >/sys/bus/pci/devices/$address/driver/unbind
    echo $address >/sys/bus/pci/drivers_probe
    [[ $(basename "$(readlink -f /sys/bus/pci/devices/$address/driver)") == "$1" ]]
}
modprobe vfio-pci
echo 256 >/proc/sys/vm/nr_hugepages
mount -t hugetlbfs hugetlbfs /dev/hugepages
check "vfio-pci takes the device" bind vfio-pci

dir=$(mktemp -d)
# answered ARGS: whether testpmd, with these arguments for the device, answers from the wire.
answered() {
    local status
    rm -f "$dir/in"
    mkfifo "$dir/in"
    timeout 60 dpdk-testpmd -a $address"$1" --file-prefix=adit -- \
        --forward-mode=icmpecho --no-mlockall --total-num-mbufs=4096 --auto-start \
        <"$dir/in" >"$dir/log" 2>&1 &
    exec 3>"$dir/in"
    retry 30 wire arping -q -c 2 -w 2 -I wire1 10.99.1.2 &&
        wire ping -n -q -c 5 -i 0.2 -W 2 10.99.1.2
    status=$?
    echo quit >&3
    exec 3>&-
    wait
    [[ $status == 0 ]] || tail -n 40 "$dir/log"
    return $status
}
check "split queues" answered ""
check "the driver counts frames both ways" \
    awk '/RX-packets/ { rx = $2 } /TX-packets/ { tx = $2 } END { exit !(rx >= 5 && tx >= 5) }' "$dir/log"
check "split queues again" answered ""
umount /dev/hugepages
echo 0 >/proc/sys/vm/nr_hugepages
bind idpf
check "the kernel's driver takes it back" eval 'nic-up 1 && ping -n -q -c 2 -W 5 10.99.1.1'
rm -rf "$dir"
done_testing
