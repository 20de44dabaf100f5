# SPDX-License-Identifier: Apache-2.0 OR MIT
# shellcheck shell=sh
#
# Runs in the VM of nested.sh (busybox), after image-init has configured eth0. Ends when a line is
# written to the console.
echo "vm: address $(cat /sys/class/net/eth0/address)"
for _ in $(seq 600); do
    [ "$(cat /sys/class/net/eth0/carrier 2>/dev/null)" = 1 ] && echo "vm: interface up" && break
    sleep 0.1
done
for _ in $(seq 10); do
    ping -c 3 -W 5 10.99.0.1 && echo "vm: the wire replies" && break
done
read -r _
echo "vm: interrupts $(awk '/idpf.*TxRx/ { sum += $2 } END { print sum + 0 }' /proc/interrupts)"
modprobe -r idpf && echo "vm: unloaded"
dmesg
