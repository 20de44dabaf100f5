#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# Two ADIs whose owners send until the guest reboots; adis_again.sh looks at what comes after.
. "$SELFTEST_LIB/adi.sh"
# They are to stay.
trap 'rm -f "$ktap_output"' EXIT
plan 5
check "the NIC is adit's" adi_start
check "two ADIs are made" eval 'adi_create 1 && adi_create 2'
sends() { # sends SFNUM: whether it has an owner who does
    local counter
    counter=$aux/$(adi_device "$1")/statistics/tx_packets
    setsid adit pktgen --adi "$(adi_device "$1")" --seconds 600 send </dev/null >/dev/null 2>&1 &
    retry 15 eval '(($(<"$counter") > 100))'
}
check "one sends" sends 1
check "so does the other" sends 2
mkdir -p /scratch/reboot
# A folder of specifications that outlives the boot.
check "another has a name and a specification" \
    adit adi create --name web --sfnum 9 --cdi --cdi-dir /scratch/reboot/cdi
cat /proc/sys/kernel/random/boot_id >/scratch/reboot/boot-id
done_testing
