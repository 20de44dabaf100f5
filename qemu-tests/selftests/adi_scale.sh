#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# 1,000 ADIs at a time; 500 created and destroyed one after the other, without leaks of
# memory, PASIDs or interrupts.
# TIMEOUT: 400
. "$SELFTEST_LIB/adit.sh"
. "$SELFTEST_LIB/memory.sh"
plan 14
batch=$(mktemp)
many=1000
rounds=500
check "adit is bound to the NIC" adit-load $nic

# adis FROM TO CMD…: a batch of devlink commands, with @ for the port's index and % for the sfnum.
adis() {
    for ((index = $1; index < $2; index++)); do
        for command in "${@:3}"; do
            command=${command//@/$dl/$index}
            echo "${command//%/$((index + 1))}"
        done
    done >"$batch"
    devlink -b "$batch" >/dev/null
}
start=$EPOCHREALTIME
check "$many ADIs are created" adis 0 $many "port add $dl flavour pcisf pfnum 0 sfnum %" \
    "port function set @ state active"
end=$EPOCHREALTIME
echo "# $(((${end/./} - ${start/./}) / many)) µs each"
check_equal "all ADIs exist" "$(ls $aux | grep -c '^adit\.adi\.')" $many
check_equal "every ADI has its own PASID" "$(cat $aux/adit.adi.*/pasid | sort -u | wc -l)" $many
check_equal "all ADIs are counted" "$(occupancy adis)" $many
check "half of them are destroyed" adis 0 $((many / 2)) "port del @"
check_equal "the other half of the ADIs exists" "$(ls $aux | grep -c '^adit\.adi\.')" $((many / 2))
check "the driver unbinds with ADIs in existence" adit-load -u $nic
check_equal "no auxiliary device remains" "$(ls $aux | grep -c '^adit\.adi\.')" 0

cycle() {
    for ((index = 0; index < $1; index++)); do
        echo "port add $dl flavour pcisf pfnum 0 sfnum 5"
        echo "port function set $dl/0 max_io_eqs $((index % 4 + 1)) state active"
        echo "port del $dl/0"
    done >"$batch"
    devlink -b "$batch" >/dev/null
}
adit-load $nic
# The first cycles warm up caches.
cycle 50
before=$(memory)
check "an ADI is created and destroyed $rounds times" cycle $rounds
check "no memory is leaked" freed "$before" 1024
devlink port add $dl flavour pcisf pfnum 0 sfnum 5
devlink port function set $dl/0 state active
check "no PASID is leaked" eval '(($(cat $aux/adit.adi.*/pasid) <= 2))'
device=$(basename $aux/adit.adi.*)
retry 5 test -e "$aux/$device/iommu_group"
before=$(pinned)
check "owners register memory and exit repeatedly" python3 "$SELFTEST_LIB/adi_holder.py" "$device" 40
check_equal "no page is pinned after the owners have exited" "$(pinned)" "$before"
done_testing
