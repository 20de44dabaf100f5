#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# Isolation by the page table: descriptors of an ADI with an address of another ADI's memory, of no
# memory, of physical memory, of unregistered or of read-only memory fault; the owner is notified,
# and the other ADI is unaffected.
# TIMEOUT: 150
. "$SELFTEST_LIB/adi.sh"
plan 3
check "adit is bound to the NIC" adi_start
check "two ADIs are created" eval 'adi_create 1 && adi_create 2'
check "each ADI accesses only its own memory" \
    python3 "$SELFTEST_LIB/adi_isolation.py" "$(adi_device 1)" "$(adi_device 2)"
done_testing
