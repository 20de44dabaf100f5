#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# What ethtool reads.
. "$SELFTEST_LIB/net.sh"
plan 12
check "up" net_up
check_equal "-i: the driver" "$(ethtool -i "$dev" | sed -n 's/^driver: //p')" idpf
check_equal "-i: the bus" "$(ethtool -i "$dev" | sed -n 's/^bus-info: //p')" $nic
check "-k" ethtool -k "$dev"
check "-k: checksum offload" eval "ethtool -k $dev | grep -q '^tx-checksumming: on'"
check "-k: receive checksum" eval "ethtool -k $dev | grep -q '^rx-checksumming: on'"
check "-k: TSO" eval "ethtool -k $dev | grep -q '^tcp-segmentation-offload: on'"
check "-l" ethtool -l "$dev"
check "-g" ethtool -g "$dev"
check "-x" ethtool -x "$dev"
check "-c" ethtool -c "$dev"
check "-S" ethtool -S "$dev"
done_testing
