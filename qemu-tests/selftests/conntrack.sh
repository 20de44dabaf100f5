#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# The connection tracker beside nf_conntrack: both are fed with the same packets and show the same.
# conntrack/oracle has the traces.
# TIMEOUT: 300
modprobe -a tun nf_conntrack nf_conntrack_netlink nfnetlink_log nft_log nft_ct nft_nat || exit
# All buckets are read after each packet.
echo 1024 >/sys/module/nf_conntrack/parameters/hashsize || exit
exec adit-conntrack-oracle --random 25
