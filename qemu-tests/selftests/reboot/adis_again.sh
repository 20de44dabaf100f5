#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# After a reboot with ADIs in use: the device has none any more, and new ones work.
# TIMEOUT: 100
. "$SELFTEST_LIB/adi.sh"
plan 6
check "another boot" eval '[[ $(</proc/sys/kernel/random/boot_id) != "$(</scratch/reboot/boot-id)" ]]'
check "the NIC is adit's" adi_start
check_equal "no ADI is left" "$(occupancy adis)" 0
check "the same ones are made" eval 'adi_create 1 && adi_create 2'
check "one pings the wire" adit ping --adi "$(adi_device 1)" --ip 10.99.0.3 -i 10 -c 5 10.99.0.1
check "all can be taken away" adit-load -u "$nic"
done_testing
