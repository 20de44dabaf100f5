#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# Unbind and bind.
. "$SELFTEST_LIB/net.sh"
plan 5
check "the interface is up" net_up
for round in 1 2; do
    check "idpf is unbound and bound, round $round" eval 'echo $nic >$driver/unbind && test ! -e $driver/$nic && echo $nic >$driver/bind && net_up'
    check "the interface carries traffic after the rebind" ping4
done
done_testing
