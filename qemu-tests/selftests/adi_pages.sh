#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# Doorbells given away (PAGES_FD): who has nothing but such a file rings them until their owner
# closes or resets the ADI, is killed, or the ADI ends; then they lead nowhere. What a list may not
# have is refused.
# TIMEOUT: 150
. "$SELFTEST_LIB/adi.sh"
plan 8
check "the NIC is adit's" adi_start
check "two ADIs are made" eval 'adi_create 1 && adi_create 2'
check "doorbells of one and both" \
    python3 "$SELFTEST_LIB/adi_pages.py" owner "$(adi_device 1)" "$(adi_device 2)"

# A file that outlives its owner, who is killed, and then the ADI and the function's binding.
work=$(mktemp -d)
mkfifo "$work/go"
python3 "$SELFTEST_LIB/adi_pages.py" heir "$(adi_device 1)" <"$work/go" >"$work/log" 2>&1 &
heir=$!
exec 8>"$work/go"
rm "$work/go"
says() { grep -q "^$1" "$work/log"; }
next() {
    echo >&8
    retry 10 says "$1" || { cat "$work/log"; return 1; }
}
check "an owner gives doorbells away and is killed" retry 20 says "the owner is gone"
check "they lead nowhere when the next one has the ADI" eval '
    adit ping --adi "$(adi_device 1)" --ip 10.99.0.3 -i 10 -c 5 -q 10.99.0.1 && next "nowhere"'
check "nor when the ADI is destroyed" eval 'adi_destroy 1 && next "still nowhere"'
unbind() { echo "$nic" >"/sys/bus/pci/devices/$nic/driver/unbind"; }
check "nor when the function is unbound, which does not wait for them" eval 'unbind && next "for good"'
wait "$heir"
exec 8>&-
rm -r "$work"
check "once nobody has them the module goes" retry 5 adit-load -u "$nic"
done_testing
