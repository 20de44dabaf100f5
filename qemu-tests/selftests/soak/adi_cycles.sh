#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# 10,000 ADIs made and destroyed one after the other by devlink, and as many by mdev; some hundred
# with an owner who registers memory. Afterwards the kernel has no more PASIDs, pinned pages or devices
# than before, and no more memory than the numbers of their VFIO groups take. ADIT_ROUNDS makes it shorter.
# TIMEOUT: 1500
. "$SELFTEST_LIB/adi.sh"
. "$SELFTEST_LIB/memory.sh"
plan 15
rounds=${ADIT_ROUNDS:-10000}
owned=$((rounds / 50))
batch=$(mktemp)
types=/sys/class/mdev_bus/$nic/mdev_supported_types
check "the NIC is adit's" adi_start

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
# keeps WHAT CMD…: CMD leaves nothing in the kernel, once a few rounds of it have warmed it up.
keeps() {
    local name=$1 before pins start
    shift
    "$1" 20 >/dev/null
    before=$(memory) pins=$(pinned) start=$EPOCHREALTIME
    check "$name: $2 times" "$@"
    echo "# $(((${EPOCHREALTIME/./} - ${start/./}) / $2)) µs each"
    # The numbers of a VFIO group are not used again until the next boot, which takes its structures.
    local slack=$((2048 + 4 * $2))
    check "$name: no memory is kept but for numbers" eval '! grown "$before" "$(memory)" "$slack"'
    check_equal "$name: nor pinned pages" "$(pinned)" "$pins"
    check_equal "$name: nor ADIs" "$(occupancy adis)" 0
}
keeps devlink by_devlink "$rounds"
keeps mdev by_mdev "$rounds"
keeps "owners" with_owner "$owned"
adi_create 9
check "no PASID is kept" eval '(($(cat $aux/adit.adi.*/pasid) <= 2))'
rm -f "$batch"
check "adit is unloaded" adit-load -u "$nic"
done_testing
