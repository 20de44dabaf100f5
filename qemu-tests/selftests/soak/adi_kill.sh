#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# Owners are killed at any moment, also while they open, register and close: by kill -9, four ADIs
# at a time; the ADIs work for the next owners, and no page is left pinned.
# TIMEOUT: 1500
. "$SELFTEST_LIB/adi.sh"
. "$SELFTEST_LIB/memory.sh"
plan 6
rounds=${ADIT_ROUNDS:-100}
check "adit is bound to the NIC" adi_start
check "four ADIs are created" eval 'for it in 1 2 3 4; do adi_create $it || false; done'
devices=()
for it in 1 2 3 4; do devices+=("$(adi_device $it)"); done

# The owners of one ADI: a sender, a pinger or one without clean-up, each for up to a second.
owners() {
    local owner words
    for ((n = 0; n < $2; n++)); do
        case $((RANDOM % 3)) in
        0) words=(adit pktgen --adi "$1" --seconds 60 send) ;;
        1) words=(adit ping --adi "$1" --ip "10.99.0.$((10 + RANDOM % 90))" -i 1 -q 10.99.0.1) ;;
        2) words=(python3 "$SELFTEST_LIB/adi_owner.py" "$1") ;;
        esac
        # A simple command, so that the process itself is killed and not a shell around it.
        "${words[@]}" >/dev/null 2>&1 &
        owner=$!
        sleep 0.$((RANDOM % 10))$((RANDOM % 10))
        kill -9 $owner
        wait $owner
    done 2>/dev/null
}
kill_all() {
    for it in "${devices[@]}"; do owners "$it" "$1" & done
    wait
}
work() {
    for it in "${devices[@]}"; do
        retry 10 adit ping -W 30000 --adi "$it" --ip 10.99.0.3 -i 10 -c 5 -q 10.99.0.1 || return
    done
}
kill_all 5
before=$(memory) pins=$(pinned)
check "$rounds owners of each ADI are killed" kill_all "$rounds"
check "no memory is leaked" freed "$before" 2048
check_equal "no page is left pinned" "$(unpinned "$pins")" "$pins"
check "all four ADIs work" work
done_testing
