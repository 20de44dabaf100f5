#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# The stock driver binds to the device by its class code and makes a netdev.
. "$SELFTEST_LIB/net.sh"
plan 6
check_equal "PCI class 02 00 01" "$(cat /sys/bus/pci/devices/$nic/class)" 0x020001
check "a netdev with carrier" net_up
check "idpf is bound" test -e "$driver/$nic"
check "MSI-X is on" test -n "$(ls /sys/bus/pci/devices/$nic/msi_irqs)"
check_equal "the MAC address is the device's" "$(cat /sys/class/net/"$dev"/address)" 02:ad:17:00:00:01
check "FLR is offered" grep -qw flr /sys/bus/pci/devices/$nic/reset_method
done_testing
