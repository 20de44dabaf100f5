#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# Doorbells shared in a file (PAGES_FD): a process that has only such a file can ring them until
# their owner closes or resets the ADI or is killed, or the ADI is destroyed; then they reach no
# register. Invalid lists of pages are refused.
# TIMEOUT: 150
. "$SELFTEST_LIB/adi.sh"
plan 8
check "adit is bound to the NIC" adi_start
check "two ADIs are created" eval 'adi_create 1 && adi_create 2'
check "doorbells of one ADI and of two are shared in a file" \
    python3 "$SELFTEST_LIB/adi_pages.py" owner "$(adi_device 1)" "$(adi_device 2)"

# A file that outlives its owner, which is killed, then the ADI and the binding of the function.
work=$(mktemp -d)
mkfifo "$work/go"
python3 "$SELFTEST_LIB/adi_pages.py" heir "$(adi_device 1)" <"$work/go" >"$work/log" 2>&1 &
heir=$!
exec 8>"$work/go"
rm "$work/go"
printed() { grep -q "^$1" "$work/log"; }
next() {
    echo >&8
    retry 10 printed "$1" || { cat "$work/log"; return 1; }
}
check "an owner shares its doorbells and is killed" retry 20 printed "the owner is gone"
check "shared doorbells reach no register when the next owner has the ADI" eval '
    adit ping -W 30000 --adi "$(adi_device 1)" --ip 10.99.0.3 -i 10 -c 5 -q 10.99.0.1 && next "nowhere"'
check "shared doorbells reach no register when the ADI is destroyed" eval 'adi_destroy 1 && next "still nowhere"'
unbind() { echo "$nic" >"/sys/bus/pci/devices/$nic/driver/unbind"; }
check "the function unbinds while shared doorbells are mapped" eval 'unbind && next "for good"'
wait "$heir"
exec 8>&-
rm -r "$work"
check "the module unloads once the doorbells are closed" retry 5 adit-load -u "$nic"
done_testing
