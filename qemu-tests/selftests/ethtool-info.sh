#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# ethtool: queries of information and settings.
. "$SELFTEST_LIB/net.sh"
plan 12
check "the interface is up" net_up
check_equal "-i: the driver is idpf" "$(ethtool -i "$dev" | sed -n 's/^driver: //p')" idpf
check_equal "-i: the bus address is the NIC's" "$(ethtool -i "$dev" | sed -n 's/^bus-info: //p')" $nic
check "-k succeeds" ethtool -k "$dev"
check "-k: transmit checksum offload is on" eval "ethtool -k $dev | grep -q '^tx-checksumming: on'"
check "-k: receive checksum offload is on" eval "ethtool -k $dev | grep -q '^rx-checksumming: on'"
check "-k: TCP segmentation offload is on" eval "ethtool -k $dev | grep -q '^tcp-segmentation-offload: on'"
check "-l succeeds" ethtool -l "$dev"
check "-g succeeds" ethtool -g "$dev"
check "-x succeeds" ethtool -x "$dev"
check "-c succeeds" ethtool -c "$dev"
check "-S succeeds" ethtool -S "$dev"
done_testing
