#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# Two ADIs whose owners send until the guest reboots; adis_recreated.sh checks the state afterwards.
. "$SELFTEST_LIB/adi.sh"
# The ADIs remain until the reboot.
trap 'rm -f "$ktap_output"' EXIT
plan 5
check "adit is bound to the NIC" adi_start
check "two ADIs are created" eval 'adi_create 1 && adi_create 2'
sends() { # sends SFNUM: starts an owner that sends, and waits for its frames
    local counter
    counter=$aux/$(adi_device "$1")/statistics/tx_packets
    setsid adit pktgen --adi "$(adi_device "$1")" --seconds 3600 send </dev/null >/dev/null 2>&1 &
    retry 30 eval '(($(<"$counter") > 100))'
}
check "the owner of the first ADI sends" sends 1
check "the owner of the second ADI sends" sends 2
mkdir -p /scratch/reboot
# A folder of specifications that outlives the boot.
check "a named ADI with a specification is created" \
    adit adi create --name web --sfnum 9 --cdi --cdi-dir /scratch/reboot/cdi
cat /proc/sys/kernel/random/boot_id >/scratch/reboot/boot-id
done_testing
