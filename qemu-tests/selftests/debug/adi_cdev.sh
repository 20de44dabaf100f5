#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# ADIs through device nodes and iommufd, which the stock kernel is without: what an owner may say
# wrongly there, what isolates, and how owners end. (The `adit` command takes this way where it
# exists, so the other selftests take it, too.)
# TIMEOUT: 300
. "$SELFTEST_LIB/adi.sh"
plan 14
check "the NIC is adit's" adi_start
check "two ADIs are made" eval 'adi_create 1 && adi_create 2'
one=$(adi_device 1) two=$(adi_device 2)
check "each has a device node" eval 'for it in $one $two; do [[ -c /dev/vfio/devices/$(ls $aux/$it/vfio-dev) ]] || false; done'
export ADI_BACKEND=cdev
check "binding, attaching, detaching" python3 "$SELFTEST_LIB/adi_cdev.py" "$one" "$two"
check "wrong calls are refused" python3 "$SELFTEST_LIB/adi_hostile.py" "$one" "${SECONDS_OF_CALLS:-8}"
check "memory of several that is unmapped at the same time" \
    python3 "$SELFTEST_LIB/adi_unmappers.py" "$one" 5
check "each reaches its own memory only" python3 "$SELFTEST_LIB/adi_isolation.py" "$one" "$two"

adit pktgen --adi "$one" --seconds 100 send >/dev/null &
owner=$!
sleep 2
node=/dev/vfio/devices/$(ls "$aux/$one/vfio-dev")
check "adit uses the node" eval 'ls -l /proc/$owner/fd | grep -F "$node"'
check "the owner is killed under traffic" kill -9 "$owner"
wait "$owner" 2>/dev/null
check "the next one finds a working ADI" retry 5 \
    adit ping --adi "$one" --ip 10.99.0.3 -i 10 -c 5 -q 10.99.0.1
adit pktgen --adi "$one" --seconds 100 send >/dev/null 2>&1 &
owner=$!
sleep 2
check "its driver is unbound under traffic" eval 'echo "$one" >"$(readlink -f "$aux/$one/driver")/unbind"'
wait "$owner"
check_equal "the owner ends with an error" "$?" 1
check "the node is gone" test ! -e "$node"
check "all can be taken away" adit-load -u "$nic"
done_testing
