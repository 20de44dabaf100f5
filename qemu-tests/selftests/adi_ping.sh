#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# Two ADIs, driven from user space: each reaches the wire, the wire reaches them, and they reach
# each other; with memory that the driver allocated, and after another owner.
# TIMEOUT: 150
. "$SELFTEST_LIB/adi.sh"
plan 15
check "adit is bound to the NIC" adi_start
check "two ADIs are created" eval 'adi_create 1 && adi_create 2'
one=$(adi_device 1) two=$(adi_device 2)
check_equal "each ADI has its own VFIO group" "$(ls /dev/vfio | grep -c "^[0-9]*$")" 2
adit ping --adi "$two" --ip 10.99.0.4 -q &
check "an ADI pings the wire" adit ping -W 30000 --adi "$one" --ip 10.99.0.3 -i 100 -c 5 10.99.0.1
# The other owner takes seconds to start on a machine under load.
check "the wire pings an ADI" eval 'retry 20 wire ping -c 1 -W 1 10.99.0.4 && wire ping -c 3 -i 0.2 -w 30 10.99.0.4'
check "an ADI pings the other ADI" adit ping -W 30000 --adi "$one" --ip 10.99.0.3 -i 0 -c 200 -q 10.99.0.4
check "an ADI pings with frames of full size" \
    adit ping -W 30000 --adi "$one" --ip 10.99.0.3 -i 10 -c 5 -s 1472 10.99.0.4
check "consecutive owners can use the ADI" eval \
    'for n in 1 2 3; do adit ping -W 30000 --adi "$one" --ip 10.99.0.3 -i 10 -c 2 10.99.0.4 || break; done'
absent() { local text; text=$(adit ping --adi "$one" --ip 10.99.0.3 -c 1 10.99.0.77) && return 1; echo "$text"; [[ $text == *"no answer to ARP"*"3 ARP requests sent"* ]]; }
before=$SECONDS
check "ping fails with a reason when the host is absent" absent
check "ping to an absent host fails within 15 s" test $((SECONDS - before)) -lt $((15 * ${SELFTEST_PACE:-1}))
check "an open device cannot be opened a second time" eval \
    '! adit ping --adi "$two" --ip 10.99.0.5 -c 1 10.99.0.1'
check "an ADI in use is not destroyed" eval '! adi_state "$(adi_port 2)" inactive'
adi_stop
check "an owner exits on SIGTERM" eval '! pgrep -x adit'
check "an unused ADI is destroyed" eval 'adi_destroy 2 && ! adi_device 2'
check "the other ADI is destroyed" eval 'adi_destroy 1 && ! ls /dev/vfio | grep -q "^[0-9]"'
done_testing
