#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# The page table is the guardian: an ADI that points its descriptors at another's memory, at no
# memory, at a physical address, at memory that it has given back or may only read does not get
# there, its owner is told, and its neighbour notices nothing.
# TIMEOUT: 150
. "$SELFTEST_LIB/adi.sh"
plan 3
check "the NIC is adit's" adi_start
check "two ADIs are made" eval 'adi_create 1 && adi_create 2'
check "each reaches its own memory only" \
    python3 "$SELFTEST_LIB/adi_isolation.py" "$(adi_device 1)" "$(adi_device 2)"
done_testing
