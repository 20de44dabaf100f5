#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# The stock driver binds to the device by its class code and creates a netdev.
. "$SELFTEST_LIB/net.sh"
plan 6
check_equal "the PCI class is 02 00 01" "$(cat /sys/bus/pci/devices/$nic/class)" 0x020001
check "a netdev with carrier exists" net_up
check "idpf is bound" test -e "$driver/$nic"
check "MSI-X is enabled" test -n "$(ls /sys/bus/pci/devices/$nic/msi_irqs)"
check_equal "the MAC address is the device's" "$(cat /sys/class/net/"$dev"/address)" 02:ad:17:00:00:01
check "FLR is supported" grep -qw flr /sys/bus/pci/devices/$nic/reset_method
done_testing
