#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# ADIs through device nodes and iommufd, which the stock kernel lacks: invalid calls, isolation,
# and the ends of owners. (The `adit` command uses device nodes where they exist, so the other
# selftests use them, too.)
# TIMEOUT: 300
. "$SELFTEST_LIB/adi.sh"
plan 14
check "adit is bound to the NIC" adi_start
check "two ADIs are created" eval 'adi_create 1 && adi_create 2'
one=$(adi_device 1) two=$(adi_device 2)
check "each ADI has a device node" eval 'for it in $one $two; do [[ -c /dev/vfio/devices/$(ls $aux/$it/vfio-dev) ]] || false; done'
export ADI_BACKEND=cdev
check "binding, attaching and detaching behave as documented" python3 "$SELFTEST_LIB/adi_cdev.py" "$one" "$two"
check "invalid calls are refused" python3 "$SELFTEST_LIB/adi_hostile.py" "$one" "${SECONDS_OF_CALLS:-8}"
check "several processes can unmap registered memory at the same time" \
    python3 "$SELFTEST_LIB/adi_unmappers.py" "$one" 5
check "each ADI accesses only its own memory" python3 "$SELFTEST_LIB/adi_isolation.py" "$one" "$two"

adit pktgen --adi "$one" --seconds 100 send >/dev/null &
owner=$!
node=/dev/vfio/devices/$(ls "$aux/$one/vfio-dev")
has_node() { ls -l "/proc/$owner/fd" | grep -F "$node"; }
check "adit opens the device node" retry 20 has_node
check "the owner is killed under traffic" kill -9 "$owner"
wait "$owner" 2>/dev/null
check "the ADI works for the next owner" retry 5 \
    adit ping -W 30000 --adi "$one" --ip 10.99.0.3 -i 10 -c 5 -q 10.99.0.1
adit pktgen --adi "$one" --seconds 100 send >/dev/null 2>&1 &
owner=$!
retry 20 has_node
check "the driver of the ADI unbinds under traffic" eval 'echo "$one" >"$(readlink -f "$aux/$one/driver")/unbind"'
wait "$owner"
check_equal "the owner exits with an error" "$?" 1
check "the device node is removed" test ! -e "$node"
check "adit is unloaded" adit-load -u "$nic"
done_testing
