#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# 10,000 ADIs created and destroyed one after the other by devlink, and as many by mdev; some hundred
# with an owner that registers memory. No PASID, pinned page or device is leaked, and no memory except
# for the numbers of VFIO groups. ADIT_ROUNDS shortens the test.
# TIMEOUT: 1500
. "$SELFTEST_LIB/adi.sh"
. "$SELFTEST_LIB/memory.sh"
plan 15
rounds=${ADIT_ROUNDS:-10000}
owned=$((rounds / 50))
batch=$(mktemp)
types=/sys/class/mdev_bus/$nic/mdev_supported_types
check "adit is bound to the NIC" adi_start

by_devlink() {
    for ((index = 0; index < $1; index++)); do
        echo "port add $dl flavour pcisf pfnum 0 sfnum 5"
        echo "port function set $dl/0 max_io_eqs $((index % 4 + 1)) state active"
        echo "port del $dl/0"
    done >"$batch"
    devlink -b "$batch" >/dev/null
}
by_mdev() {
    local kinds=(adit-1q adit-2q adit-4q)
    for ((index = 0; index < $1; index++)); do
        printf -v uuid '00000000-0000-4000-8000-%012x' $index
        echo "$uuid" >"$types/${kinds[index % 3]}/create" || return
        echo 1 >"/sys/bus/mdev/devices/$uuid/remove" || return
    done
}
with_owner() {
    for ((index = 0; index < $1; index++)); do
        adi_create 7 || return
        python3 "$SELFTEST_LIB/adi_owner.py" "$(adi_device 7)" || return
        adi_destroy 7 || return
    done
}
# leaks_nothing NAME CMD…: CMD leaks nothing in the kernel, after a few rounds to warm up.
leaks_nothing() {
    local name=$1 before pins start
    shift
    "$1" 20 >/dev/null
    before=$(memory) pins=$(pinned) start=$EPOCHREALTIME
    check "$name: $2 cycles succeed" "$@"
    echo "# $(((${EPOCHREALTIME/./} - ${start/./}) / $2)) µs each"
    # The numbers of a VFIO group are not used again until the next boot, which takes its structures.
    local slack=$((2048 + 4 * $2))
    check "$name: no memory is leaked beyond group numbers" freed "$before" "$slack"
    check_equal "$name: no page is left pinned" "$(unpinned "$pins")" "$pins"
    check_equal "$name: no ADI remains" "$(occupancy adis)" 0
}
leaks_nothing devlink by_devlink "$rounds"
leaks_nothing mdev by_mdev "$rounds"
leaks_nothing "owners" with_owner "$owned"
adi_create 9
check "no PASID is leaked" eval '(($(cat $aux/adit.adi.*/pasid) <= 2))'
rm -f "$batch"
check "adit is unloaded" adit-load -u "$nic"
done_testing
