#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# Two ADIs, driven from user space: each reaches the wire, the wire reaches them, and they reach
# each other; with memory of the driver's, and after another owner.
# TIMEOUT: 150
. "$SELFTEST_LIB/adi.sh"
plan 15
check "the NIC is adit's" adi_start
check "two ADIs are made" eval 'adi_create 1 && adi_create 2'
one=$(adi_device 1) two=$(adi_device 2)
check_equal "each is a VFIO group of its own" "$(ls /dev/vfio | grep -c "^[0-9]*$")" 2
adit ping --adi "$two" --ip 10.99.0.4 -q &
sleep 1
check "an ADI pings the wire" adit ping --adi "$one" --ip 10.99.0.3 -i 100 -c 5 10.99.0.1
check "the wire pings an ADI" wire ping -c 3 -i 0.2 -W 5 10.99.0.4
check "an ADI pings the other" adit ping --adi "$one" --ip 10.99.0.3 -i 0 -c 200 -q 10.99.0.4
check "with a payload as long as a frame" \
    adit ping --adi "$one" --ip 10.99.0.3 -i 10 -c 5 -s 1472 10.99.0.4
check "an owner does not disturb the next" eval \
    'for n in 1 2 3; do adit ping --adi "$one" --ip 10.99.0.3 -i 10 -c 2 10.99.0.4 || break; done'
absent() { local text; text=$(adit ping --adi "$one" --ip 10.99.0.3 -c 1 10.99.0.77) && return 1; echo "$text"; [[ $text == *"no answer to ARP"*"3 ARP requests sent"* ]]; }
before=$SECONDS
check "a host that is not there ends it, with words" absent
check "soon" test $((SECONDS - before)) -lt 15
check "a device that is open cannot be opened by another" eval \
    '! adit ping --adi "$two" --ip 10.99.0.5 -c 1 10.99.0.1'
check "an ADI in use is not destroyed" eval '! adi_state "$(adi_port 2)" inactive'
adi_stop
check "an owner that was told to end has ended" eval '! pgrep -x adit'
check "unused, it is" eval 'adi_destroy 2 && ! adi_device 2'
check "so is the other" eval 'adi_destroy 1 && ! ls /dev/vfio | grep -q "^[0-9]"'
done_testing
