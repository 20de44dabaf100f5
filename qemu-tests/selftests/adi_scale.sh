#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# 1,000 ADIs at a time; 500 made and destroyed one after the other, after which the kernel has no
# more memory, PASIDs or interrupts in use than before.
# TIMEOUT: 400
. "$SELFTEST_LIB/adit.sh"
. "$SELFTEST_LIB/memory.sh"
plan 14
batch=$(mktemp)
many=1000
rounds=500
check "adit has the NIC" adit-load $nic

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
check "$many ADIs are made" adis 0 $many "port add $dl flavour pcisf pfnum 0 sfnum %" \
    "port function set @ state active"
end=$EPOCHREALTIME
echo "# $(((${end/./} - ${start/./}) / many)) µs each"
check_equal "all are there" "$(ls $aux | grep -c '^adit\.adi\.')" $many
check_equal "each with a PASID of its own" "$(cat $aux/adit.adi.*/pasid | sort -u | wc -l)" $many
check_equal "all are in use" "$(occupancy adis)" $many
check "half of them are destroyed" adis 0 $((many / 2)) "port del @"
check_equal "the other half is there" "$(ls $aux | grep -c '^adit\.adi\.')" $((many / 2))
check "unbinding takes the rest" adit-load -u $nic
check_equal "no device of them is left" "$(ls $aux | grep -c '^adit\.adi\.')" 0

cycle() {
    for ((index = 0; index < $1; index++)); do
        echo "port add $dl flavour pcisf pfnum 0 sfnum 5"
        echo "port function set $dl/0 max_io_eqs $((index % 4 + 1)) state active"
        echo "port del $dl/0"
    done >"$batch"
    devlink -b "$batch" >/dev/null
}
adit-load $nic
# The first ones warm caches up.
cycle 50
before=$(memory)
check "$rounds times made and destroyed" cycle $rounds
after=$(memory)
check "no memory is kept" eval '! grown "$before" "$after" 1024'
devlink port add $dl flavour pcisf pfnum 0 sfnum 5
devlink port function set $dl/0 state active
check "no PASID is kept" eval '(($(cat $aux/adit.adi.*/pasid) <= 2))'
device=$(basename $aux/adit.adi.*)
retry 5 test -e "$aux/$device/iommu_group"
before=$(pinned)
check "an owner comes and goes with its memory" python3 "$SELFTEST_LIB/adi_holder.py" "$device" 40
check_equal "no page is kept pinned" "$(pinned)" "$before"
done_testing
