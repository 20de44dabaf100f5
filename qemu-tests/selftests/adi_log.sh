#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# The log of the pages that an ADI writes: its owner reads exactly those that frames were received in
# and completions written to, each once; logs that cannot be are refused, and none outlives its owner.
# TIMEOUT: 150
. "$SELFTEST_LIB/adi.sh"
plan 3
check "adit is bound to the NIC" adi_start
check "three ADIs are created" eval 'adi_create 1 && adi_create 2 && adi_create 3'
check "an owner reads which pages its ADI has written" \
    python3 "$SELFTEST_LIB/adi_log.py" "$(adi_device 1)" "$(adi_device 2)" "$(adi_device 3)"
done_testing
