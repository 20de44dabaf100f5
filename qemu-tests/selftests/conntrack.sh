#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# The connection tracker beside nf_conntrack: both are fed with the same packets and show the same.
# conntrack/oracle has the traces.
# TIMEOUT: 240
modprobe -a tun nf_conntrack nf_conntrack_netlink nfnetlink_log nft_log nft_ct || exit
exec adit-conntrack-oracle --random 100
